//! PUSH: blobs, in one request, in two, in chunks and as a stream; state, cancelling and mounting.

use anyhow::{Result, ensure};
use conformance::raw;
use conformance::registry::{OCTETS, Registry, Repository, absent_digest, location, refused};
use reqwest::Method;
use testing::images::Blob;
use testing::push::with_digest;

/// Bytes of the three chunks that most tests send.
const CHUNK: usize = 1000;

fn new_blob() -> Blob {
    Blob::made_up(rand::random(), 3 * CHUNK)
}

async fn pulls(repository: &Repository, blob: &Blob) -> Result<()> {
    let answer = repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?;
    ensure!(answer.body == blob.bytes, "other bytes came back");
    Ok(())
}

#[tokio::test]
async fn push_1_a_digest_that_does_not_match_is_400_in_every_style() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let (blob, wrong) = (new_blob(), absent_digest());
    refused(&repository.close(&repository.begin().await?, &wrong, &blob.bytes).await?, 400, "DIGEST_INVALID")?;
    let single = repository.send(Method::POST, &format!("blobs/uploads/?digest={wrong}"), &[OCTETS], blob.bytes.clone()).await?;
    refused(&single, 400, "DIGEST_INVALID")?;
    let upload = repository.begin().await?;
    repository.chunk(&upload, 0, &blob.bytes[..CHUNK]).await?.expect(202)?;
    refused(&repository.close(&upload, &wrong, &blob.bytes[CHUNK..]).await?, 400, "DIGEST_INVALID")?;
    let upload = repository.begin().await?;
    repository.chunk(&upload, 0, &blob.bytes).await?.expect(202)?;
    refused(&repository.close(&upload, &wrong, b"").await?, 400, "DIGEST_INVALID")?;
    ensure!(!repository.has_blob(&wrong).await? && !repository.has_blob(&blob.digest).await?, "something was kept");
    Ok(())
}

#[tokio::test]
async fn push_post_1_2_an_upload_opens_with_202_and_a_location_of_its_own() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let (one, two) = (repository.begin().await?, repository.begin().await?);
    ensure!(one != two, "two uploads at {one}");
    ensure!(one.contains(&format!("/v2/{}/blobs/uploads/", repository.name)), "{one}");
    Ok(())
}

#[tokio::test]
async fn push_post_3_a_digest_algorithm_can_be_announced() -> Result<()> {
    use sha2::Digest;
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let blob = new_blob();
    let digest = format!("sha512:{}", hex::encode(sha2::Sha512::digest(&blob.bytes)));
    let opened = repository.post("blobs/uploads/?digest-algorithm=sha512").await?.expect(202)?;
    repository.close(&location(&opened)?, &digest, &blob.bytes).await?.expect(201)?;
    let opened = repository.post("blobs/uploads/?digest-algorithm=sha512").await?.expect(202)?;
    // Spec silent: another algorithm at the close is taken as well.
    repository.close(&location(&opened)?, &blob.digest, &blob.bytes).await?.expect(201)?;
    refused(&repository.post("blobs/uploads/?digest-algorithm=md5").await?, 400, "DIGEST_INVALID")
}

#[tokio::test]
async fn push_put_1_post_then_put_is_201_with_a_location_that_can_be_pulled() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let blob = new_blob();
    let answer = repository.close(&repository.begin().await?, &blob.digest, &blob.bytes).await?.expect(201)?;
    ensure!(answer.header("docker-content-digest") == blob.digest, "{:?}", answer.headers);
    let pulled = registry.client.get(&location(&answer)?).await?.expect(200)?;
    ensure!(pulled.body == blob.bytes, "other bytes came back");
    Ok(())
}

#[tokio::test]
async fn push_put_1_the_same_blob_twice_is_201_twice() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let blob = new_blob();
    repository.push_blob(&blob).await?;
    repository.push_blob(&blob).await?;
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_put_1_the_same_blob_from_eight_clients_at_once_is_201_for_each() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let pushes: Vec<_> = (0..8)
        .map(|_| {
            let (repository, blob) = (repository.clone(), blob.clone());
            tokio::spawn(async move { repository.push_blob(&blob).await })
        })
        .collect();
    for push in pushes {
        push.await??;
    }
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_single_1_one_post_is_201() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let path = format!("blobs/uploads/?digest={}", blob.digest);
    let answer = repository.send(Method::POST, &path, &[OCTETS], blob.bytes.clone()).await?.expect(201)?;
    ensure!(location(&answer)?.ends_with(&format!("/blobs/{}", blob.digest)), "{:?}", answer.headers);
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_single_2_one_post_is_201_or_an_upload_that_goes_on() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let path = format!("blobs/uploads/?digest={}", blob.digest);
    let answer = repository.send(Method::POST, &path, &[OCTETS], blob.bytes.clone()).await?;
    if answer.status != 201 {
        repository.close(&location(&answer.expect(202)?)?, &blob.digest, &blob.bytes).await?.expect(201)?;
    }
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_chunk_2_a_smallest_chunk_is_told_or_there_is_none() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let opened = repository.post("blobs/uploads/").await?.expect(202)?;
    let told = opened.header("oci-chunk-min-length");
    if !told.is_empty() {
        told.parse::<u64>()?;
        return Ok(());
    }
    // Chunks of one byte, then: they are taken one by one.
    let mut upload = location(&opened)?;
    for at in 0..3 {
        upload = location(&repository.chunk(&upload, at, &blob.bytes[at..=at]).await?.expect(202)?)?;
    }
    repository.close(&upload, &blob.digest, &blob.bytes[3..]).await?.expect(201)?;
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_chunk_3_5_each_chunk_is_202_and_tells_the_last_byte_held() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let mut upload = repository.begin().await?;
    for (number, chunk) in blob.bytes.chunks(CHUNK).enumerate() {
        let answer = repository.chunk(&upload, number * CHUNK, chunk).await?.expect(202)?;
        ensure!(answer.header("range") == format!("0-{}", (number + 1) * CHUNK - 1), "{:?}", answer.headers);
        upload = location(&answer)?;
    }
    let answer = repository.close(&upload, &blob.digest, b"").await?.expect(201)?;
    ensure!(location(&answer)?.ends_with(&blob.digest), "{:?}", answer.headers);
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_chunk_4_a_content_range_of_another_form_is_refused() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let upload = repository.begin().await?;
    for bad in ["bytes 0-999/3000", "0-", "-999", "a-b", "0-999/3000", "0 - 999"] {
        let headers = [OCTETS, ("content-range", bad)];
        let answer = registry.client.send(Method::PATCH, &upload, &headers, blob.bytes.slice(..CHUNK)).await?;
        ensure!(matches!(answer.status.as_u16(), 400 | 416), "{bad}: {}", answer.status);
    }
    repository.chunk(&upload, 0, &blob.bytes).await?.expect(202)?;
    repository.close(&upload, &blob.digest, b"").await?.expect(201)?;
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_chunk_6_out_of_order_is_416_and_the_session_survives() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let upload = repository.begin().await?;
    repository.chunk(&upload, CHUNK, &blob.bytes[CHUNK..2 * CHUNK]).await?.expect(416)?;
    repository.chunk(&upload, 0, &blob.bytes[..CHUNK]).await?.expect(202)?;
    // Too far, and once more what is there already (jib sends a chunk again after a timeout).
    repository.chunk(&upload, 2 * CHUNK, &blob.bytes[2 * CHUNK..]).await?.expect(416)?;
    repository.chunk(&upload, 0, &blob.bytes[..CHUNK]).await?.expect(416)?;
    let status = repository.status(&upload).await?.expect(204)?;
    ensure!(status.header("range") == format!("0-{}", CHUNK - 1), "{:?}", status.headers);
    repository.chunk(&upload, CHUNK, &blob.bytes[CHUNK..]).await?.expect(202)?;
    repository.close(&upload, &blob.digest, b"").await?.expect(201)?;
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_chunk_7_a_length_that_contradicts_the_range_is_refused_and_the_session_survives() -> Result<()> {
    // Spec silent.
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let upload = repository.begin().await?;
    for range in ["0-10", "0-2999", "5-1"] {
        let headers = [OCTETS, ("content-range", range)];
        let answer = registry.client.send(Method::PATCH, &upload, &headers, blob.bytes.slice(..CHUNK)).await?;
        ensure!(matches!(answer.status.as_u16(), 400 | 416), "{range}: {}", answer.status);
    }
    repository.chunk(&upload, 0, &blob.bytes).await?.expect(202)?;
    repository.close(&upload, &blob.digest, b"").await?.expect(201)?;
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_stream_1_a_chunked_patch_without_a_range_is_202() -> Result<()> {
    // Spec silent; this is how docker pushes every layer.
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let blob = Blob::made_up(rand::random(), 700_000);
    let upload = repository.begin().await?;
    let head = raw::head(&registry.client, "PATCH", &upload);
    let mut request = format!("{head}Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    request.extend(raw::chunked(&blob.bytes, 10_000));
    let (status, answer) = raw::exchange(&registry.client, &request).await?;
    ensure!(status == 202, "{answer}");
    repository.close(&upload, &blob.digest, b"").await?.expect(201)?;
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_close_1_the_last_chunk_can_come_with_the_put() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let upload = repository.begin().await?;
    let answer = repository.chunk(&upload, 0, &blob.bytes[..CHUNK]).await?.expect(202)?;
    let headers = [OCTETS, ("content-range", "1000-2999")];
    let url = with_digest(&location(&answer)?, &blob.digest);
    registry.client.send(Method::PUT, &url, &headers, blob.bytes.slice(CHUNK..)).await?.expect(201)?;
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_close_2_a_last_chunk_out_of_order_is_416_and_the_session_survives() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let upload = repository.begin().await?;
    repository.chunk(&upload, 0, &blob.bytes[..CHUNK]).await?.expect(202)?;
    let headers = [OCTETS, ("content-range", "2000-2999")];
    let url = with_digest(&upload, &blob.digest);
    registry.client.send(Method::PUT, &url, &headers, blob.bytes.slice(2 * CHUNK..)).await?.expect(416)?;
    repository.chunk(&upload, CHUNK, &blob.bytes[CHUNK..]).await?.expect(202)?;
    repository.close(&upload, &blob.digest, b"").await?.expect(201)?;
    pulls(&repository, &blob).await
}

#[tokio::test]
async fn push_close_without_a_digest_is_400() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let upload = repository.begin().await?;
    let answer = registry.client.send(Method::PUT, &upload, &[OCTETS], "x".into()).await?;
    refused(&answer, 400, "DIGEST_INVALID")
}

#[tokio::test]
async fn push_close_a_closed_upload_is_gone() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), new_blob());
    let upload = repository.begin().await?;
    repository.close(&upload, &blob.digest, &blob.bytes).await?.expect(201)?;
    refused(&repository.status(&upload).await?, 404, "BLOB_UPLOAD_UNKNOWN")?;
    refused(&repository.chunk(&upload, 0, b"x").await?, 404, "BLOB_UPLOAD_UNKNOWN")
}

#[tokio::test]
async fn push_stat_1_a_live_session_is_204_with_what_it_holds() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let upload = repository.begin().await?;
    let status = repository.status(&upload).await?.expect(204)?;
    ensure!(status.header("range").starts_with("0-"), "with no byte: {:?}", status.headers);
    location(&status)?;
    repository.chunk(&upload, 0, b"12345").await?.expect(202)?;
    let status = repository.status(&upload).await?.expect(204)?;
    ensure!(status.header("range") == "0-4", "{:?}", status.headers);
    Ok(())
}

#[tokio::test]
async fn push_stat_an_upload_belongs_to_its_repository() -> Result<()> {
    let registry = Registry::start().await?;
    let (one, other) = (registry.repository(), registry.repository());
    let upload = one.begin().await?;
    let elsewhere = upload.replace(&one.name, &other.name);
    refused(&other.status(&elsewhere).await?, 404, "BLOB_UPLOAD_UNKNOWN")?;
    refused(&other.chunk(&elsewhere, 0, b"x").await?, 404, "BLOB_UPLOAD_UNKNOWN")?;
    refused(&other.get("blobs/uploads/00000000-0000-0000-0000-000000000000").await?, 404, "BLOB_UPLOAD_UNKNOWN")
}

#[tokio::test]
async fn push_cancel_1_a_cancelled_session_is_204_and_gone() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let upload = repository.begin().await?;
    repository.chunk(&upload, 0, b"12345").await?.expect(202)?;
    registry.client.delete(&upload).await?.expect(204)?;
    refused(&repository.status(&upload).await?, 404, "BLOB_UPLOAD_UNKNOWN")?;
    refused(&registry.client.delete(&upload).await?, 404, "BLOB_UPLOAD_UNKNOWN")
}

#[tokio::test]
async fn push_mount_1_a_blob_is_mounted_without_sending_it() -> Result<()> {
    let registry = Registry::start().await?;
    let (source, target) = (registry.repository(), registry.repository());
    let blob = new_blob();
    source.push_blob(&blob).await?;
    let answer = target.post(&format!("blobs/uploads/?mount={}&from={}", blob.digest, source.name)).await?.expect(201)?;
    ensure!(location(&answer)?.ends_with(&format!("{}/blobs/{}", target.name, blob.digest)), "{:?}", answer.headers);
    pulls(&target, &blob).await
}

#[tokio::test]
async fn push_mount_2_without_a_source_any_repository_will_do() -> Result<()> {
    let registry = Registry::start().await?;
    let (source, target) = (registry.repository(), registry.repository());
    let blob = new_blob();
    source.push_blob(&blob).await?;
    target.post(&format!("blobs/uploads/?mount={}", blob.digest)).await?.expect(201)?;
    pulls(&target, &blob).await
}

#[tokio::test]
async fn push_mount_3_what_cannot_be_mounted_opens_a_session() -> Result<()> {
    let registry = Registry::start().await?;
    let (source, target) = (registry.repository(), registry.repository());
    source.push_new("v1").await?;
    for from in [source.name.as_str(), "conformance/nowhere", "NOT/A/NAME"] {
        let answer = target.post(&format!("blobs/uploads/?mount={}&from={from}", absent_digest())).await?.expect(202)?;
        let blob = new_blob();
        target.close(&location(&answer)?, &blob.digest, &blob.bytes).await?.expect(201)?;
        pulls(&target, &blob).await?;
    }
    Ok(())
}

#[tokio::test]
async fn push_a_blob_pushed_to_one_repository_is_not_in_another() -> Result<()> {
    let registry = Registry::start().await?;
    let (one, other) = (registry.repository(), registry.repository());
    let blob = new_blob();
    one.push_blob(&blob).await?;
    other.push_new("v1").await?;
    ensure!(!other.has_blob(&blob.digest).await?, "bytes of one repository are served by another");
    Ok(())
}
