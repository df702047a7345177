//! A server whose data folder is a disk of its own, and what the tests look at after the disk had a fault.

use crate::disk::{Disk, run};
use anyhow::{Context, Result, ensure};
use conformance::registry::{Repository, SmallImage};
use serde_json::json;
use std::process::Command;
use testing::images::{Blob, CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE};
use testing::{Server, ServerBuilder};

/// Bytes of the layer of a [`large_image`].
const LAYER_BYTES: usize = 3_000_000;

#[derive(Debug)]
pub struct Machine {
    // Before the server, whose folder it is mounted in.
    pub disk: Disk,
    pub server: Server,
}

impl Machine {
    /// A server that has been started once, and was stopped: its data has moved to a disk of its own, and is synced.
    async fn stopped(builder: ServerBuilder) -> Result<Self> {
        let mut server = builder.start().await?;
        server.stop().await?;
        let (data, before) = (server.data_dir(), server.folder().join("data-before"));
        std::fs::rename(&data, &before)?;
        std::fs::create_dir(&data)?;
        let disk = Disk::mount(&data)?;
        run(Command::new("cp").arg("--archive").arg(before.join(".")).arg(&data))?;
        disk.sync()?;
        Ok(Self { disk, server })
    }

    /// A server that runs on a disk of its own.
    pub async fn start(builder: ServerBuilder) -> Result<Self> {
        let mut machine = Self::stopped(builder).await?;
        machine.server.start_again().await?;
        Ok(machine)
    }

    /// The same, whose server ends at `point` when it comes there for the `hit`th time.
    pub async fn armed(point: &str, hit: u32) -> Result<Self> {
        let mut machine = Self::stopped(Server::builder()).await?;
        machine.server.set_env("BERTH_FAILPOINT", Some(&format!("{point}:{hit}")));
        machine.server.start_again().await?;
        Ok(machine)
    }

    /// The server is gone, and with it what was not synced.
    pub fn lose_power(&mut self) -> Result<()> {
        self.server.kill();
        self.server.set_env("BERTH_FAILPOINT", None);
        self.disk.lose_power()
    }

    pub fn repository(&self, name: &str) -> Result<Repository> {
        Ok(Repository { client: self.server.admin()?, name: name.into() })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its files are open on the disk.
        self.server.kill();
    }
}

/// An image that no other test has, with a layer that takes several writes.
pub fn large_image() -> SmallImage {
    let mut image = SmallImage::new();
    image.layer = Blob::made_up(rand::random(), LAYER_BYTES);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": image.config.descriptor(CONFIG_TYPE),
        "layers": [image.layer.descriptor(LAYER_TYPE)],
    });
    image.manifest = Blob::new(manifest.to_string());
    image
}

/// The tag, the manifest and its blobs are there, byte by byte.
pub async fn is_whole(repository: &Repository, tag: &str, image: &SmallImage) -> Result<()> {
    for reference in [tag, image.digest()] {
        let answer = repository.get(&format!("manifests/{reference}")).await?.expect(200).with_context(|| tag.to_owned())?;
        ensure!(answer.body == image.manifest.bytes, "{tag}: another manifest");
    }
    for blob in [&image.config, &image.layer] {
        ensure!(has_whole(repository, blob).await?, "{tag}: {} is not there", blob.digest);
    }
    ensure!(repository.tags().await?.iter().any(|each| each == tag), "{tag} is not listed");
    Ok(())
}

/// Whether a blob is there; what is there has to have its bytes.
pub async fn has_whole(repository: &Repository, blob: &Blob) -> Result<bool> {
    let path = format!("blobs/{}", blob.digest);
    if !repository.has_blob(&blob.digest).await? {
        repository.get(&path).await?.expect(404)?;
        return Ok(false);
    }
    let answer = repository.get(&path).await.with_context(|| format!("{} is only half there", blob.digest))?.expect(200)?;
    ensure!(answer.body == blob.bytes, "{} is only half there: {} bytes", blob.digest, answer.body.len());
    Ok(true)
}

/// An image whose push was not acknowledged is there as a whole or not at all, and what is there of its blobs is whole.
pub async fn is_whole_or_absent(repository: &Repository, tag: &str, image: &SmallImage) -> Result<()> {
    for blob in [&image.config, &image.layer] {
        has_whole(repository, blob).await?;
    }
    let listed = repository.tags().await?.iter().any(|each| each == tag);
    let (by_tag, by_digest) = (repository.has_manifest(tag).await?, repository.has_manifest(image.digest()).await?);
    ensure!(listed == by_tag && by_tag == by_digest, "{tag}: listed {listed}, by tag {by_tag}, by digest {by_digest}");
    if by_tag { is_whole(repository, tag, image).await } else { Ok(()) }
}

/// Goes on with an upload from where the server says it is, or anew if there is none: then the blob is there.
pub async fn resume(repository: &Repository, upload: &str, blob: &Blob) -> Result<()> {
    let status = repository.status(upload).await?;
    if status.status == 404 {
        return repository.push_blob(blob).await;
    }
    let status = status.expect(204)?;
    let last: usize = status.header("range").strip_prefix("0-").and_then(|last| last.parse().ok()).context("a range")?;
    // An upload without a byte says `0-0` as well.
    let held = if last == 0 { 0 } else { last + 1 };
    ensure!(held <= blob.bytes.len(), "it holds {held} bytes of {}", blob.bytes.len());
    repository.close(upload, &blob.digest, &blob.bytes[held..]).await?.expect(201)?;
    ensure!(has_whole(repository, blob).await?, "a resumed upload is not there");
    Ok(())
}
