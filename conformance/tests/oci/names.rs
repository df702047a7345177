//! NAME and DIG: what names, tags and digests may be.

use anyhow::{Result, ensure};
use conformance::raw;
use conformance::registry::{OCTETS, Registry, SmallImage, absent_digest, refused};
use reqwest::Method;
use testing::images::{Blob, MANIFEST_TYPE};
use testing::push::with_digest;

#[tokio::test]
async fn name_1_good_names_can_be_pushed_to_and_pulled_from() -> Result<()> {
    let registry = Registry::start().await?;
    let start = registry.repository().name;
    for name in ["a--b", "a__b", "a.b", "a_b", "a-b/c.d/e__f", "1/2/3", "a---b"] {
        let repository = registry.named(&format!("{start}/{name}"));
        let image = repository.push_new("latest").await?;
        ensure!(repository.get("manifests/latest").await?.expect(200)?.body == image.manifest.bytes, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn name_1_bad_names_are_400_name_invalid_and_make_nothing() -> Result<()> {
    let registry = Registry::start().await?;
    let image = SmallImage::new();
    for name in ["a..b", "a___b", "A", "acme/Web", "a/-b", "a-", "_a", "a/b_", ".a", "a._b", "a%20b", "a%5Cb", "ä", "a:b"] {
        let repository = registry.named(name);
        refused(&repository.post("blobs/uploads/").await?, 400, "NAME_INVALID")?;
        refused(&repository.get("manifests/latest").await?, 400, "NAME_INVALID")?;
        refused(&repository.put_manifest("latest", MANIFEST_TYPE, image.manifest.bytes.clone()).await?, 400, "NAME_INVALID")?;
    }
    let catalog = registry.client.get("/v2/_catalog").await?.expect(200)?;
    ensure!(registry.server.is_none() || catalog.json()["repositories"] == serde_json::json!([]), "{}", catalog.text());
    Ok(())
}

#[tokio::test]
async fn name_1_dots_never_leave_the_folder_whatever_their_escape() -> Result<()> {
    let registry = Registry::start().await?;
    for path in [
        "/v2/../../etc/manifests/passwd",
        "/v2/a/../b/manifests/latest",
        "/v2/a/%2e%2e/b/manifests/latest",
        "/v2/a%2f..%2fb/manifests/latest",
        "/v2/%2e%2e%2f%2e%2e/manifests/latest",
        "/v2/a/%252e%252e/manifests/latest",
        "/v2/a%00b/manifests/latest",
        "/v2/a/blobs/sha256:..%2f..%2f..%2fetc%2fpasswd",
        "/v2/a/blobs/uploads/..%2f..%2fx",
    ] {
        let request = format!("{}\r\n", raw::head(&registry.client, "GET", path));
        let (status, answer) = raw::exchange(&registry.client, request.as_bytes()).await?;
        ensure!((400..500).contains(&status), "{path}: {answer}");
        ensure!(!answer.contains("root:"), "{path}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn name_2_a_name_of_255_bytes_works_and_a_longer_one_is_refused() -> Result<()> {
    let registry = Registry::start().await?;
    let start = registry.repository().name;
    let longest = format!("{start}/{}", "a".repeat(254 - start.len()));
    registry.named(&longest).push_new("latest").await?;
    let too_long = registry.named(&format!("{longest}a"));
    refused(&too_long.post("blobs/uploads/").await?, 400, "NAME_INVALID")
}

#[tokio::test]
async fn name_3_words_of_the_api_are_legal_components() -> Result<()> {
    let registry = Registry::start().await?;
    let start = registry.repository().name;
    for name in ["blobs", "manifests", "tags", "uploads", "blobs/uploads", "tags/list", "manifests/latest", "blobs/uploads/manifests"] {
        let repository = registry.named(&format!("{start}/{name}"));
        let image = repository.push_new("latest").await?;
        ensure!(repository.get("manifests/latest").await?.expect(200)?.body == image.manifest.bytes, "{name}");
        ensure!(repository.tags().await? == ["latest"], "{name}");
        ensure!(repository.has_blob(&image.layer.digest).await?, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn name_4_tags_of_128_characters_work_and_others_are_refused() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("first").await?;
    for good in ["a".repeat(128), "_a.B-c".into(), "1".into(), "V1.2.3".into()] {
        repository.put_manifest(&good, MANIFEST_TYPE, image.manifest.bytes.clone()).await?.expect(201)?;
        ensure!(repository.has_manifest(&good).await?, "{good}");
    }
    for bad in ["a".repeat(129), ".a".into(), "-a".into(), "a%20b".into(), "a+b".into(), "a%2Fb".into(), "%C3%A4".into()] {
        let answer = repository.put_manifest(&bad, MANIFEST_TYPE, image.manifest.bytes.clone()).await?;
        ensure!(matches!(answer.status.as_u16(), 400 | 404), "{bad}: {} {}", answer.status, answer.text());
    }
    ensure!(repository.tags().await?.len() == 5, "a bad tag was kept: {:?}", repository.tags().await?);
    Ok(())
}

#[tokio::test]
async fn name_5_only_a_digest_has_a_colon() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for bad in ["v1:2", "latest:", ":v1", "sha256:v1"] {
        let answer = repository.put_manifest(bad, MANIFEST_TYPE, image.manifest.bytes.clone()).await?;
        ensure!(matches!(answer.status.as_u16(), 400 | 404), "{bad}: {}", answer.status);
        ensure!(!repository.get(&format!("manifests/{bad}")).await?.status.is_success(), "{bad}");
    }
    ensure!(repository.tags().await? == ["v1"], "{:?}", repository.tags().await?);
    Ok(())
}

#[tokio::test]
async fn dig_1_2_malformed_digests_are_refused_wherever_they_stand() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("latest").await?;
    let hex = image.layer.hex().to_owned();
    let short = format!("sha256:{}", &hex[1..]);
    let upper = format!("sha256:{}", hex.to_uppercase());
    for bad in [short, upper, format!("sha256:{hex}0"), "sha256:".into(), format!("sha256:{}", "g".repeat(64)), "SHA256:x".into()] {
        let get = repository.get(&format!("blobs/{bad}")).await?;
        ensure!(matches!(get.status.as_u16(), 400 | 404), "GET blob {bad}: {}", get.status);
        let get = repository.get(&format!("manifests/{bad}")).await?;
        ensure!(matches!(get.status.as_u16(), 400 | 404), "GET manifest {bad}: {}", get.status);
        let put = repository.put_manifest(&bad, MANIFEST_TYPE, image.manifest.bytes.clone()).await?;
        ensure!(put.status == 400, "PUT manifest {bad}: {}", put.status);
        let location = repository.begin().await?;
        refused(&repository.close(&location, &bad, &image.layer.bytes).await?, 400, "DIGEST_INVALID")?;
        let single = repository.send(Method::POST, &format!("blobs/uploads/?digest={bad}"), &[OCTETS], image.layer.bytes.clone()).await?;
        refused(&single, 400, "DIGEST_INVALID")?;
    }
    Ok(())
}

#[tokio::test]
async fn dig_2_sha512_is_verified_and_answered_in_sha512() -> Result<()> {
    use sha2::Digest;
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let bytes = Blob::made_up(rand::random(), 5000).bytes;
    let digest = format!("sha512:{}", hex::encode(sha2::Sha512::digest(&bytes)));
    let location = repository.begin().await?;
    let answer = repository.close(&location, &digest, &bytes).await?.expect(201)?;
    ensure!(answer.header("location").ends_with(&digest), "{:?}", answer.headers);
    let pulled = repository.get(&format!("blobs/{digest}")).await?.expect(200)?;
    ensure!(pulled.body == bytes && pulled.header("docker-content-digest") == digest, "{:?}", pulled.headers);
    let location = repository.begin().await?;
    refused(&repository.close(&location, &digest, b"other bytes").await?, 400, "DIGEST_INVALID")
}

/// The sha512 digest of `bytes`.
fn sha512(bytes: &[u8]) -> String {
    use sha2::Digest;
    format!("sha512:{}", hex::encode(sha2::Sha512::digest(bytes)))
}

#[tokio::test]
async fn dig_2_every_style_of_push_takes_sha512_and_refuses_a_wrong_one() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let new = || Blob::made_up(rand::random(), 5000).bytes;
    let wrong = sha512(b"something else");
    for right in [true, false] {
        let (single, chunked, streamed) = (new(), new(), new());
        let digest_of = |bytes: &[u8]| if right { sha512(bytes) } else { wrong.clone() };
        let path = format!("blobs/uploads/?digest={}", digest_of(&single));
        let mut answers = vec![repository.send(Method::POST, &path, &[OCTETS], single.clone()).await?];
        let upload = repository.begin().await?;
        repository.chunk(&upload, 0, &chunked[..2000]).await?.expect(202)?;
        answers.push(repository.close(&upload, &digest_of(&chunked), &chunked[2000..]).await?);
        let upload = repository.begin().await?;
        registry.client.send(Method::PATCH, &upload, &[OCTETS], streamed.clone()).await?.expect(202)?;
        answers.push(repository.close(&upload, &digest_of(&streamed), b"").await?);
        for answer in answers {
            if right {
                answer.expect(201)?;
            } else {
                refused(&answer, 400, "DIGEST_INVALID")?;
            }
        }
        for bytes in [single, chunked, streamed] {
            let found = repository.get(&format!("blobs/{}", sha512(&bytes))).await?;
            ensure!(if right { found.status == 200 && found.body == bytes } else { found.status == 404 }, "{right}: {}", found.status);
        }
    }
    Ok(())
}

#[tokio::test]
async fn dig_4_the_same_bytes_under_two_algorithms_are_each_under_the_digest_asked_for() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, other) = (registry.repository(), registry.repository());
    let blob = Blob::made_up(rand::random(), 3000);
    let long = sha512(&blob.bytes);
    repository.push_blob(&blob).await?;
    ensure!(!repository.has_blob(&long).await?, "it was not pushed under sha512");
    repository.close(&repository.begin().await?, &long, &blob.bytes).await?.expect(201)?;
    other.post(&format!("blobs/uploads/?mount={long}&from={}", repository.name)).await?.expect(201)?;
    for (repository, digest) in [(&repository, &blob.digest), (&repository, &long), (&other, &long)] {
        let answer = repository.get(&format!("blobs/{digest}")).await?.expect(200)?;
        ensure!(answer.body == blob.bytes && answer.header("docker-content-digest") == digest, "{:?}", answer.headers);
    }
    // One goes without the other.
    repository.delete(&format!("blobs/{long}")).await?.expect(202)?;
    ensure!(repository.has_blob(&blob.digest).await? && !repository.has_blob(&long).await? && other.has_blob(&long).await?);
    // A document may mix them (DIG-3).
    let image = repository.push_new("v1").await?;
    let mut mixed: serde_json::Value = serde_json::from_slice(&image.manifest.bytes)?;
    repository.close(&repository.begin().await?, &long, &blob.bytes).await?.expect(201)?;
    mixed["layers"][0]["digest"] = long.clone().into();
    mixed["layers"][0]["size"] = blob.bytes.len().into();
    repository.put_manifest("mixed", MANIFEST_TYPE, mixed.to_string()).await?.expect(201)?;
    Ok(())
}

#[tokio::test]
async fn dig_3_an_unknown_algorithm_is_refused_by_every_style_of_push() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let digest = format!("md5:{}", "0".repeat(32));
    let location = repository.begin().await?;
    refused(&repository.close(&location, &digest, b"x").await?, 400, "DIGEST_INVALID")?;
    let single = repository.send(Method::POST, &format!("blobs/uploads/?digest={digest}"), &[OCTETS], "x").await?;
    refused(&single, 400, "DIGEST_INVALID")?;
    let location = repository.begin().await?;
    repository.chunk(&location, 0, b"x").await?.expect(202)?;
    let closed = registry.client.send(Method::PUT, &with_digest(&location, &digest), &[OCTETS], Vec::new().into()).await?;
    refused(&closed, 400, "DIGEST_INVALID")?;
    ensure!(!repository.has_blob(&absent_digest()).await?, "it has what nobody pushed");
    Ok(())
}
