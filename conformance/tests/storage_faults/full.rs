//! The disk is full: pushes are refused and say why, pulls go on, and what is not a push has room of its own. With space freed
//! pushes go on, without a restart.

use crate::disk::SIZE_MIB;
use crate::machine::{Machine, has_whole, is_whole, is_whole_or_absent, large_image, resume};
use anyhow::{Context, Result, ensure};
use conformance::raw;
use conformance::registry::{OCTETS, Repository, SmallImage, refused};
use reqwest::Method;
use testing::images::{Blob, MANIFEST_TYPE};
use testing::{Answer, Database, Server};

const MIB: u64 = 1024 * 1024;
/// What uploads leave free of a disk of this size: a twentieth of it, less the part that the file system needs itself.
const RESERVE_BYTES: u64 = SIZE_MIB * MIB / 20;
/// A foreign file that fills the disk.
const FILLER: &str = "filler";
/// One that takes the last byte.
const LAST_FILLER: &str = "last-filler";

fn is_full(answer: &Answer) -> Result<()> {
    refused(answer, 507, "DENIED")?;
    ensure!(answer.text().contains("disk is full"), "{}", answer.text());
    Ok(())
}

/// What a PUT that ends a new upload with all of `blob` is answered.
async fn push(repository: &Repository, blob: &Blob) -> Result<Answer> {
    let upload = repository.begin().await?;
    repository.close(&upload, &blob.digest, &blob.bytes).await
}

/// Pushes blobs until one is refused; those that were taken.
async fn push_until_full(repository: &Repository) -> Result<Vec<Blob>> {
    let mut taken = Vec::new();
    loop {
        let blob = Blob::made_up(rand::random(), 400_000);
        let answer = push(repository, &blob).await?;
        if answer.status != 201 {
            is_full(&answer)?;
            return Ok(taken);
        }
        taken.push(blob);
        ensure!(taken.len() < 100, "the disk is not getting full");
    }
}

#[tokio::test]
async fn uploads_leave_a_reserve_in_which_everything_else_goes_on() -> Result<()> {
    let machine = Machine::start(Server::builder()).await?;
    let (repository, image) = (machine.repository("acme/web")?, large_image());
    repository.push("v1", &image).await?;
    machine.disk.fill(FILLER, RESERVE_BYTES + 5 * MIB)?;
    let taken = push_until_full(&repository).await?;
    ensure!(!taken.is_empty(), "none was taken while there was room");
    let free = machine.disk.free()?;
    ensure!((RESERVE_BYTES * 3 / 4..RESERVE_BYTES + 2 * MIB).contains(&free), "{free} bytes are free");

    // Everything that is not an upload: a manifest of what is there, a tag that goes, a user, a pull.
    repository.put_manifest("v2", MANIFEST_TYPE, image.manifest.bytes.clone()).await?.expect(201)?;
    repository.delete("manifests/v2").await?.expect(202)?;
    machine.server.new_user("bob").await?;
    is_whole(&repository, "v1", &image).await?;
    for blob in &taken {
        ensure!(has_whole(&repository, blob).await?, "{} was acknowledged", blob.digest);
    }
    let again = repository.post(&format!("blobs/uploads/?mount={}&from=acme/web", taken[0].digest)).await?;
    ensure!(again.status == 201, "a mount takes no room: {}", again.text());

    machine.disk.free_up(FILLER)?;
    let another = large_image();
    repository.push("v3", &another).await?;
    is_whole(&repository, "v3", &another).await
}

#[tokio::test]
async fn an_upload_is_refused_in_each_form_of_push_and_goes_on_when_there_is_room() -> Result<()> {
    let machine = Machine::start(Server::builder()).await?;
    let repository = machine.repository("acme/web")?;
    let blob = Blob::made_up(rand::random(), 6_000_000);
    let upload = repository.begin().await?;
    repository.chunk(&upload, 0, &blob.bytes[..300_000]).await?.expect(202)?;
    machine.disk.fill(FILLER, RESERVE_BYTES + MIB)?;

    let path = format!("blobs/uploads/?digest={}", blob.digest);
    is_full(&repository.send(Method::POST, &path, &[OCTETS], blob.bytes.clone()).await?).context("a whole blob in one POST")?;
    is_full(&push(&repository, &blob).await?).context("POST and PUT")?;
    is_full(&repository.chunk(&upload, 300_000, &blob.bytes[300_000..]).await?).context("a chunk")?;
    // Nobody knows how long a stream gets: it is cut off when the disk is full, and the client gets to see why.
    let head = raw::head(&repository.client, "PATCH", &repository.begin().await?);
    let mut request = format!("{head}Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    request.extend(raw::chunked(&blob.bytes, 100_000));
    let (status, answer) = raw::exchange(&repository.client, &request).await?;
    ensure!(status == 507 && answer.contains("disk is full"), "a stream: {answer}");
    ensure!(!has_whole(&repository, &blob).await?, "it was refused");

    machine.disk.free_up(FILLER)?;
    let status = repository.status(&upload).await?.expect(204)?;
    ensure!(status.header("range") == "0-299999", "{:?}", status.headers);
    repository.chunk(&upload, 300_000, &blob.bytes[300_000..]).await?.expect(202)?;
    repository.close(&upload, &blob.digest, b"").await?.expect(201)?;
    ensure!(has_whole(&repository, &blob).await?, "it was pushed");
    Ok(())
}

#[tokio::test]
async fn on_a_disk_without_a_free_byte_pulls_go_on_and_nothing_is_half_there() -> Result<()> {
    let mut machine = Machine::start(Server::builder()).await?;
    let repository = machine.repository("acme/web")?;
    let image = repository.push_new("v1").await?;
    let (upload, open) = (repository.begin().await?, Blob::made_up(rand::random(), 1_000_000));
    repository.chunk(&upload, 0, &open.bytes[..500_000]).await?.expect(202)?;
    machine.disk.fill(FILLER, MIB)?;
    machine.disk.exhaust(LAST_FILLER)?;

    is_full(&push(&repository, &Blob::made_up(rand::random(), 10_000)).await?)?;
    let mut tried = Vec::new();
    for round in 0..20 {
        let (tag, mut manifest) = (format!("t{round}"), image.clone());
        manifest.manifest = Blob::new(format!("{}{}", String::from_utf8_lossy(&image.manifest.bytes), " ".repeat(round + 400_000)));
        let answer = repository.put_manifest(&tag, MANIFEST_TYPE, manifest.manifest.bytes.clone()).await?;
        ensure!(matches!(answer.status.as_u16(), 201 | 503 | 507), "{}: {}", answer.status, answer.text());
        tried.push((tag, manifest, answer.status == 201));
        is_whole(&repository, "v1", &image).await.context("a pull")?;
    }
    all_sound(&repository, &tried).await?;
    let refused = tried.iter().any(|(.., acknowledged)| !acknowledged);
    // Another machine's database has room of its own.
    ensure!(refused || matches!(machine.server.database(), Database::Postgres { .. }), "the database found room on a full disk");

    machine.disk.free_up(FILLER)?;
    all_sound(&repository, &tried).await?;
    resume(&repository, &upload, &open).await?;
    let another = large_image();
    repository.push("v2", &another).await?;
    machine.server.kill();
    machine.server.start_again().await?;
    all_sound(&repository, &tried).await?;
    is_whole(&repository, "v1", &image).await?;
    is_whole(&repository, "v2", &another).await
}

/// What was acknowledged is there, and nothing is half there.
async fn all_sound(repository: &Repository, tried: &[(String, SmallImage, bool)]) -> Result<()> {
    for (tag, image, acknowledged) in tried {
        is_whole_or_absent(repository, tag, image).await?;
        ensure!(!acknowledged || repository.has_manifest(tag).await?, "{tag} was acknowledged");
    }
    Ok(())
}
