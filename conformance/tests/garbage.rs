//! Garbage collection of the real binary: what its commands say, what a task definition keeps, and a server killed at each commit
//! point of a collection.

use anyhow::{Context, Result, ensure};
use conformance::registry::{Repository, SmallImage, blob_files, index_of};
use serde_json::{Value, json};
use testing::images::{Blob, INDEX_TYPE, MANIFEST_TYPE};
use testing::{Server, ServerBuilder, wait_until};

/// Times short enough to wait for.
fn impatient() -> ServerBuilder {
    Server::builder().env("BERTH_GC_GRACE_SECS", "1").env("BERTH_UNTAGGED_SECS", "1")
}

fn repository(server: &Server, name: &str) -> Result<Repository> {
    Ok(Repository { client: server.admin()?, name: name.into() })
}

async fn is_whole(repository: &Repository, tag: &str, image: &SmallImage) -> Result<()> {
    ensure!(repository.get(&format!("manifests/{tag}")).await?.expect(200)?.body == image.manifest.bytes, "{tag}");
    for blob in [&image.config, &image.layer] {
        ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes, "{tag}: {}", blob.digest);
    }
    Ok(())
}

/// An image that stays, and three that go: one deleted, one whose tag moved, one below an index that was deleted. One of their layers
/// is also the layer of the image that stays.
async fn some_garbage(repository: &Repository) -> Result<SmallImage> {
    let stays = SmallImage::new();
    let mut shares = SmallImage::new();
    shares.layer = stays.layer.clone();
    let mut manifest: Value = serde_json::from_slice(&shares.manifest.bytes)?;
    manifest["layers"][0] =
        json!({"mediaType": manifest["layers"][0]["mediaType"], "digest": shares.layer.digest, "size": shares.layer.bytes.len()});
    shares.manifest = Blob::new(manifest.to_string());
    let below = SmallImage::new();
    repository.push("moves", &shares).await?;
    repository.push("stays", &stays).await?;
    repository.push_new("moves").await?;
    repository.push(below.digest(), &below).await?;
    let index = index_of(&[below.descriptor()]);
    repository.put_manifest("multi", INDEX_TYPE, index.bytes.clone()).await?.expect(201)?;
    repository.delete("manifests/multi").await?.expect(202)?;
    let deleted = repository.push_new("deleted").await?;
    repository.delete(&format!("manifests/{}", deleted.digest())).await?.expect(202)?;
    repository.delete("manifests/moves").await?.expect(202)?;
    Ok(stays)
}

#[tokio::test]
async fn killed_at_any_commit_point_a_collection_goes_on_and_takes_nothing_that_is_needed() -> Result<()> {
    for point in ["gc-expired", "gc-unlinked", "gc-condemned", "gc-files-removed"] {
        let mut server = Server::builder().env("BERTH_GC_GRACE_SECS", "3600").start().await?;
        let repository = repository(&server, "acme/web")?;
        let stays = some_garbage(&repository).await?;
        server.kill();
        for (name, value) in [("BERTH_FAILPOINT", point), ("BERTH_GC_GRACE_SECS", "1"), ("BERTH_UNTAGGED_SECS", "1")] {
            server.set_env(name, Some(value));
        }
        // It looks at once, and then every second: it may end before it is ready.
        server.spawn()?;
        let status = server.ended().await.with_context(|| format!("{point} was not reached"))?;
        ensure!(!status.success(), "{point}: {status}");
        server.set_env("BERTH_FAILPOINT", None);
        server.start_again().await?;
        wait_until("two files to be left", || async { (blob_files(&server).ok()? == 2).then_some(()) }).await;
        is_whole(&repository, "stays", &stays).await.with_context(|| format!("after {point}"))?;
        ensure!(repository.tags().await? == ["stays"]);
        let plan = server.admin()?.get("/api/v1/registry/garbage").await?.expect(200)?.json();
        ensure!(plan["files"] == 0 && plan["waiting_blobs"] == 0 && plan["waiting_manifests"] == 0, "{point}: {plan}");
    }
    Ok(())
}

#[tokio::test]
async fn the_command_says_what_would_go_and_why_and_then_takes_it() -> Result<()> {
    let server = Server::builder().env("BERTH_GC_GRACE_SECS", "2").env("BERTH_UNTAGGED_SECS", "3600").start().await?;
    let cli = server.cli()?;
    let token = token(&server).await?;
    let url = server.url();
    let run = |arguments: &[&str]| cli.ok(&[&["--server", &url, "--token", &token][..], arguments].concat());
    let repository = repository(&server, "acme/web")?;
    let image = repository.push_new("v1").await?;
    let untagged = repository.push_new("v2").await?;
    repository.delete("manifests/v2").await?.expect(202)?;
    repository.delete(&format!("manifests/{}", image.digest())).await?.expect(202)?;
    let plan: Value = serde_json::from_str(&run(&["registry", "gc", "--dry-run", "--json"])?)?;
    ensure!(plan["waiting_blobs"] == 2 && plan["waiting_manifests"] == 1 && plan["grace_secs"] == 2, "{plan}");
    let size = image.config.bytes.len() + image.layer.bytes.len();
    wait_until("the server to have taken it by itself", || async {
        let plan = server.admin().ok()?.get("/api/v1/registry/garbage").await.ok()?.json();
        (plan["waiting_blobs"] == 0 && plan["items"].as_array()?.is_empty()).then_some(())
    })
    .await;
    ensure!(blob_files(&server)? == 2, "those of the untagged image are left");
    let metrics = server.anonymous()?.get("/metrics").await?.text();
    let counted = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok());
    ensure!(counted("berth_registry_blobs_collected_total ") == Some(2), "{metrics}");
    ensure!(counted("berth_registry_file_removed_bytes_total ") == Some(size), "{size}: {metrics}");
    let events = server.admin()?.get("/api/v1/events?kind=registry.collected").await?.expect(200)?.json();
    ensure!(events["items"].as_array().is_some_and(|items| !items.is_empty()), "{events}");
    ensure!(events["items"].as_array().is_some_and(|items| items.iter().all(|item| item["principal"].is_null())), "{events}");
    is_whole(&repository, untagged.digest(), &untagged).await?;
    ensure!(run(&["registry", "gc"])?.starts_with("freed "), "it has nothing to do, and says so");
    Ok(())
}

async fn token(server: &Server) -> Result<String> {
    let answer = server.admin()?.post("/api/v1/tokens", &json!({"label": "gc"})).await?.expect(201)?;
    Ok(answer.json()["secret"].as_str().context("a secret")?.to_owned())
}

#[tokio::test]
async fn only_server_admins_see_and_collect_garbage() -> Result<()> {
    let server = Server::start().await?;
    let bob = server.new_user("bob").await?;
    server.grant("user:bob", "admin", "repository", "**").await?;
    bob.get("/api/v1/registry/garbage").await?.expect(403)?;
    bob.post("/api/v1/registry/garbage/collect", &json!({})).await?.expect(403)?;
    server.anonymous()?.get("/api/v1/registry/garbage").await?.expect(401)?;
    Ok(())
}

#[tokio::test]
async fn who_asks_for_a_collection_is_in_the_audit_of_what_went() -> Result<()> {
    let server = impatient().start().await?;
    let (repository, admin) = (repository(&server, "acme/web")?, server.admin()?);
    // The server looks by itself as well, once in a second: not every time does who asks come first.
    for _ in 0..10 {
        repository.push_new("v1").await?;
        repository.delete("manifests/v1").await?.expect(202)?;
        wait_until("everything to be gone", || async {
            admin.post("/api/v1/registry/garbage/collect", &json!({})).await.ok()?.expect(200).ok()?;
            (blob_files(&server).ok()? == 0).then_some(())
        })
        .await;
        let of = |action: &str| format!("/api/v1/audit?principal=user:admin&action={action}");
        let collected = admin.get(&of("registry.collected")).await?.expect(200)?.json();
        let expired = admin.get(&of("manifest.expired")).await?.expect(200)?.json();
        let first = |page: &Value| page["items"][0].clone();
        if first(&collected).is_object() && first(&expired).is_object() {
            let (collected, expired) = (first(&collected), first(&expired));
            ensure!(collected["target"] == "server:berth" && expired["target"] == "repository:acme/web", "{collected} {expired}");
            for record in [collected, expired] {
                ensure!(record["credential"] == "password" && record["address"] == "127.0.0.1", "{record}");
            }
            return Ok(());
        }
    }
    anyhow::bail!("of ten collections that were asked for the audit names nobody")
}

#[tokio::test]
async fn what_a_live_task_definition_names_stays_until_it_is_deregistered() -> Result<()> {
    let server = impatient().start().await?;
    let (repository, ecs) = (repository(&server, "acme/web")?, server.admin_by_access_key()?);
    let image = repository.push_new("v1").await?;
    let name = format!("{}/acme/web@{}", server.host(), image.digest());
    let definition = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": name, "memory": 32}]});
    ecs.ecs("RegisterTaskDefinition", &definition).await?.expect(200)?;
    repository.delete("manifests/v1").await?.expect(202)?;
    let admin = server.admin()?;
    // Long enough for everything else to have gone.
    let other = repository.push_new("v2").await?;
    repository.delete("manifests/v2").await?.expect(202)?;
    wait_until("an image that nobody pinned to go", || async {
        let gone = [other.digest(), other.layer.digest.as_str()].map(ToOwned::to_owned);
        let manifest = repository.get(&format!("manifests/{}", gone[0])).await.ok()?.status == 404;
        (manifest && blob_files(&server).ok()? == 2).then_some(())
    })
    .await;
    is_whole(&repository, image.digest(), &image).await?;
    ecs.ecs("DeregisterTaskDefinition", &json!({"taskDefinition": "web:1"})).await?.expect(200)?;
    wait_until("the image to go", || async { (blob_files(&server).ok()? == 0).then_some(()) }).await;
    ensure!(!repository.has_manifest(image.digest()).await?);
    let events = admin.get("/api/v1/events?subject=repository:acme/web&kind=manifest.expired").await?.expect(200)?.json();
    ensure!(events.to_string().contains(image.digest()), "{events}");
    // Its bytes may come again.
    repository.push("v1", &image).await?;
    repository.put_manifest("v1", MANIFEST_TYPE, image.manifest.bytes.clone()).await?.expect(201)?;
    is_whole(&repository, "v1", &image).await
}
