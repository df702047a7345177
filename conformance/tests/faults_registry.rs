//! What goes wrong with pushes and credentials: each a typed error, nothing half-written; and a server killed at each commit point
//! comes back with what it acknowledged.

use anyhow::{Context, Result, ensure};
use conformance::raw;
use conformance::registry::{OCTETS, Registry, Repository, SmallImage, absent_digest, location, refused, strings};
use reqwest::Method;
use serde_json::json;
use std::path::Path;
use testing::images::{Blob, MANIFEST_TYPE};
use testing::push::with_digest;
use testing::{Client, Credentials, Database, Server, wait_until};

// === Bad pushes

/// No tag, no manifest, no blob, and the name is in no list.
async fn nothing_was_written(repository: &Repository, blobs: &[&Blob]) -> Result<()> {
    for blob in blobs {
        ensure!(!repository.has_blob(&blob.digest).await?, "{} has {}", repository.name, blob.digest);
    }
    ensure!(repository.tags().await?.is_empty(), "{} has tags", repository.name);
    Ok(())
}

async fn catalog(client: &Client) -> Result<Vec<String>> {
    strings(&client.get("/v2/_catalog").await?.expect(200)?.json()["repositories"])
}

/// Files and bytes below a folder.
fn usage(folder: &Path) -> Result<(usize, u64)> {
    let mut total = (0, 0);
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(total) };
    for entry in entries {
        let (entry, metadata) = entry.and_then(|entry| entry.metadata().map(|metadata| (entry, metadata)))?;
        let (files, bytes) = if metadata.is_dir() { usage(&entry.path())? } else { (1, metadata.len()) };
        total = (total.0 + files, total.1 + bytes);
    }
    Ok(total)
}

#[tokio::test]
async fn a_wrong_digest_leaves_no_blob_and_no_file() -> Result<()> {
    let server = Server::start().await?;
    let registry = Registry { client: server.admin()?, server: Some(server) };
    let server = registry.server.as_ref().context("it runs here")?;
    let (repository, blob) = (registry.repository(), Blob::made_up(rand::random(), 300_000));
    let before = usage(&server.data_dir().join("blobs"))?;
    for _ in 0..3 {
        let upload = repository.begin().await?;
        refused(&repository.close(&upload, &absent_digest(), &blob.bytes).await?, 400, "DIGEST_INVALID")?;
        registry.client.delete(&upload).await?;
    }
    nothing_was_written(&repository, &[&blob]).await?;
    ensure!(usage(&server.data_dir().join("blobs"))? == before, "files stay behind");
    repository.push_blob(&blob).await?;
    ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.body == blob.bytes);
    Ok(())
}

#[tokio::test]
async fn a_truncated_put_is_no_blob_and_can_be_pushed_again() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), Blob::made_up(rand::random(), 300_000));
    let upload = repository.begin().await?;
    let head = raw::head(&registry.client, "PUT", &with_digest(&upload, &blob.digest));
    let mut request = format!("{head}Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n", blob.bytes.len()).into_bytes();
    request.extend(&blob.bytes[..200_000]);
    raw::send_and_leave(&registry.client, &request).await?;
    // Until the server has noticed, the session is busy.
    repository_is_quiet(&repository, &upload).await;
    nothing_was_written(&repository, &[&blob]).await?;
    repository.push_blob(&blob).await?;
    ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes);
    Ok(())
}

/// Waits until a session answers again, open or gone.
async fn repository_is_quiet(repository: &Repository, upload: &str) {
    wait_until("the session to answer", || async {
        let status = repository.status(upload).await.ok()?.status;
        matches!(status.as_u16(), 204 | 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_truncated_patch_can_be_resumed_where_it_broke_off() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), Blob::made_up(rand::random(), 600_000));
    let upload = repository.begin().await?;
    let head = raw::head(&registry.client, "PATCH", &upload);
    let range = format!("Content-Range: 0-{}\r\nContent-Length: {}\r\n", blob.bytes.len() - 1, blob.bytes.len());
    let mut request = format!("{head}Content-Type: application/octet-stream\r\n{range}\r\n").into_bytes();
    request.extend(&blob.bytes[..500_000]);
    raw::send_and_leave(&registry.client, &request).await?;
    let arrived = wait_until("what arrived to be held", || async {
        let status = repository.status(&upload).await.ok()?;
        let last: usize = status.header("range").strip_prefix("0-")?.parse().ok()?;
        (last > 0).then_some(last + 1)
    })
    .await;
    ensure!(arrived <= 500_000, "it holds {arrived} bytes");
    let answer = repository.chunk(&upload, arrived, &blob.bytes[arrived..]).await?.expect(202)?;
    repository.close(&location(&answer)?, &blob.digest, b"").await?.expect(201)?;
    ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes);
    Ok(())
}

#[tokio::test]
async fn a_truncated_manifest_is_not_kept() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, image) = (registry.repository(), SmallImage::new());
    repository.push_blob(&image.config).await?;
    repository.push_blob(&image.layer).await?;
    let head = raw::head(&registry.client, "PUT", &repository.path("manifests/v1"));
    let length = image.manifest.bytes.len();
    let mut request = format!("{head}Content-Type: {MANIFEST_TYPE}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    request.extend(&image.manifest.bytes[..length - 10]);
    raw::send_and_leave(&registry.client, &request).await?;
    registry.client.get("/v2/").await?.expect(200)?;
    ensure!(!repository.has_manifest("v1").await? && !repository.has_manifest(image.digest()).await?);
    repository.put_manifest("v1", MANIFEST_TYPE, image.manifest.bytes.clone()).await?.expect(201)?;
    Ok(())
}

#[tokio::test]
async fn refused_pushes_make_no_repository() -> Result<()> {
    let registry = Registry::start().await?;
    let image = SmallImage::new();
    let repository = registry.repository();
    let long = "a".repeat(300);
    for (name, status, code) in [("acme/../etc", 400, "NAME_INVALID"), ("Acme", 400, "NAME_INVALID"), (long.as_str(), 400, "NAME_INVALID")]
    {
        // `..` would be taken out by the client's own URL parser, so it goes out by hand.
        let request = format!("{}Content-Length: 0\r\n\r\n", raw::head(&registry.client, "POST", &format!("/v2/{name}/blobs/uploads/")));
        let (actual, answer) = raw::exchange(&registry.client, request.as_bytes()).await?;
        ensure!(actual == status && answer.contains(code), "{name}: {answer}");
    }
    refused(&repository.put_manifest("v1", "application/x-unknown", image.manifest.bytes.clone()).await?, 400, "MANIFEST_INVALID")?;
    refused(&repository.put_manifest("v1", MANIFEST_TYPE, image.manifest.bytes.clone()).await?, 400, "MANIFEST_BLOB_UNKNOWN")?;
    let huge = vec![b' '; 4 * 1024 * 1024 + 1];
    repository.put_manifest("v1", MANIFEST_TYPE, huge).await?.expect(413)?;
    nothing_was_written(&repository, &[&image.config, &image.layer]).await?;
    ensure!(registry.server.is_none() || catalog(&registry.client).await?.is_empty(), "{:?}", catalog(&registry.client).await?);
    Ok(())
}

// === Credentials

struct People {
    server: Server,
    /// An image of the admin.
    repository: Repository,
    image: SmallImage,
    bob: Client,
}

/// A server with an image that bob may pull, by the grant whose id is given too.
async fn people() -> Result<(People, String)> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let image = repository.push_new("v1").await?;
    let bob = server.new_user("bob").await?;
    let grant = server.grant("user:bob", "pull", "repository", "acme/web").await?;
    Ok((People { server, repository, image, bob }, grant))
}

impl People {
    fn seen_by(&self, client: &Client) -> Repository {
        self.repository.seen_by(client)
    }

    async fn may_pull(&self, client: &Client) -> Result<bool> {
        let answer = self.seen_by(client).get("manifests/v1").await?;
        ensure!(matches!(answer.status.as_u16(), 200 | 401 | 403 | 404), "{} {}", answer.status, answer.text());
        Ok(answer.status == 200)
    }

    /// A personal token of bob, as a client, and its id.
    async fn token(&self, request: serde_json::Value) -> Result<(Client, String)> {
        let answer = self.bob.post("/api/v1/tokens", &request).await?.expect(201)?.json();
        let secret = answer["secret"].as_str().context("a new token is shown once")?.to_owned();
        Ok((self.bob.with(Credentials::Bearer(secret)), answer["token"]["id"].as_str().context("an id")?.to_owned()))
    }

    async fn registry_token(&self, client: &Client, actions: &str) -> Result<Client> {
        let answer = client.get(&format!("/token?service=berth&scope=repository:acme/web:{actions}")).await?.expect(200)?.json();
        Ok(self.bob.with(Credentials::Bearer(answer["token"].as_str().context("a token")?.to_owned())))
    }
}

#[tokio::test]
async fn a_wrong_password_is_401_everywhere_and_the_right_one_works_afterwards() -> Result<()> {
    let (people, _) = people().await?;
    let wrong = people.server.as_user("bob", "wrong-password")?;
    for _ in 0..3 {
        for path in ["/v2/", "/token?service=berth", "/api/v1/whoami"] {
            ensure!(wrong.get(path).await?.status == 401, "{path}");
        }
    }
    ensure!(people.may_pull(&people.bob).await?, "bob is locked out by somebody else's guesses");
    Ok(())
}

#[tokio::test]
async fn an_expired_token_is_401() -> Result<()> {
    let (people, _) = people().await?;
    let (token, _) = people.token(json!({"label": "short", "expires_in_secs": 2})).await?;
    ensure!(people.may_pull(&token).await?, "it does not work at all");
    let registry_token = people.registry_token(&token, "pull").await?;
    wait_until("the token to expire", || async { (token.get("/v2/").await.ok()?.status == 401).then_some(()) }).await;
    ensure!(!people.may_pull(&token).await?);
    ensure!(!people.may_pull(&registry_token).await?, "what was made from it lives on");
    Ok(())
}

#[tokio::test]
async fn a_revoked_token_is_401_on_the_next_request_and_so_is_what_was_made_from_it() -> Result<()> {
    let (people, _) = people().await?;
    let (token, id) = people.token(json!({"label": "ci"})).await?;
    let registry_token = people.registry_token(&token, "pull").await?;
    ensure!(people.may_pull(&token).await? && people.may_pull(&registry_token).await?);
    people.bob.delete(&format!("/api/v1/tokens/{id}")).await?.expect(204)?;
    ensure!(people.seen_by(&token).get("manifests/v1").await?.status == 401);
    ensure!(people.seen_by(&registry_token).get("manifests/v1").await?.status == 401);
    ensure!(people.may_pull(&people.bob).await?, "his password still works");
    Ok(())
}

#[tokio::test]
async fn a_token_for_another_repository_does_not_pull_this_one() -> Result<()> {
    let (people, _) = people().await?;
    people.server.grant("user:bob", "push", "repository", "acme/other").await?;
    let other = people.repository.client.clone();
    Repository { client: other, name: "acme/other".into() }.push_new("v1").await?;
    let scope = json!([{"role": "pull", "kind": "repository", "pattern": "acme/other"}]);
    let (token, _) = people.token(json!({"label": "narrow", "scope": scope})).await?;
    ensure!(!people.may_pull(&token).await?, "a scoped token pulls what is not in its scope");
    let his = Repository { client: token.clone(), name: "acme/other".into() };
    ensure!(his.has_manifest("v1").await?, "it does not pull what is in its scope");
    refused(&his.post("blobs/uploads/").await?, 403, "DENIED")?;
    // A token never says more than its owner, nor makes a wider one.
    let wider = token.post("/api/v1/tokens", &json!({"label": "wider"})).await?;
    ensure!(wider.status.is_client_error() || wider.json()["token"]["scope"] == scope, "{}", wider.text());
    Ok(())
}

#[tokio::test]
async fn a_token_wider_than_its_owner_gives_no_more_than_the_owner_has() -> Result<()> {
    let (people, _) = people().await?;
    let scope = json!([{"role": "admin", "kind": "repository", "pattern": "**"}]);
    let answer = people.bob.post("/api/v1/tokens", &json!({"label": "wide", "scope": scope})).await?;
    if answer.status == 201 {
        let secret = answer.json()["secret"].as_str().context("a secret")?.to_owned();
        let token = people.bob.with(Credentials::Bearer(secret));
        refused(&people.seen_by(&token).post("blobs/uploads/").await?, 403, "DENIED")?;
    }
    Ok(())
}

#[tokio::test]
async fn removing_a_grant_acts_on_the_next_request_also_for_tokens_in_use() -> Result<()> {
    let (people, grant) = people().await?;
    let (token, _) = people.token(json!({"label": "ci"})).await?;
    let registry_token = people.registry_token(&people.bob, "pull").await?;
    for round in 0..3 {
        for client in [&people.bob, &token, &registry_token] {
            ensure!(people.may_pull(client).await?, "round {round}");
        }
        let id = if round == 0 { grant.clone() } else { people.server.grant("user:bob", "pull", "repository", "acme/web").await? };
        people.server.revoke(&id).await?;
        for client in [&people.bob, &token, &registry_token] {
            ensure!(!people.may_pull(client).await?, "round {round}");
            ensure!(people.seen_by(client).head(&format!("blobs/{}", people.image.layer.digest)).await?.status != 200);
        }
        people.server.grant("user:bob", "pull", "repository", "acme/*").await?;
        ensure!(people.may_pull(&people.bob).await?, "granted again, round {round}");
        let all = people.server.admin()?.get("/api/v1/grants?principal=user:bob").await?.expect(200)?.json();
        for each in all["items"].as_array().context("items")? {
            people.server.revoke(each["id"].as_str().context("an id")?).await?;
        }
        people.server.grant("user:bob", "pull", "repository", "acme/web").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_user_who_is_disabled_or_deleted_is_401_on_the_next_request() -> Result<()> {
    let (people, _) = people().await?;
    let (token, _) = people.token(json!({"label": "ci"})).await?;
    let registry_token = people.registry_token(&people.bob, "pull").await?;
    let admin = people.server.admin()?;
    admin.json(Method::PATCH, "/api/v1/users/bob", &json!({"disabled": true})).await?.expect(200)?;
    for client in [&people.bob, &token, &registry_token] {
        ensure!(people.seen_by(client).get("manifests/v1").await?.status == 401, "disabled");
    }
    admin.json(Method::PATCH, "/api/v1/users/bob", &json!({"disabled": false})).await?.expect(200)?;
    ensure!(people.may_pull(&people.bob).await? && people.may_pull(&token).await?, "enabled again");
    admin.delete("/api/v1/users/bob").await?.expect(204)?;
    for client in [&people.bob, &token, &registry_token] {
        ensure!(people.seen_by(client).get("manifests/v1").await?.status == 401, "deleted");
    }
    // A new bob is somebody else.
    people.server.new_user("bob").await?;
    ensure!(!people.may_pull(&token).await? && !people.may_pull(&registry_token).await?, "the old bob's token serves the new one");
    ensure!(!people.may_pull(&people.bob).await?, "the new bob has the old one's grants");
    Ok(())
}

#[tokio::test]
async fn a_changed_password_ends_the_old_one_at_once() -> Result<()> {
    let (people, _) = people().await?;
    ensure!(people.may_pull(&people.bob).await?);
    let change = json!({"password": "a-new-password-of-bob", "current_password": "password-of-bob"});
    people.bob.put("/api/v1/users/bob/password", &change).await?.expect(204)?;
    ensure!(people.seen_by(&people.bob).get("manifests/v1").await?.status == 401);
    ensure!(people.may_pull(&people.server.as_user("bob", "a-new-password-of-bob")?).await?);
    Ok(())
}

#[tokio::test]
async fn only_admins_of_the_server_manage_others() -> Result<()> {
    let (people, grant) = people().await?;
    let bob = &people.bob;
    for (method, path, body) in [
        (Method::POST, "/api/v1/users".to_owned(), json!({"name": "eve", "password": "password-of-eve"})),
        (Method::POST, "/api/v1/grants".into(), json!({"principal": "user:bob", "role": "admin", "kind": "repository", "pattern": "**"})),
        (Method::DELETE, format!("/api/v1/grants/{grant}"), json!(null)),
        (Method::POST, "/api/v1/tokens".into(), json!({"label": "x", "principal": "user:admin"})),
        (Method::POST, "/api/v1/access-keys".into(), json!({"principal": "user:admin"})),
        (Method::POST, "/api/v1/join-tokens".into(), json!({})),
        (Method::DELETE, "/api/v1/users/admin".into(), json!(null)),
        (Method::PUT, "/api/v1/users/admin/password".into(), json!({"password": "password-of-eve"})),
    ] {
        let answer = bob.json(method.clone(), &path, &body).await?;
        ensure!(matches!(answer.status.as_u16(), 403 | 404), "{method} {path}: {} {}", answer.status, answer.text());
        let anonymous = people.server.anonymous()?.json(method.clone(), &path, &body).await?;
        ensure!(anonymous.status == 401, "{method} {path} by nobody: {}", anonymous.status);
    }
    ensure!(people.may_pull(bob).await?, "his grant is gone");
    Ok(())
}

// === Kills

fn unarmed(server: &mut Server) {
    server.set_env("BERTH_FAILPOINT", None);
}

async fn armed(point: &str) -> Result<(Server, Repository)> {
    let server = Server::builder().env("BERTH_FAILPOINT", point).start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    Ok((server, repository))
}

#[tokio::test]
async fn killed_after_blob_written_there_is_no_blob_and_it_can_be_pushed_again() -> Result<()> {
    let (mut server, repository) = armed("blob-written").await?;
    let blob = Blob::made_up(rand::random(), 400_000);
    let upload = repository.begin().await?;
    ensure!(repository.close(&upload, &blob.digest, &blob.bytes).await.is_err(), "the failpoint was not reached");
    ensure!(!server.ended().await?.success());
    unarmed(&mut server);
    server.start_again().await?;
    nothing_was_written(&repository, &[&blob]).await?;
    repository.push_blob(&blob).await?;
    ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes);
    Ok(())
}

#[tokio::test]
async fn killed_after_blob_committed_the_blob_is_whole() -> Result<()> {
    let (mut server, repository) = armed("blob-committed").await?;
    let blob = Blob::made_up(rand::random(), 400_000);
    let upload = repository.begin().await?;
    ensure!(repository.close(&upload, &blob.digest, &blob.bytes).await.is_err(), "the failpoint was not reached");
    server.ended().await?;
    unarmed(&mut server);
    server.start_again().await?;
    ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes);
    // The client never got its answer and sends it again.
    repository.push_blob(&blob).await?;
    ensure!(repository.status(&upload).await?.status == 404, "the session is still open");
    Ok(())
}

#[tokio::test]
async fn killed_after_manifest_committed_the_tag_stands() -> Result<()> {
    let (mut server, repository) = armed("manifest-committed").await?;
    let image = SmallImage::new();
    ensure!(repository.push("v1", &image).await.is_err(), "the failpoint was not reached");
    server.ended().await?;
    unarmed(&mut server);
    server.start_again().await?;
    for reference in ["v1", image.digest()] {
        let answer = repository.get(&format!("manifests/{reference}")).await?.expect(200)?;
        ensure!(answer.body == image.manifest.bytes && answer.header("content-type") == MANIFEST_TYPE, "{reference}");
    }
    ensure!(repository.tags().await? == ["v1"]);
    repository.push("v1", &image).await?;
    Ok(())
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_and_open_uploads_go_on() -> Result<()> {
    let mut server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let mut images = Vec::new();
    let blob = Blob::made_up(rand::random(), 500_000);
    let upload = repository.begin().await?;
    repository.chunk(&upload, 0, &blob.bytes[..200_000]).await?.expect(202)?;
    for round in 0..3 {
        let tag = format!("v{round}");
        images.push((tag.clone(), repository.push_new(&tag).await?));
        server.kill();
        server.start_again().await?;
        for (tag, image) in &images {
            ensure!(repository.get(&format!("manifests/{tag}")).await?.expect(200)?.body == image.manifest.bytes, "{tag}");
            for blob in [&image.config, &image.layer] {
                ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes, "{tag}");
            }
        }
    }
    let status = repository.status(&upload).await?.expect(204)?;
    ensure!(status.header("range") == "0-199999", "{:?}", status.headers);
    repository.chunk(&upload, 200_000, &blob.bytes[200_000..]).await?.expect(202)?;
    repository.close(&upload, &blob.digest, b"").await?.expect(201)?;
    ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes);
    Ok(())
}

#[tokio::test]
async fn killed_in_the_middle_of_a_chunk_it_goes_on_from_what_was_acknowledged_or_later() -> Result<()> {
    const ACKNOWLEDGED: usize = 1_000;
    let mut server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let blob = Blob::made_up(rand::random(), 3_000_000);
    let upload = repository.begin().await?;
    repository.chunk(&upload, 0, &blob.bytes[..ACKNOWLEDGED]).await?.expect(202)?;
    let rest = &blob.bytes[ACKNOWLEDGED..];
    let range = format!("Content-Range: {ACKNOWLEDGED}-{}\r\nContent-Length: {}", blob.bytes.len() - 1, rest.len());
    let head = raw::head(&repository.client, "PATCH", &upload);
    let mut request = format!("{head}Content-Type: application/octet-stream\r\n{range}\r\n\r\n").into_bytes();
    request.extend(&rest[..2_000_000]);
    raw::send_and_leave(&repository.client, &request).await?;
    server.kill();
    server.start_again().await?;
    let status = repository.status(&upload).await?.expect(204)?;
    let last: usize = status.header("range").strip_prefix("0-").and_then(|last| last.parse().ok()).context("a range")?;
    ensure!(last + 1 >= ACKNOWLEDGED, "{last}");
    repository.chunk(&upload, last + 1, &blob.bytes[last + 1..]).await?.expect(202)?;
    repository.close(&upload, &blob.digest, b"").await?.expect(201)?;
    ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes);
    Ok(())
}

#[tokio::test]
async fn sigterm_ends_it_cleanly_and_finishes_what_is_under_way() -> Result<()> {
    let mut server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let image = repository.push_new("v1").await?;
    ensure!(server.stop().await?.success(), "{}", server.log());
    server.start_again().await?;
    ensure!(repository.get("manifests/v1").await?.expect(200)?.body == image.manifest.bytes);
    Ok(())
}

#[tokio::test]
async fn a_second_server_on_the_same_sqlite_file_refuses_to_start() -> Result<()> {
    let server = Server::start().await?;
    if matches!(server.database(), Database::Postgres { .. }) {
        return Ok(());
    }
    let mut second = testing::berth::command(server.folder())?;
    second.arg("server").arg("--data-dir").arg(server.data_dir());
    second.args(["--listen", &format!("127.0.0.1:{}", testing::free_port()?)]);
    second.args(["--agent-listen", &format!("127.0.0.1:{}", testing::free_port()?)]);
    let output = second.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("another server"), "{said}");
    server.admin()?.get("/v2/").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn what_is_set_at_the_first_start_is_not_changed_by_a_later_one() -> Result<()> {
    let mut server = Server::start().await?;
    server.stop().await?;
    let mut command = testing::berth::command(server.folder())?;
    command.arg("server").arg("--data-dir").arg(server.data_dir()).args(["--region", "eu-west-9", "--account-id", "999999999999"]);
    command.args(["--listen", &server.host(), "--agent-listen", &format!("127.0.0.1:{}", testing::free_port()?)]);
    if let Database::Postgres { url } = server.database() {
        command.args(["--database", url]);
    }
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && (said.contains("region") || said.contains("account")), "{said}");
    Ok(())
}

#[tokio::test]
async fn bodies_of_blobs_are_taken_in_any_of_the_three_forms_of_http() -> Result<()> {
    // `Expect: 100-continue`, as curl and skopeo send it for large bodies, is answered only to who may push.
    let registry = Registry::start().await?;
    let (repository, blob) = (registry.repository(), Blob::made_up(rand::random(), 50_000));
    let upload = repository.begin().await?;
    let headers = [OCTETS, ("expect", "100-continue")];
    registry.client.send(Method::PUT, &with_digest(&upload, &blob.digest), &headers, blob.bytes.clone()).await?.expect(201)?;
    let nobody = registry.client.with(Credentials::Anonymous);
    let head = raw::head(&nobody, "PATCH", &repository.begin().await?);
    let request = format!("{head}Content-Type: application/octet-stream\r\nContent-Length: 50000\r\nExpect: 100-continue\r\n\r\n");
    let (status, answer) = raw::exchange(&nobody, request.as_bytes()).await?;
    ensure!(status == 401, "{answer}");
    Ok(())
}
