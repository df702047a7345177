//! A server that is killed at each step of a push. What was acknowledged is whole; what was not can be gone on with, or is collected: in
//! the end no file is left that nobody needs.

use anyhow::{Context, Result, ensure};
use conformance::registry::{OCTETS, Repository, SmallImage, blob_files, marks};
use reqwest::Method;
use std::time::{Duration, UNIX_EPOCH};
use testing::images::Blob;
use testing::{Database, Server, wait_until};

/// The steps, each with the pass that is the last: the config is in one request, the layer in a chunk and the rest.
const STEPS: [&str; 12] = [
    "upload-made",
    "upload-received",
    "blob-written",
    "blob-committed",
    "upload-made:2",
    "upload-received:2",
    "upload-recorded",
    "upload-made:3",
    "blob-written:2",
    "blob-committed:2",
    "manifest-stored",
    "manifest-committed",
];
/// Tries of a kill that has to come before something else.
const TRIES: usize = 10;

/// A push of a client that takes its time over the layer, up to where it breaks off.
async fn push(repository: &Repository, tag: &str, image: &SmallImage) -> Result<()> {
    repository.push_blob(&image.config).await?;
    let upload = repository.begin().await?;
    let (first, rest) = image.layer.bytes.split_at(image.layer.bytes.len() / 2);
    repository.chunk(&upload, 0, first).await?.expect(202)?;
    repository.close(&upload, &image.layer.digest, rest).await?.expect(201)?;
    repository.put_manifest(tag, testing::images::MANIFEST_TYPE, image.manifest.bytes.clone()).await?.expect(201).map(drop)
}

async fn is_whole(repository: &Repository, tag: &str, image: &SmallImage) -> Result<()> {
    ensure!(repository.get(&format!("manifests/{tag}")).await?.expect(200)?.body == image.manifest.bytes, "{tag}");
    for blob in [&image.config, &image.layer] {
        ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes, "{tag}: {}", blob.digest);
    }
    Ok(())
}

/// From now on the server ends at `point`; without one, nowhere. Times that it does not name are as usual.
async fn start_again(server: &mut Server, point: Option<&str>, secs: Option<&str>) -> Result<()> {
    server.set_env("BERTH_FAILPOINT", point);
    for name in ["BERTH_UPLOAD_SECS", "BERTH_GC_GRACE_SECS"] {
        server.set_env(name, secs);
    }
    server.start_again().await
}

/// On PostgreSQL another server may be at work in the same folder: a mark has to be old before it counts as left behind.
fn age_marks(server: &Server) -> Result<()> {
    if matches!(server.database(), Database::Postgres { .. }) {
        for mark in marks(server)? {
            std::fs::File::options().write(true).open(mark)?.set_modified(UNIX_EPOCH + Duration::from_hours(1))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn killed_at_any_step_what_was_acknowledged_is_whole_and_the_rest_is_collected() -> Result<()> {
    let mut server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let kept = repository.push_new("kept").await?;
    for step in STEPS {
        server.kill();
        start_again(&mut server, Some(step), None).await?;
        let cut = SmallImage::new();
        ensure!(push(&repository, "cut", &cut).await.is_err(), "{step} was not reached");
        ensure!(!server.ended().await?.success());
        age_marks(&server)?;
        start_again(&mut server, None, Some("1")).await?;
        let is_committed = step == "manifest-committed";
        let files = if is_committed { 4 } else { 2 };
        wait_until(&format!("what nobody needs to go, after {step}"), || async {
            (blob_files(&server).ok()? == files && marks(&server).ok()?.is_empty()).then_some(())
        })
        .await;
        is_whole(&repository, "kept", &kept).await.with_context(|| format!("after {step}"))?;
        ensure!(repository.has_manifest("cut").await? == is_committed, "after {step}");
        server.kill();
        start_again(&mut server, None, None).await?;
        if is_committed {
            is_whole(&repository, "cut", &cut).await.with_context(|| format!("after {step}"))?;
        }
        push(&repository, "cut", &cut).await.with_context(|| format!("again after {step}"))?;
        is_whole(&repository, "cut", &cut).await?;
        ensure!(blob_files(&server)? == 4, "after {step}: {} files", blob_files(&server)?);
        repository.delete(&format!("manifests/{}", cut.digest())).await?.expect(202)?;
        for blob in [&cut.config, &cut.layer] {
            repository.delete(&format!("blobs/{}", blob.digest)).await?.expect(202)?;
        }
    }
    Ok(())
}

/// Most uploads end before they get a row: such a file is collected at the next start, not after the time of uploads.
#[tokio::test]
async fn killed_before_a_row_was_written_the_file_goes_with_the_next_start() -> Result<()> {
    let mut server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let mut tried = 0;
    for step in ["upload-made", "upload-received", "blob-written"] {
        loop {
            tried += 1;
            ensure!(tried <= TRIES, "each kill came after the row");
            server.kill();
            start_again(&mut server, Some(step), None).await?;
            let blob = Blob::made_up(rand::random(), 50_000);
            let path = format!("blobs/uploads/?digest={}", blob.digest);
            ensure!(repository.send(Method::POST, &path, &[OCTETS], blob.bytes.clone()).await.is_err(), "{step} was not reached");
            ensure!(!server.ended().await?.success());
            let (files, marked) = (blob_files(&server)?, marks(&server)?.len());
            ensure!(files <= 1, "{files} files at {step}");
            age_marks(&server)?;
            start_again(&mut server, None, None).await?;
            // On a machine that is very slow the row was written meanwhile: then it is an upload like others.
            if marked == 1 {
                break;
            }
            start_again_and_expire(&mut server).await?;
        }
        wait_until(&format!("the file to go, after {step}"), || async {
            (blob_files(&server).ok()? == 0 && marks(&server).ok()?.is_empty()).then_some(())
        })
        .await;
    }
    Ok(())
}

async fn start_again_and_expire(server: &mut Server) -> Result<()> {
    server.kill();
    start_again(server, None, Some("1")).await?;
    wait_until("the upload to expire", || async { (blob_files(server).ok()? == 0).then_some(()) }).await;
    Ok(())
}

#[tokio::test]
async fn killed_after_a_chunk_was_acknowledged_the_upload_goes_on() -> Result<()> {
    let mut server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    for step in ["upload-made:2", "upload-received:2", "blob-written"] {
        server.kill();
        start_again(&mut server, Some(step), None).await?;
        let blob = Blob::made_up(rand::random(), 300_000);
        let upload = repository.begin().await?;
        repository.chunk(&upload, 0, &blob.bytes[..100_000]).await?.expect(202)?;
        ensure!(repository.close(&upload, &blob.digest, &blob.bytes[100_000..]).await.is_err(), "{step} was not reached");
        ensure!(!server.ended().await?.success());
        start_again(&mut server, None, None).await?;
        let status = repository.status(&upload).await?.expect(204)?;
        let last: usize = status.header("range").strip_prefix("0-").and_then(|last| last.parse().ok()).context("a range")?;
        ensure!(last + 1 >= 100_000, "{last} after {step}");
        ensure!(!repository.has_blob(&blob.digest).await?, "after {step}");
        repository.close(&upload, &blob.digest, &blob.bytes[last + 1..]).await?.expect(201)?;
        ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes, "after {step}");
    }
    Ok(())
}
