//! The machine loses its power. What was acknowledged is whole; what was not is whole, absent or to be resumed, and never half there.
//!
//! The cut comes at each failpoint of a push and of a collection, and right after each acknowledgement.

use crate::disk::Disk;
use crate::machine::{Machine, has_whole, is_whole, is_whole_or_absent, large_image, resume};
use anyhow::{Context, Result, ensure};
use conformance::registry::{Repository, SmallImage, blob_files};
use testing::images::{Blob, MANIFEST_TYPE};
use testing::{Server, wait_until};

/// A server that was cut off at a failpoint and runs again, with what was pushed to it.
struct CutOff {
    // Keeps the server alive.
    _machine: Machine,
    repository: Repository,
    /// Acknowledged, by tag.
    before: Vec<(String, SmallImage)>,
    /// An upload of which a chunk was acknowledged.
    open: (String, Blob),
    /// The push that was cut off, and the upload of its layer.
    image: SmallImage,
    upload: String,
}

/// The cut comes in the push of a third image: in the commit of its layer, the sixth blob, or of its manifest.
async fn cut_off_at(point: &str) -> Result<CutOff> {
    let mut machine = Machine::armed(point, if point.starts_with("blob") { 6 } else { 3 }).await?;
    let repository = machine.repository("acme/web")?;
    let open = Blob::made_up(rand::random(), 2_000_000);
    let location = repository.begin().await?;
    repository.chunk(&location, 0, &open.bytes[..700_000]).await?.expect(202)?;
    let mut before = Vec::new();
    for tag in ["v1", "v2"] {
        let image = large_image();
        repository.push(tag, &image).await?;
        before.push((tag.to_owned(), image));
    }
    let image = large_image();
    repository.push_blob(&image.config).await?;
    let upload = repository.begin().await?;
    let (first, rest) = image.layer.bytes.split_at(1_000_000);
    repository.chunk(&upload, 0, first).await?.expect(202)?;
    let closed = repository.close(&upload, &image.layer.digest, rest).await;
    let ended = match closed {
        Ok(_) => repository.put_manifest("v3", MANIFEST_TYPE, image.manifest.bytes.clone()).await.is_err(),
        Err(_) => true,
    };
    ensure!(ended, "{point} was not reached");
    ensure!(!machine.server.ended().await?.success());
    machine.lose_power()?;
    machine.server.start_again().await?;
    Ok(CutOff { _machine: machine, repository, before, open: (location, open), image, upload })
}

impl CutOff {
    /// What holds wherever the cut was; in the end the push that was cut off is done again, and another one.
    async fn is_sound(&self) -> Result<()> {
        let Self { repository, before, open, image, upload, .. } = self;
        for (tag, image) in before {
            is_whole(repository, tag, image).await.with_context(|| format!("{tag} was acknowledged"))?;
        }
        ensure!(has_whole(repository, &image.config).await?, "the config was acknowledged");
        is_whole_or_absent(repository, "v3", image).await?;
        resume(repository, upload, &image.layer).await.context("the layer that was cut off")?;
        resume(repository, &open.0, &open.1).await.context("the upload that was open")?;
        repository.push("v3", image).await?;
        is_whole(repository, "v3", image).await?;
        let another = large_image();
        repository.push("v4", &another).await?;
        is_whole(repository, "v4", &another).await
    }
}

#[tokio::test]
async fn power_lost_at_blob_written_the_blob_is_not_there_and_its_upload_goes_on() -> Result<()> {
    let cut_off = cut_off_at("blob-written").await?;
    let CutOff { repository, image, upload, .. } = &cut_off;
    ensure!(!has_whole(repository, &image.layer).await? && !repository.has_manifest("v3").await?);
    // The bytes were synced before the failpoint, and the chunk before them has put the upload on record.
    let status = repository.status(upload).await?.expect(204)?;
    ensure!(status.header("range") == format!("0-{}", image.layer.bytes.len() - 1), "{:?}", status.headers);
    cut_off.is_sound().await
}

#[tokio::test]
async fn power_lost_at_blob_committed_the_blob_is_whole() -> Result<()> {
    let cut_off = cut_off_at("blob-committed").await?;
    let CutOff { repository, image, upload, .. } = &cut_off;
    ensure!(has_whole(repository, &image.layer).await?, "it was committed");
    ensure!(repository.status(upload).await?.status == 404, "the upload is still open");
    ensure!(!repository.has_manifest("v3").await?);
    cut_off.is_sound().await
}

#[tokio::test]
async fn power_lost_at_manifest_committed_the_image_is_whole() -> Result<()> {
    let cut_off = cut_off_at("manifest-committed").await?;
    is_whole(&cut_off.repository, "v3", &cut_off.image).await.context("it was committed")?;
    cut_off.is_sound().await
}

#[tokio::test]
async fn power_lost_right_after_an_acknowledgement_what_it_said_holds() -> Result<()> {
    let mut machine = Machine::start(Server::builder()).await?;
    let repository = machine.repository("acme/web")?;
    let (image, other) = (large_image(), machine.repository("acme/other")?);
    repository.push_blob(&image.layer).await?;
    machine.lose_power()?;
    machine.server.start_again().await?;
    ensure!(has_whole(&repository, &image.layer).await?, "a blob was acknowledged");

    repository.push("v1", &image).await?;
    machine.lose_power()?;
    machine.server.start_again().await?;
    is_whole(&repository, "v1", &image).await.context("an image was acknowledged")?;

    let mount = format!("blobs/uploads/?mount={}&from=acme/web", image.layer.digest);
    other.post(&mount).await?.expect(201)?;
    let (upload, blob) = (repository.begin().await?, Blob::made_up(rand::random(), 2_000_000));
    repository.chunk(&upload, 0, &blob.bytes[..900_000]).await?.expect(202)?;
    machine.lose_power()?;
    machine.server.start_again().await?;
    ensure!(has_whole(&other, &image.layer).await?, "a mount was acknowledged");
    resume(&repository, &upload, &blob).await?;

    repository.delete("manifests/v1").await?.expect(202)?;
    machine.lose_power()?;
    machine.server.start_again().await?;
    ensure!(!repository.has_manifest("v1").await?, "the end of a tag was acknowledged");
    repository.push("v1", &image).await?;
    is_whole(&repository, "v1", &image).await
}

/// The master key, the certificates and the first user are on disk as well, or nothing could be read after it.
#[tokio::test]
async fn power_lost_after_the_first_start_the_first_push_is_whole() -> Result<()> {
    let server = Server::builder().prepare().await?;
    std::fs::create_dir(server.data_dir())?;
    let mut machine = Machine { disk: Disk::mount(&server.data_dir())?, server };
    machine.server.start_again().await?;
    let (repository, image) = (machine.repository("acme/web")?, large_image());
    repository.push("v1", &image).await?;
    machine.lose_power()?;
    machine.server.start_again().await?;
    is_whole(&repository, "v1", &image).await?;
    machine.server.admin_by_access_key()?.ecs("ListClusters", &serde_json::json!({})).await?.expect(200)?;
    let another = large_image();
    repository.push("v2", &another).await?;
    is_whole(&repository, "v2", &another).await
}

#[tokio::test]
async fn power_lost_at_any_commit_point_of_a_collection_it_goes_on_and_takes_nothing_that_is_needed() -> Result<()> {
    let mut machine = Machine::start(Server::builder().env("BERTH_GC_GRACE_SECS", "3600")).await?;
    let repository = machine.repository("acme/web")?;
    let stays = large_image();
    repository.push("stays", &stays).await?;
    for point in ["gc-expired", "gc-unlinked", "gc-condemned", "gc-files-removed"] {
        let goes = repository.push_new("goes").await?;
        // One is deleted as a whole, the other loses its tag.
        repository.delete(&format!("manifests/{}", goes.digest())).await?.expect(202)?;
        repository.push_new("goes").await?;
        repository.delete("manifests/goes").await?.expect(202)?;
        machine.server.kill();
        for (name, value) in [("BERTH_FAILPOINT", point), ("BERTH_GC_GRACE_SECS", "1"), ("BERTH_UNTAGGED_SECS", "1")] {
            machine.server.set_env(name, Some(value));
        }
        // It looks at once, and then every second: it may end before it is ready.
        machine.server.spawn()?;
        let status = machine.server.ended().await.with_context(|| format!("{point} was not reached"))?;
        ensure!(!status.success(), "{point}: {status}");
        machine.lose_power()?;
        machine.server.start_again().await?;
        wait_until("two files to be left", || async { (blob_files(&machine.server).ok()? == 2).then_some(()) }).await;
        is_whole(&repository, "stays", &stays).await.with_context(|| format!("after {point}"))?;
        machine.server.kill();
        machine.server.set_env("BERTH_GC_GRACE_SECS", Some("3600"));
        machine.server.start_again().await?;
    }
    Ok(())
}
