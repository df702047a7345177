//! The token protocol: challenge, token, scope; and what a caller without the right may learn.

use anyhow::{Context, Result, ensure};
use conformance::raw;
use conformance::registry::{Registry, Repository, SmallImage, absent_digest, refused};
use testing::{Answer, Client, Credentials};

/// A token for `scope`, as docker asks for one.
async fn token(client: &Client, scope: &str) -> Result<String> {
    let answer = client.get(&format!("/token?service=berth&scope={scope}")).await?.expect(200)?;
    let json = answer.json();
    let token = json["token"].as_str().or(json["access_token"].as_str()).context("a token")?;
    Ok(token.to_owned())
}

async fn with_token(client: &Client, scope: &str) -> Result<Client> {
    Ok(client.with(Credentials::Bearer(token(client, scope).await?)))
}

fn challenge<'a>(answer: &'a Answer, part: &str) -> Option<&'a str> {
    let rest = answer.header("www-authenticate").split_once(&format!("{part}=\""))?.1;
    Some(rest.split_once('"')?.0)
}

/// Registry, repository with an image, and `bob` who has nothing yet.
async fn with_bob() -> Result<Option<(Registry, Repository, SmallImage, Client)>> {
    let registry = Registry::start().await?;
    let Some(server) = &registry.server else { return Ok(None) };
    let bob = server.new_user("bob").await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    Ok(Some((registry, repository, image, bob)))
}

#[tokio::test]
async fn token_the_challenge_names_realm_service_and_scope() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    repository.push_new("v1").await?;
    let anonymous = repository.seen_by(&registry.client.with(Credentials::Anonymous));
    let answer = anonymous.get("manifests/v1").await?;
    refused(&answer, 401, "UNAUTHORIZED")?;
    ensure!(challenge(&answer, "realm") == Some(&format!("{}/token", registry.client.base())), "{:?}", answer.headers);
    ensure!(challenge(&answer, "service").is_some(), "{:?}", answer.headers);
    ensure!(challenge(&answer, "scope") == Some(&format!("repository:{}:pull", repository.name)), "{:?}", answer.headers);
    let answer = anonymous.post("blobs/uploads/").await?;
    refused(&answer, 401, "UNAUTHORIZED")?;
    let scope = challenge(&answer, "scope").context("a scope")?;
    ensure!(scope.contains("push") && scope.contains("pull"), "{scope}");
    Ok(())
}

#[tokio::test]
async fn token_a_push_and_a_pull_work_with_the_token_that_was_asked_for() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let bearer = with_token(&registry.client, &format!("repository:{}:pull,push", repository.name)).await?;
    let image = repository.seen_by(&bearer).push_new("v1").await?;
    let puller = with_token(&registry.client, &format!("repository:{}:pull", repository.name)).await?;
    ensure!(repository.seen_by(&puller).get("manifests/v1").await?.expect(200)?.body == image.manifest.bytes);
    puller.get("/v2/").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn token_for_pulling_does_not_push_and_for_one_repository_opens_no_other() -> Result<()> {
    let registry = Registry::start().await?;
    let (one, other) = (registry.repository(), registry.repository());
    one.push_new("v1").await?;
    other.push_new("v1").await?;
    let puller = with_token(&registry.client, &format!("repository:{}:pull", one.name)).await?;
    let answer = one.seen_by(&puller).post("blobs/uploads/").await?;
    ensure!(matches!(answer.status.as_u16(), 401 | 403), "a push with a token for pulling: {}", answer.status);
    let answer = one.seen_by(&puller).delete("manifests/v1").await?;
    ensure!(matches!(answer.status.as_u16(), 401 | 403), "a delete with a token for pulling: {}", answer.status);
    let answer = other.seen_by(&puller).get("manifests/v1").await?;
    ensure!(matches!(answer.status.as_u16(), 401 | 403 | 404), "another repository: {}", answer.status);
    ensure!(one.has_manifest("v1").await?);
    Ok(())
}

#[tokio::test]
async fn token_several_scopes_in_one_request_are_all_granted() -> Result<()> {
    let registry = Registry::start().await?;
    let (one, two) = (registry.repository(), registry.repository());
    let image = one.push_new("v1").await?;
    // How docker asks for a mount: two parameters; and how others do: one with a space.
    for scope in [
        format!("repository:{}:pull&scope=repository:{}:push,pull", one.name, two.name),
        format!("repository:{}:pull%20repository:{}:pull,push", one.name, two.name),
    ] {
        let bearer = with_token(&registry.client, &scope).await?;
        two.seen_by(&bearer).post(&format!("blobs/uploads/?mount={}&from={}", image.layer.digest, one.name)).await?.expect(201)?;
    }
    Ok(())
}

#[tokio::test]
async fn push_mount_1_2_a_token_for_the_target_is_enough_for_who_may_pull_the_source() -> Result<()> {
    // What a client asks for that knows the first challenge only, as the official suite does.
    let registry = Registry::start().await?;
    let (source, target) = (registry.repository(), registry.repository());
    let image = source.push_new("v1").await?;
    let answer = target.seen_by(&registry.client.with(Credentials::Anonymous)).post("blobs/uploads/").await?;
    let bearer = with_token(&registry.client, challenge(&answer, "scope").context("a scope")?).await?;
    let narrow = target.seen_by(&bearer);
    for (blob, from) in [(&image.layer, format!("&from={}", source.name)), (&image.config, String::new())] {
        narrow.post(&format!("blobs/uploads/?mount={}{from}", blob.digest)).await?.expect(201)?;
        ensure!(narrow.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes);
    }
    Ok(())
}

#[tokio::test]
async fn token_who_sends_much_before_logging_in_is_told_how_to() -> Result<()> {
    // A client that sends a manifest whole before it listens: closed upon in the middle of it, it would not see the challenge.
    let registry = Registry::start().await?;
    let anonymous = registry.client.with(Credentials::Anonymous);
    let path = registry.repository().path("manifests/v1");
    let body = vec![b'A'; 3_900_000];
    let mut request = raw::head(&anonymous, "PUT", &path).into_bytes();
    request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
    request.extend(raw::chunked(&body, body.len()));
    for _ in 0..5 {
        let (status, answer) = raw::exchange(&anonymous, &request).await?;
        ensure!(status == 401 && answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
    }
    Ok(())
}

#[tokio::test]
async fn token_without_a_right_is_issued_and_grants_nothing() -> Result<()> {
    let Some((_registry, repository, _, bob)) = with_bob().await? else { return Ok(()) };
    // docker login asks without a scope and has to succeed; a push then has to fail.
    let bearer = with_token(&bob, &format!("repository:{}:pull,push", repository.name)).await?;
    bearer.get("/v2/").await?.expect(200)?;
    let answer = repository.seen_by(&bearer).get("manifests/v1").await?;
    ensure!(matches!(answer.status.as_u16(), 401 | 403 | 404), "{}", answer.status);
    Ok(())
}

#[tokio::test]
async fn token_nobody_gets_one_with_a_wrong_password() -> Result<()> {
    let registry = Registry::start().await?;
    for (user, password) in [("admin", "wrong"), ("nobody", "wrong"), ("", ""), ("admin", "")] {
        let client = registry.client.with(Credentials::Basic { user: user.into(), password: password.into() });
        let answer = client.get("/token?service=berth").await?;
        ensure!(answer.status == 401, "{user}: {}", answer.status);
        ensure!(client.get("/v2/").await?.status == 401, "{user} at the ping");
    }
    Ok(())
}

#[tokio::test]
async fn token_garbage_is_401_and_never_anonymous() -> Result<()> {
    let registry = Registry::start().await?;
    let good = token(&registry.client, "repository:a/b:pull").await?;
    let mut altered = good.clone();
    let last = altered.pop().context("a token is not empty")?;
    altered.push(if last == 'A' { 'B' } else { 'A' });
    for bad in ["", "x", "eyJhbGciOiJub25lIn0.e30.", &altered, &good[1..], &"a".repeat(20_000)] {
        let answer = registry.client.with(Credentials::Bearer(bad.to_owned())).get("/v2/").await?;
        ensure!(answer.status == 401, "`{}`: {}", bad.chars().take(40).collect::<String>(), answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn token_anonymous_callers_get_nothing_from_it() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    repository.push_new("v1").await?;
    let anonymous = registry.client.with(Credentials::Anonymous);
    let answer = anonymous.get(&format!("/token?service=berth&scope=repository:{}:pull", repository.name)).await?;
    if answer.status == 200 {
        let json = answer.json();
        let given = anonymous.with(Credentials::Bearer(json["token"].as_str().context("a token")?.to_owned()));
        ensure!(repository.seen_by(&given).get("manifests/v1").await?.status == 401);
    } else {
        ensure!(answer.status == 401, "{}", answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn access_basic_works_on_every_request() -> Result<()> {
    let Some((registry, repository, image, bob)) = with_bob().await? else { return Ok(()) };
    let server = registry.server.as_ref().context("it runs here")?;
    server.grant("user:bob", "pull", "repository", &repository.name).await?;
    let his = repository.seen_by(&bob);
    ensure!(his.get("manifests/v1").await?.expect(200)?.body == image.manifest.bytes);
    ensure!(his.has_blob(&image.layer.digest).await?);
    refused(&his.post("blobs/uploads/").await?, 403, "DENIED")?;
    refused(&his.put_manifest("v2", testing::images::MANIFEST_TYPE, image.manifest.bytes.clone()).await?, 403, "DENIED")?;
    refused(&his.delete("manifests/v1").await?, 403, "DENIED")?;
    refused(&his.delete(&format!("blobs/{}", image.layer.digest)).await?, 403, "DENIED")
}

#[tokio::test]
async fn access_pushing_is_not_deleting() -> Result<()> {
    // GHSA-qg67-7m6v-qg25: a token for pushing could delete.
    let Some((registry, repository, image, bob)) = with_bob().await? else { return Ok(()) };
    let server = registry.server.as_ref().context("it runs here")?;
    server.grant("user:bob", "push", "repository", &repository.name).await?;
    let his = repository.seen_by(&bob);
    his.push_new("v2").await?;
    refused(&his.delete("manifests/v1").await?, 403, "DENIED")?;
    refused(&his.delete(&format!("blobs/{}", image.layer.digest)).await?, 403, "DENIED")?;
    ensure!(his.has_manifest("v1").await?);
    Ok(())
}

#[tokio::test]
async fn access_a_private_repository_and_none_look_the_same() -> Result<()> {
    let Some((registry, repository, image, bob)) = with_bob().await? else { return Ok(()) };
    let (private, none) = (repository.seen_by(&bob), registry.repository().seen_by(&bob));
    for path in ["manifests/v1", &format!("manifests/{}", image.digest()), &format!("blobs/{}", image.layer.digest), "tags/list"] {
        let (one, two) = (private.get(path).await?, none.get(path).await?);
        ensure!(one.status == two.status, "{path}: {} and {}", one.status, two.status);
        let unnamed = |answer: &Answer, name: &str| answer.text().replace(name, "NAME");
        ensure!(unnamed(&one, &private.name) == unnamed(&two, &none.name), "{path}: {} and {}", one.text(), two.text());
        ensure!(!one.status.is_success(), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn access_mounting_needs_pull_on_the_source_and_does_not_tell_whether_it_is_there() -> Result<()> {
    // CVE-2024-39897: any reader got any blob by its digest.
    let Some((registry, repository, image, bob)) = with_bob().await? else { return Ok(()) };
    let server = registry.server.as_ref().context("it runs here")?;
    server.grant("user:bob", "push", "repository", "bob/**").await?;
    let his = registry.named("bob/x").seen_by(&bob);
    for query in [
        format!("mount={}&from={}", image.layer.digest, repository.name),
        format!("mount={}", image.layer.digest),
        format!("mount={}&from={}", absent_digest(), repository.name),
    ] {
        his.post(&format!("blobs/uploads/?{query}")).await?.expect(202)?;
        ensure!(!his.has_blob(&image.layer.digest).await?, "{query} gave him the blob");
    }
    server.grant("user:bob", "pull", "repository", &repository.name).await?;
    his.post(&format!("blobs/uploads/?mount={}&from={}", image.layer.digest, repository.name)).await?.expect(201)?;
    Ok(())
}

#[tokio::test]
async fn access_the_catalog_shows_what_the_caller_may_pull() -> Result<()> {
    let Some((registry, repository, _, bob)) = with_bob().await? else { return Ok(()) };
    let server = registry.server.as_ref().context("it runs here")?;
    registry.repository().push_new("v1").await?;
    let list = |answer: Answer| conformance::registry::strings(&answer.json()["repositories"]);
    ensure!(list(bob.get("/v2/_catalog").await?.expect(200)?)?.is_empty());
    server.grant("user:bob", "pull", "repository", &repository.name).await?;
    ensure!(list(bob.get("/v2/_catalog").await?.expect(200)?)? == [repository.name]);
    Ok(())
}

#[tokio::test]
async fn access_an_upload_belongs_to_who_opened_it() -> Result<()> {
    let Some((registry, repository, _, bob)) = with_bob().await? else { return Ok(()) };
    let server = registry.server.as_ref().context("it runs here")?;
    server.grant("user:bob", "push", "repository", &repository.name).await?;
    let upload = repository.begin().await?;
    let his = repository.seen_by(&bob);
    refused(&his.chunk(&upload, 0, b"x").await?, 404, "BLOB_UPLOAD_UNKNOWN")?;
    refused(&his.status(&upload).await?, 404, "BLOB_UPLOAD_UNKNOWN")?;
    refused(&bob.delete(&upload).await?, 404, "BLOB_UPLOAD_UNKNOWN")?;
    repository.chunk(&upload, 0, b"x").await?.expect(202)?;
    Ok(())
}
