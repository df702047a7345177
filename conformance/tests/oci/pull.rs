//! PULL: manifests and blobs, whole and in ranges.

use anyhow::{Result, ensure};
use conformance::registry::{Registry, Repository, SmallImage, absent_digest, index_of, refused};
use reqwest::Method;
use testing::images::{Blob, INDEX_TYPE, MANIFEST_TYPE};

#[tokio::test]
async fn pull_1_a_manifest_comes_back_byte_for_byte_by_tag_and_by_digest() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    // Spaces and an unknown field: what is stored is what was sent, not what was understood.
    let mut image = SmallImage::changed(|manifest| manifest["org.example.unknown"] = serde_json::json!({"kept": true}));
    image.manifest = Blob::new(format!("{} \n", String::from_utf8(image.manifest.bytes.to_vec())?));
    repository.push("v1", &image).await?;
    for reference in ["v1", image.digest()] {
        let answer = repository.get(&format!("manifests/{reference}")).await?.expect(200)?;
        ensure!(answer.body == image.manifest.bytes, "{reference}: {}", answer.text());
        ensure!(answer.header("docker-content-digest") == image.digest(), "{reference}");
    }
    Ok(())
}

#[tokio::test]
async fn pull_1_an_absent_manifest_is_404_manifest_unknown() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    repository.push_new("v1").await?;
    refused(&repository.get("manifests/absent").await?, 404, "MANIFEST_UNKNOWN")?;
    refused(&repository.get(&format!("manifests/{}", absent_digest())).await?, 404, "MANIFEST_UNKNOWN")
}

#[tokio::test]
async fn pull_2_the_content_type_is_the_one_pushed() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    let index = index_of(&[image.descriptor()]);
    repository.put_manifest("all", INDEX_TYPE, index.bytes.clone()).await?.expect(201)?;
    for (tag, media_type) in [("v1", MANIFEST_TYPE), ("all", INDEX_TYPE)] {
        for answer in [repository.get(&format!("manifests/{tag}")).await?, repository.head(&format!("manifests/{tag}")).await?] {
            ensure!(answer.header("content-type") == media_type, "{tag}: {:?}", answer.headers);
        }
    }
    Ok(())
}

#[tokio::test]
async fn pull_3_accept_changes_nothing() -> Result<()> {
    // Spec silent: no 406 and no conversion, as every client expects.
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for accept in ["application/json", INDEX_TYPE, "*/*", "text/html;q=0.9, */*;q=0.1"] {
        let answer = repository.send(Method::GET, "manifests/v1", &[("accept", accept)], "").await?.expect(200)?;
        ensure!(answer.body == image.manifest.bytes && answer.header("content-type") == MANIFEST_TYPE, "{accept}");
    }
    Ok(())
}

#[tokio::test]
async fn pull_4_the_digest_of_an_answer_is_one_of_what_is_sent() -> Result<()> {
    use sha2::Digest;
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for path in ["manifests/v1".to_owned(), format!("manifests/{}", image.digest()), format!("blobs/{}", image.layer.digest)] {
        let answer = repository.get(&path).await?.expect(200)?;
        let said = answer.header("docker-content-digest");
        let actual = match said.split_once(':') {
            Some(("sha256", _)) => format!("sha256:{}", hex::encode(sha2::Sha256::digest(&answer.body))),
            Some(("sha512", _)) => format!("sha512:{}", hex::encode(sha2::Sha512::digest(&answer.body))),
            _ => anyhow::bail!("{path}: {said}"),
        };
        ensure!(said == actual, "{path}: {said}, and it is {actual}");
    }
    Ok(())
}

#[tokio::test]
async fn pull_5_a_blob_comes_back_byte_for_byte() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    for size in [0, 1, 256 * 1024, 256 * 1024 + 1, 5_000_000] {
        let blob = Blob::made_up(rand::random(), size);
        repository.push_blob(&blob).await?;
        let answer = repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?;
        ensure!(answer.body == blob.bytes, "{size} bytes came back as {}", answer.body.len());
        ensure!(answer.header("docker-content-digest") == blob.digest, "{size}");
    }
    Ok(())
}

#[tokio::test]
async fn pull_5_an_absent_blob_is_404_blob_unknown() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    repository.push_new("v1").await?;
    refused(&repository.get(&format!("blobs/{}", absent_digest())).await?, 404, "BLOB_UNKNOWN")
}

#[tokio::test]
async fn pull_5_a_blob_of_another_repository_is_not_served_by_its_digest() -> Result<()> {
    let registry = Registry::start().await?;
    let (one, other) = (registry.repository(), registry.repository());
    let image = one.push_new("v1").await?;
    other.push_new("v1").await?;
    refused(&other.get(&format!("blobs/{}", image.layer.digest)).await?, 404, "BLOB_UNKNOWN")?;
    ensure!(!other.has_blob(&image.layer.digest).await?, "HEAD finds it");
    ensure!(!other.has_manifest(image.digest()).await?, "the manifest as well");
    Ok(())
}

async fn thousand_bytes(registry: &Registry) -> Result<(Repository, Blob)> {
    let repository = registry.repository();
    let blob = Blob::made_up(rand::random(), 2000);
    repository.push_blob(&blob).await?;
    Ok((repository, blob))
}

#[tokio::test]
async fn pull_6_ranges_are_206_with_their_place() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = thousand_bytes(&registry).await?;
    let path = format!("blobs/{}", blob.digest);
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 1999),
        ("bytes=-500", 1500, 1999),
        ("bytes=1000-99999", 1000, 1999),
        ("bytes=-99999", 0, 1999),
        ("bytes=1999-1999", 1999, 1999),
    ] {
        let answer = repository.send(Method::GET, &path, &[("range", range)], "").await?.expect(206)?;
        ensure!(answer.header("content-range") == format!("bytes {first}-{last}/2000"), "{range}: {:?}", answer.headers);
        ensure!(answer.body == blob.bytes[first..=last], "{range}");
    }
    Ok(())
}

#[tokio::test]
async fn pull_6_ranges_that_hold_nothing_are_416() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = thousand_bytes(&registry).await?;
    for range in ["bytes=2000-", "bytes=5000-10000", "bytes=500-0", "bytes=-0"] {
        let answer = repository.send(Method::GET, &format!("blobs/{}", blob.digest), &[("range", range)], "").await?;
        ensure!(answer.status == 416, "{range}: {}", answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn pull_6_ranges_in_other_units_are_ignored() -> Result<()> {
    // RFC 9110, 14.2: a unit that is not understood is ignored.
    let registry = Registry::start().await?;
    let (repository, blob) = thousand_bytes(&registry).await?;
    for range in ["lines=1-2", "nonsense"] {
        let answer = repository.send(Method::GET, &format!("blobs/{}", blob.digest), &[("range", range)], "").await?.expect(200)?;
        ensure!(answer.body == blob.bytes, "{range}");
    }
    Ok(())
}

#[tokio::test]
async fn pull_7_head_tells_size_and_digest_without_a_body() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for (path, blob) in [
        ("manifests/v1".to_owned(), &image.manifest),
        (format!("manifests/{}", image.digest()), &image.manifest),
        (format!("blobs/{}", image.layer.digest), &image.layer),
    ] {
        let answer = repository.head(&path).await?.expect(200)?;
        ensure!(answer.header("content-length") == blob.bytes.len().to_string(), "{path}: {:?}", answer.headers);
        ensure!(answer.header("docker-content-digest") == blob.digest, "{path}");
        ensure!(answer.body.is_empty(), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn pull_7_head_of_what_is_absent_is_404() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    repository.push_new("v1").await?;
    for path in ["manifests/absent".to_owned(), format!("manifests/{}", absent_digest()), format!("blobs/{}", absent_digest())] {
        repository.head(&path).await?.expect(404)?;
    }
    Ok(())
}

#[tokio::test]
async fn pull_blobs_are_no_web_pages() -> Result<()> {
    // A blob can be HTML; a browser must not take it for a page of this origin.
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let blob = Blob::new(format!("<html><script>{}</script>", rand::random::<u64>()));
    repository.push_blob(&blob).await?;
    let answer = repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?;
    ensure!(answer.header("content-type") == "application/octet-stream", "{:?}", answer.headers);
    ensure!(answer.header("x-content-type-options") == "nosniff", "{:?}", answer.headers);
    Ok(())
}
