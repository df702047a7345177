//! The audit of the real binary: who pulled, pushed, deleted and granted, from where, with which credential; after a kill as well.

use anyhow::{Context, Result, ensure};
use conformance::fleet::Fleet;
use conformance::raw;
use conformance::registry::{OCTETS, Repository, SmallImage, refused};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use testing::berth::Cli;
use testing::images::{Blob, MANIFEST_TYPE};
use testing::{Client, Credentials, Image, Server, wait_until};

/// Records of the audit that match `query`, oldest first.
async fn records(client: &Client, query: &str) -> Result<Vec<Value>> {
    let answer = client.get(&format!("/api/v1/audit?limit=1000&{query}")).await?.expect(200)?;
    answer.json()["items"].as_array().cloned().context("items")
}

/// `user:bob pull v1 done`
fn told(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or("-");
    format!("{} {} {} {}", text("principal"), text("action"), text("reference"), text("outcome"))
}

/// An image that no Docker Engine has yet: of one that it has, only a HEAD is asked for.
fn unseen() -> Result<Image> {
    let command = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"];
    Ok(Image::busybox()?.file("content", 0o644, &rand::random::<[u8; 16]>()).command(&command).build())
}

/// A registry token for `actions`, made with what `client` shows.
async fn registry_token(client: &Client, repository: &str, actions: &str) -> Result<Client> {
    let answer = client.get(&format!("/token?service=berth&scope=repository:{repository}:{actions}")).await?.expect(200)?;
    Ok(client.with(Credentials::Bearer(answer.json()["token"].as_str().context("a token")?.to_owned())))
}

#[tokio::test]
async fn who_pulled_pushed_deleted_and_granted_from_where_and_with_what() -> Result<()> {
    let server = Server::start().await?;
    let (admin, bob) = (server.admin()?, server.new_user("bob").await?);
    let repository = Repository { client: admin.clone(), name: "acme/web".into() };
    let image = repository.push_new("v1").await?;
    server.grant("user:bob", "push", "repository", "acme/web").await?;
    let token = bob.post("/api/v1/tokens", &json!({"label": "ci"})).await?.expect(201)?.json();
    let (id, secret) = (token["token"]["id"].as_str().context("an id")?, token["secret"].as_str().context("a secret")?);
    let by_token = bob.with(Credentials::Bearer(secret.to_owned()));
    repository.seen_by(&bob).get("manifests/v1").await?.expect(200)?;
    repository.seen_by(&by_token).get(&format!("blobs/{}", image.layer.digest)).await?.expect(200)?;
    let docker = registry_token(&by_token, "acme/web", "pull,push").await?;
    repository.seen_by(&docker).get("manifests/v1").await?.expect(200)?;
    repository.seen_by(&docker).push("v2", &SmallImage::new()).await?;
    ensure!(repository.seen_by(&docker).head("manifests/v1").await?.status == 200);
    ensure!(repository.seen_by(&bob).delete("manifests/v1").await?.status == 403);
    repository.delete("manifests/v1").await?.expect(202)?;
    let all = records(&admin, "target=repository:acme/web").await?;
    let wanted = [
        "user:admin push v1 done",
        "user:admin grant.created - done",
        "user:bob pull v1 done",
        "user:bob pull.blob - done",
        "user:bob pull v1 done",
        "user:bob push v2 done",
        "user:bob delete v1 denied",
        "user:admin tag.deleted v1 done",
    ];
    let shown: Vec<String> = all.iter().map(told).filter(|line| !line.contains("push.blob")).collect();
    ensure!(shown == wanted, "{shown:#?}");
    ensure!(all.iter().all(|record| record["address"] == "127.0.0.1"), "{all:#?}");
    let credential =
        |at: usize| all.iter().filter(|record| told(record) == wanted[at]).map(|record| record["credential"].clone()).collect::<Vec<_>>();
    ensure!(credential(2) == [json!("password"), json!(format!("registry-token of token:{id}"))], "{:?}", credential(2));
    ensure!(credential(3) == [json!(format!("token:{id}"))], "{:?}", credential(3));
    ensure!(credential(5) == [json!(format!("registry-token of token:{id}"))], "{:?}", credential(5));
    ensure!(credential(7) == [json!("password")], "{:?}", credential(7));
    let pushed = all.iter().find(|record| told(record) == wanted[0]).context("the push")?;
    ensure!(pushed["digest"] == image.manifest.digest.as_str(), "{pushed}");
    let blobs = records(&admin, "target=repository:acme/web&action=push.blob").await?;
    ensure!(blobs.len() == 4, "{blobs:#?}");
    // Nobody who did not ask for it is shown the address of others.
    let events = bob.get("/api/v1/events?subject=repository:acme/web").await?.expect(200)?;
    ensure!(events.text().contains("tag.deleted") && !events.text().contains("127.0.0.1"), "{}", events.text());
    Ok(())
}

/// `user:bob push.manifest v1 refused tag_immutable`
fn told_with_reason(record: &Value) -> String {
    format!("{} {}", told(record), record["reason"].as_str().unwrap_or("-"))
}

async fn change(client: &Client, settings: Value) -> Result<()> {
    client.json(Method::PATCH, "/api/v1/repositories/acme%2Fweb", &settings).await?.expect(200).map(drop)
}

#[tokio::test]
async fn who_tried_what_the_settings_of_a_repository_forbid_is_found() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let image = repository.push_new("v1.2").await?;
    change(&repository.client, json!({"tag_overwrite": "nobody", "tag_exceptions": ["dev"]})).await?;
    let (pusher, maintainer) = (server.new_user("pusher").await?, server.new_user("maintainer").await?);
    server.grant("user:pusher", "push", "repository", "acme/web").await?;
    server.grant("user:maintainer", "maintain", "repository", "acme/web").await?;
    let (his, hers) = (repository.seen_by(&registry_token(&pusher, "acme/web", "pull,push").await?), repository.seen_by(&maintainer));
    let other = SmallImage::new();
    his.push("dev", &other).await?;
    let put = async |reference: &str| his.put_manifest(reference, MANIFEST_TYPE, other.manifest.bytes.clone()).await;
    refused(&put("v1.2").await?, 400, "TAG_INVALID")?;
    refused(&put(&format!("{}?tag=fine&tag=v1.2", other.digest())).await?, 400, "TAG_INVALID")?;
    for gone in ["manifests/v1.2", &format!("manifests/{}", image.digest()), &format!("blobs/{}", image.layer.digest)] {
        refused(&hers.delete(gone).await?, 400, "TAG_INVALID")?;
    }
    // Whoever does not wait for the answer is found as well.
    let head = raw::head(&his.client, "PUT", "/v2/acme/web/manifests/v1.2");
    let length = other.manifest.bytes.len();
    let mut request = format!("{head}Content-Type: {MANIFEST_TYPE}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    request.extend(&other.manifest.bytes[..]);
    raw::begin_and_leave(&his.client, &request).await?;
    let admin = &repository.client;
    let of_tag = "target=repository:acme/web&outcome=refused&reference=v1.2";
    let found = wait_until("all six to be found by the tag", || async {
        let found = records(admin, of_tag).await.ok()?;
        (found.len() >= 6).then_some(found)
    })
    .await;
    let shown: Vec<String> = found.iter().map(told_with_reason).collect();
    let (his_push, her_delete) =
        ("user:pusher push.manifest v1.2 refused tag_immutable", "user:maintainer delete v1.2 refused tag_immutable");
    ensure!(shown == [his_push, his_push, her_delete, her_delete, her_delete, his_push], "{shown:#?}");
    ensure!([0, 1, 5].iter().all(|at| found[*at]["digest"] == other.digest()), "the digest that it was to have: {found:#?}");
    ensure!(found[2]["digest"] == image.digest() && found[4]["digest"] == image.layer.digest.as_str(), "{found:#?}");
    ensure!(found.iter().all(|record| record["address"] == "127.0.0.1"), "{found:#?}");
    ensure!(found[0]["credential"] == "registry-token of password" && found[2]["credential"] == "password", "{found:#?}");
    ensure!(records(admin, "reference=v1.2&outcome=done&action=push").await?.len() == 1, "of what was done the push alone");
    ensure!(repository.get("manifests/v1.2").await?.expect(200)?.body == image.manifest.bytes);
    change(admin, json!({"tag_overwrite": "maintain"})).await?;
    refused(&put("v1.2").await?, 403, "DENIED")?;
    let denied = records(admin, "target=repository:acme/web&outcome=denied").await?;
    ensure!(denied.iter().map(told_with_reason).collect::<Vec<_>>() == ["user:pusher push.manifest v1.2 denied -"], "{denied:#?}");
    said_by_the_command_line(&server)
}

/// The same by `berth audit`.
fn said_by_the_command_line(server: &Server) -> Result<()> {
    let cli = server.cli()?;
    cli.login(&server.url(), testing::server::ADMIN, testing::server::ADMIN_PASSWORD)?;
    let filter = ["--on", "acme/web", "--reference", "v1.2", "--outcome", "refused", "--since", "24h"];
    let table = cli.ok(&[&["audit", "ls"][..], &filter].concat())?;
    ensure!(table.lines().count() == 6 && table.contains("user:pusher") && table.contains("refused: tag immutable"), "{table}");
    // Without a limit it ends with the second before it began.
    let export = cli.ok(&[&["audit", "export", "--until", "2100-01-01T00:00:00Z"][..], &filter].concat())?;
    let lines: Vec<Value> = export.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(lines.len() == 6 && lines.iter().all(|line| line["reason"] == "tag_immutable"), "{export}");
    ensure!(cli.run(["audit", "ls", "--outcome", "forbidden"])?.code != Some(0), "a word that is no outcome");
    Ok(())
}

#[tokio::test]
async fn who_was_stopped_by_a_quota_or_pushed_what_is_incomplete_is_found() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let image = repository.push_new("v1").await?;
    let elsewhere = Repository { client: server.admin()?, name: "acme/large".into() };
    let large = Blob::made_up(rand::random(), 300_000);
    elsewhere.push_blob(&large).await?;
    change(&repository.client, json!({"quota_bytes": 50_000, "sparse": "refuse"})).await?;
    let pusher = server.new_user("pusher").await?;
    server.grant("user:pusher", "push", "repository", "acme/*").await?;
    let his = repository.seen_by(&pusher);
    let single = format!("blobs/uploads/?digest={}", large.digest);
    refused(&his.send(Method::POST, &single, &[OCTETS], large.bytes.clone()).await?, 403, "DENIED")?;
    refused(&his.close(&his.begin().await?, &large.digest, &large.bytes).await?, 403, "DENIED")?;
    refused(&his.post(&format!("blobs/uploads/?mount={}&from=acme/large", large.digest)).await?, 403, "DENIED")?;
    // Without a length it is cut off while it comes; nothing says yet which blob it is to be.
    let head = raw::head(&pusher, "PATCH", &his.begin().await?);
    let mut request = format!("{head}Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    request.extend(raw::chunked(&large.bytes, 50_000));
    ensure!(raw::exchange(&pusher, &request).await?.0 == 403);
    let padded = Blob::new(format!("{}{}", String::from_utf8_lossy(&image.manifest.bytes), " ".repeat(60_000)));
    refused(&his.put_manifest("v2", MANIFEST_TYPE, padded.bytes.clone()).await?, 403, "DENIED")?;
    let incomplete = SmallImage::new();
    refused(&his.put_manifest("v3", MANIFEST_TYPE, incomplete.manifest.bytes.clone()).await?, 400, "MANIFEST_BLOB_UNKNOWN")?;
    let found = records(&repository.client, "target=repository:acme/web&principal=user:pusher&outcome=refused").await?;
    let shown: Vec<String> = found.iter().map(told_with_reason).collect();
    let blob = "user:pusher push.blob - refused quota_exceeded";
    let manifests = ["user:pusher push.manifest v2 refused quota_exceeded", "user:pusher push.manifest v3 refused content_missing"];
    ensure!(shown == [blob, blob, blob, blob, manifests[0], manifests[1]], "{shown:#?}");
    ensure!(found[..3].iter().all(|record| record["digest"] == large.digest.as_str()) && found[3]["digest"].is_null(), "{found:#?}");
    Ok(())
}

#[tokio::test]
async fn people_robots_and_agents_are_told_apart() -> Result<()> {
    let fleet = Fleet::up().await?;
    let admin = fleet.server.admin()?;
    let image = fleet.push("acme/audited", "v1", &unseen()?).await?;
    let task_definition = fleet.register("audited", &image).await?;
    fleet.create_service("audited", &task_definition, 1).await?;
    fleet.running(1).await?;
    admin.post("/api/v1/robots", &json!({"name": "ci"})).await?.expect(201)?;
    fleet.server.grant("robot:ci", "pull", "repository", "acme/**").await?;
    let token = admin.post("/api/v1/tokens", &json!({"label": "ci", "principal": "robot:ci"})).await?.expect(201)?.json();
    let robot = admin.with(Credentials::Bearer(token["secret"].as_str().context("a secret")?.to_owned()));
    robot.get("/v2/acme/audited/manifests/v1").await?.expect(200)?;
    let agents = records(&admin, "actor=agent").await?;
    ensure!(agents.iter().any(|record| record["action"] == "pull" && record["target"] == "repository:acme/audited"), "{agents:#?}");
    ensure!(agents.iter().all(
        |record| record["principal"].as_str().is_some_and(|who| who.starts_with("instance:")) && record["credential"] == "certificate"
    ));
    ensure!(records(&admin, "actor=robot").await?.iter().map(told).collect::<Vec<_>>() == ["robot:ci pull v1 done"]);
    let people = records(&admin, "actor=person").await?;
    ensure!(!people.is_empty() && people.iter().all(|record| record["principal"] == "user:admin"), "{people:#?}");
    let services = records(&admin, "action=service.&target=service:default/audited").await?;
    ensure!(
        services.iter().any(|record| record["credential"].as_str().is_some_and(|with| with.starts_with("access-key:"))),
        "{services:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn records_survive_a_kill_after_a_second_and_a_stop_at_once() -> Result<()> {
    let mut server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let image = repository.push_new("v1").await?;
    for _ in 0..50 {
        repository.get("manifests/v1").await?.expect(200)?;
        repository.get(&format!("blobs/{}", image.layer.digest)).await?.expect(200)?;
    }
    // Nobody asks for the audit before the kill: asking would write it.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.kill();
    server.start_again().await?;
    let times = async |action: &str, client: &Client| {
        let found = records(client, &format!("action={action}&outcome=done")).await?;
        anyhow::Ok(
            found.iter().filter(|record| record["action"] == action).map(|record| record["times"].as_u64().unwrap_or(0)).sum::<u64>(),
        )
    };
    let admin = server.admin()?;
    ensure!(times("pull", &admin).await? == 50 && times("pull.blob", &admin).await? == 50);
    // What a crash left unwritten of the last pulls is read again.
    let last = admin.get("/api/v1/audit/last-pulls?repository=acme/web").await?.expect(200)?.json();
    ensure!(last["items"][0]["tag"] == "v1" && last["items"][0]["principal"] == "user:admin", "{last}");
    repository.get("manifests/v1").await?.expect(200)?;
    server.stop().await?;
    server.start_again().await?;
    ensure!(times("pull", &server.admin()?).await? == 51, "a clean stop lost a pull");
    Ok(())
}

#[tokio::test]
async fn the_audit_is_paged_filtered_and_exported_as_json_lines() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    for number in 0..30 {
        repository.push_new(&format!("v{number}")).await?;
        repository.get(&format!("manifests/v{number}")).await?.expect(200)?;
    }
    let cli = server.cli()?;
    cli.login(&server.url(), testing::server::ADMIN, testing::server::ADMIN_PASSWORD)?;
    let export = |cli: &Cli, more: &[&str]| -> Result<Vec<Value>> {
        let text = cli.ok(&[&["audit", "export", "--until", "2100-01-01T00:00:00Z"], more].concat())?;
        Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    };
    let all = export(&cli, &[])?;
    let ids: Vec<&str> = all.iter().filter_map(|record| record["id"].as_str()).collect();
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    ensure!(once.len() == ids.len() && all.len() >= 120, "{} records, {} ids", all.len(), once.len());
    // Small pages in both directions give the same.
    let admin = server.admin()?;
    let (mut forward, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let page = admin.get(&format!("/api/v1/audit?limit=7&after={after}")).await?.expect(200)?.json();
        forward.extend(page["items"].as_array().context("items")?.clone());
        after = page["next"].as_str().context("next")?.to_owned();
        if page["more"] != true {
            break;
        }
    }
    ensure!(forward[..all.len()] == all[..], "forward pages give {} records, the export {}", forward.len(), all.len());
    let (mut back, mut before) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/api/v1/audit?limit=7{before}")).await?.expect(200)?.json();
        back.splice(0..0, page["items"].as_array().context("items")?.clone());
        match page["previous"].as_str().filter(|_| page["more"] == true) {
            Some(previous) => before = format!("&before={previous}"),
            None => break,
        }
    }
    ensure!(back == forward, "going back gives {} records, going forward {}", back.len(), forward.len());
    let pulls = export(&cli, &["--action", "pull", "--people", "--on", "acme/web"])?;
    ensure!(pulls.len() == 30 && pulls.iter().all(|record| record["action"] == "pull"), "{} pulls", pulls.len());
    ensure!(export(&cli, &["--robots"])?.is_empty() && export(&cli, &["--since", "2100-01-01T00:00:00Z"])?.is_empty());
    let table = cli.ok(&["audit", "ls", "--action", "pull", "-n", "3"])?;
    ensure!(table.lines().count() == 3 && table.contains("v29") && table.contains("127.0.0.1"), "{table}");
    ensure!(cli.ok(&["audit", "last-pulls", "acme/web", "-q"])?.lines().count() == 30);
    for bad in ["after=x", "after=0&before=0", "limit=0", "limit=1001", "since=yesterday", "actor=cat", "nonsense=1"] {
        ensure!(admin.get(&format!("/api/v1/audit?{bad}")).await?.status == 400, "{bad} is taken");
    }
    let bob = server.new_user("bob").await?;
    ensure!(bob.get("/api/v1/audit").await?.status == 403);
    ensure!(bob.get("/api/v1/audit?principal=user:bob").await?.status == 200);
    Ok(())
}

#[tokio::test]
async fn a_thousand_parts_of_one_blob_leave_few_lines() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let image = repository.push_new("v1").await?;
    let path = repository.path(&format!("blobs/{}", image.layer.digest));
    for _ in 0..1000 {
        let part = repository.client.send(Method::GET, &path, &[("range", "bytes=0-0")], bytes::Bytes::new()).await?;
        ensure!(part.status == 206, "{}", part.status);
    }
    let parts = records(&server.admin()?, "action=pull.blob").await?;
    let times: u64 = parts.iter().filter_map(|record| record["times"].as_u64()).sum();
    ensure!(times == 1000 && parts.len() <= 60, "{times} in {} lines", parts.len());
    Ok(())
}

/// Old segments go when there is too much of them; the newest stays.
#[tokio::test]
async fn old_segments_are_removed() -> Result<()> {
    let mut server = Server::builder().env("BERTH_AUDIT_KEEP_DAYS", "1").start().await?;
    server.stop().await?;
    let audit = server.data_dir().join("audit");
    let old = audit.join(format!("{:020}.jsonl", 1_000_000_000_000_000_u64));
    let newer = audit.join(format!("{:020}.jsonl", 1_000_000_001_000_000_u64));
    std::fs::write(&old, "")?;
    std::fs::write(&newer, "")?;
    server.start_again().await?;
    server.admin()?.get("/api/v1/audit").await?.expect(200)?;
    wait_until("the old segment to go", || async { (!old.exists()).then_some(()) }).await;
    Ok(())
}

#[tokio::test]
async fn an_image_pulled_by_docker_is_found_under_its_tag() -> Result<()> {
    let fleet = Fleet::up().await?;
    let name = fleet.push("acme/pulled", "v1", &unseen()?).await?;
    let admin = fleet.server.admin()?;
    fleet.server.new_user("bob").await?;
    fleet.server.grant("user:bob", "pull", "repository", "acme/pulled").await?;
    fleet.docker.ok(&["login", "--username", "bob", "--password", "password-of-bob", &fleet.server.host()])?;
    fleet.docker.ok(&["pull", &name])?;
    fleet.docker.ok(&["logout", &fleet.server.host()])?;
    let last = admin.get("/api/v1/audit/last-pulls?repository=acme/pulled").await?.expect(200)?.json();
    ensure!(last["items"].to_string().contains("user:bob"), "{last}");
    let pulls = records(&admin, "principal=user:bob&action=pull").await?;
    ensure!(pulls.iter().all(|record| record["credential"].as_str().is_some_and(|with| with.contains("password"))), "{pulls:#?}");
    Ok(())
}
