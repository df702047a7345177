//! The disk turns read-only under the server, as the kernel makes it after an error of the hardware: pushes are refused and say why,
//! pulls go on. A journal that was given up takes a new mount, and files that were open before it take a restart: then pushes go on.

use crate::machine::{Machine, has_whole, is_whole, is_whole_or_absent, large_image, resume};
use anyhow::{Context, Result, ensure};
use testing::images::{Blob, MANIFEST_TYPE};
use testing::{Database, Server};

#[tokio::test]
async fn on_a_disk_that_turned_read_only_pulls_go_on_and_after_a_restart_pushes() -> Result<()> {
    let mut machine = Machine::start(Server::builder()).await?;
    let (repository, image, refused) = (machine.repository("acme/web")?, large_image(), large_image());
    repository.push("v1", &image).await?;
    let (upload, open) = (repository.begin().await?, Blob::made_up(rand::random(), 1_000_000));
    repository.chunk(&upload, 0, &open.bytes[..500_000]).await?.expect(202)?;
    machine.disk.turn_read_only()?;

    let begun = repository.begin().await?;
    let answer = repository.close(&begun, &refused.layer.digest, &refused.layer.bytes).await?.expect(503)?;
    ensure!(answer.text().contains("disk is read-only"), "{}", answer.text());
    repository.chunk(&upload, 500_000, &open.bytes[500_000..]).await?.expect(503)?;
    let again = repository.put_manifest("v2", MANIFEST_TYPE, image.manifest.bytes.clone()).await?;
    // Another machine's database still takes what is no file.
    let status = if matches!(machine.server.database(), Database::Postgres { .. }) { 201 } else { 503 };
    ensure!(again.status == status, "{}: {}", again.status, again.text());
    is_whole(&repository, "v1", &image).await.context("a pull")?;
    is_whole_or_absent(&repository, "v3", &refused).await?;
    ensure!(!has_whole(&repository, &refused.layer).await?);

    machine.server.kill();
    machine.disk.mend()?;
    machine.server.start_again().await?;
    is_whole(&repository, "v1", &image).await?;
    resume(&repository, &upload, &open).await?;
    repository.push("v3", &refused).await?;
    is_whole(&repository, "v3", &refused).await
}
