//! Teams, previews, what-can, lock-outs and rate limits against the real binary: what is granted through a team is had at once, and
//! gone at once.

use anyhow::{Context, Result, ensure};
use conformance::registry::Repository;
use reqwest::Method;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;
use testing::berth::Cli;
use testing::{Client, Credentials, Server};

const NOT_ALLOWED: Option<i32> = Some(4);
const NOT_FOUND: Option<i32> = Some(3);

/// The command line of the admin.
fn admin(server: &Server) -> Result<Cli> {
    let cli = server.cli()?;
    cli.login(&server.url(), testing::server::ADMIN, testing::server::ADMIN_PASSWORD)?;
    Ok(cli)
}

fn json(cli: &Cli, arguments: &[&str]) -> Result<Value> {
    let said = cli.ok(&[arguments, &["--json"]].concat())?;
    serde_json::from_str(&said).with_context(|| format!("berth {}: {said}", arguments.join(" ")))
}

/// A registry token for pulling, as docker keeps it for minutes.
async fn pull_token(client: &Client, repository: &str) -> Result<Client> {
    let answer = client.get(&format!("/token?service=berth&scope=repository:{repository}:pull")).await?.expect(200)?;
    Ok(client.with(Credentials::Bearer(answer.json()["token"].as_str().context("a token")?.to_owned())))
}

#[tokio::test]
async fn a_member_pulls_through_the_team_until_the_next_request_after_its_removal() -> Result<()> {
    let server = Server::start().await?;
    let (cli, bob) = (admin(&server)?, server.new_user("bob").await?);
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let image = repository.push_new("v1").await?;
    cli.ok(&["team", "create", "backend"])?;
    cli.ok(&["access", "grant", "team:backend", "pull", "repository:acme/**"])?;
    let his = repository.seen_by(&bob);
    ensure!(his.get("manifests/v1").await?.status == 404);
    cli.ok(&["team", "add", "backend", "user:bob"])?;
    his.get("manifests/v1").await?.expect(200)?;
    let by_token = repository.seen_by(&pull_token(&bob, "acme/web").await?);
    by_token.get(&format!("blobs/{}", image.layer.digest)).await?.expect(200)?;
    ensure!(his.post("blobs/uploads/").await?.status == 403, "the team may pull, not push");
    // Who and through what.
    let who = cli.ok(&["access", "who-can", "pull", "acme/web"])?;
    ensure!(who.contains("user:bob") && who.contains("team:backend"), "{who}");
    let check = cli.ok(&["access", "check", "pull", "acme/web", "--principal", "user:bob"])?;
    ensure!(check.contains("team:backend, which user:bob is in"), "{check}");
    let can = json(&cli, &["access", "what-can", "user:bob"])?;
    ensure!(can["teams"] == json!(["team:backend"]) && can["grants"][0]["principal"] == "team:backend", "{can}");
    // Removed: the next request, with a token that is good for minutes, finds nothing.
    cli.ok(&["team", "remove", "backend", "user:bob"])?;
    for seen in [&his, &by_token] {
        ensure!(seen.get("manifests/v1").await?.status == 404, "a removed member pulls on");
        ensure!(seen.get(&format!("blobs/{}", image.layer.digest)).await?.status == 404, "a removed member pulls on");
    }
    ensure!(cli.run(["team", "remove", "backend", "user:bob"])?.code == NOT_FOUND);
    cli.ok(&["team", "add", "backend", "user:bob"])?;
    his.get("manifests/v1").await?.expect(200)?;
    cli.ok(&["team", "rm", "backend"])?;
    ensure!(his.get("manifests/v1").await?.status == 404, "the team is gone, its access is not");
    Ok(())
}

#[tokio::test]
async fn a_dry_run_says_who_would_gain_and_lose_and_changes_nothing() -> Result<()> {
    let server = Server::start().await?;
    let (cli, bob) = (admin(&server)?, server.new_user("bob").await?);
    cli.ok(&["robot", "create", "ci"])?;
    cli.ok(&["team", "create", "backend"])?;
    cli.ok(&["team", "add", "backend", "user:bob", "robot:ci"])?;
    cli.ok(&["access", "grant", "user:bob", "pull", "acme/**"])?;
    let gain = json(&cli, &["access", "grant", "team:backend", "push", "acme/web", "--dry-run"])?;
    let lines = |value: &Value| -> Vec<String> {
        let line = |line: &Value| format!("{} {} {}", line["principal"], line["via"]["role"], line["otherwise"]).replace('"', "");
        value.as_array().into_iter().flatten().map(line).collect()
    };
    ensure!(lines(&gain["gains"]) == ["user:bob push pull", "robot:ci push null"], "{gain}");
    ensure!(lines(&gain["loses"]).is_empty(), "{gain}");
    ensure!(!cli.ok(&["access", "ls"])?.contains("team:backend"), "the dry run granted it");
    let grant = cli.ok(&["access", "grant", "team:backend", "push", "acme/web", "-q"])?.trim().to_owned();
    for arguments in [&["access", "revoke", &grant, "--dry-run"][..], &["team", "rm", "backend", "--dry-run"]] {
        let lose = json(&cli, arguments)?;
        ensure!(lines(&lose["loses"]) == ["user:bob push pull", "robot:ci push null"], "{lose}");
    }
    let lose = json(&cli, &["team", "remove", "backend", "user:bob", "--dry-run"])?;
    ensure!(lines(&lose["loses"]) == ["user:bob push pull"], "{lose}");
    ensure!(cli.ok(&["team", "members", "backend", "-q"])?.lines().count() == 2);
    let refused = bob.post("/api/v1/access/preview", &json!({"revoke": [grant]})).await?;
    ensure!(refused.status == 403, "{}", refused.status);
    ensure!(bob.post("/api/v1/teams", &json!({"name": "x"})).await?.status == 403);
    ensure!(bob.get("/api/v1/access/what-can?principal=user:admin").await?.status == 403);
    Ok(())
}

/// A request to `/v2/` from another address of this machine.
async fn ping_from(server: &Server, address: [u8; 4], user: &str, password: &str) -> Result<u16> {
    let http = reqwest::Client::builder().local_address(IpAddr::from(address)).no_proxy().build()?;
    Ok(http.get(format!("{}/v2/", server.url())).basic_auth(user, Some(password)).send().await?.status().as_u16())
}

#[tokio::test]
async fn guessing_passwords_locks_out_who_guesses_and_nobody_else() -> Result<()> {
    let server = Server::start().await?;
    let bob = server.new_user("bob").await?;
    let token = server.token_of(&bob).await?;
    let guesses = (0..30).map(|number| server.as_user("bob", &format!("guess-{number}")));
    let guesses = guesses.collect::<Result<Vec<_>>>()?.into_iter().map(|guess| tokio::spawn(async move { guess.get("/v2/").await }));
    let mut statuses = Vec::new();
    for guess in guesses.collect::<Vec<_>>() {
        statuses.push(guess.await??.status.as_u16());
    }
    let of = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    ensure!(of(401) == 10 && of(429) == 20, "{statuses:?}");
    let wrong = server.as_user("bob", "one more")?.get("/v2/").await?;
    ensure!(wrong.status == 429 && wrong.header("retry-after").parse::<u64>().is_ok(), "{} {:?}", wrong.status, wrong.headers);
    // Known credentials go on, his token does, from elsewhere his password does, and the admin never noticed.
    token.get("/v2/").await?.expect(200)?;
    server.admin()?.get("/v2/").await?.expect(200)?;
    ensure!(ping_from(&server, [127, 0, 0, 2], "bob", "password-of-bob").await? == 200, "he is locked out from everywhere");
    for path in ["/api/v1/whoami", "/token?service=berth"] {
        let answer = server.as_user("bob", "a last one")?.get(path).await?;
        ensure!(answer.status == 429, "{path}: {}", answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn bad_credentials_never_become_nobody() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    repository.push_new("v1").await?;
    let bad = [
        Credentials::Basic { user: "admin".into(), password: "wrong".into() },
        Credentials::Basic { user: String::new(), password: String::new() },
        Credentials::Bearer("berth_wrong".into()),
        Credentials::Bearer("brt_AAAA".into()),
    ];
    for credentials in bad {
        let client = server.anonymous()?.with(credentials.clone());
        for path in ["/v2/", "/v2/acme/web/manifests/v1", "/v2/_catalog", "/token?service=berth", "/api/v1/whoami", "/api/v1/audit"] {
            let answer = client.get(path).await?;
            ensure!(answer.status == 401, "{credentials:?} on {path}: {}", answer.status);
        }
    }
    Ok(())
}

#[tokio::test]
async fn requests_are_limited_by_principal_and_by_address_where_that_is_set() -> Result<()> {
    let server = Server::builder().env("BERTH_PRINCIPAL_REQUESTS", "20").start().await?;
    server.new_user("bob").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (admin, bob) = (server.admin_token().await?, server.token_of(&server.as_user("bob", "password-of-bob")?).await?);
    let allowed = async |client: &Client, path: &str| {
        let mut allowed = 0;
        for _ in 0..200 {
            let answer = client.get(path).await?;
            ensure!(matches!(answer.status.as_u16(), 200 | 429), "{path}: {} {}", answer.status, answer.text());
            ensure!(answer.status == 200 || !answer.header("retry-after").is_empty(), "no Retry-After");
            allowed += usize::from(answer.status == 200);
        }
        anyhow::Ok(allowed)
    };
    let first = allowed(&bob, "/v2/").await?;
    ensure!((20..200).contains(&first), "{first} of 200 requests of bob were allowed");
    admin.get("/api/v1/whoami").await?.expect(200)?;
    let server = Server::builder().env("BERTH_ADDRESS_REQUESTS", "20").start().await?;
    let (admin, anonymous) = (server.admin()?, server.anonymous()?);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let all = allowed(&admin, "/api/v1/whoami").await?;
    ensure!((20..200).contains(&all), "{all} of 200 requests of one address were allowed");
    ensure!(ping_from(&server, [127, 0, 0, 2], testing::server::ADMIN, testing::server::ADMIN_PASSWORD).await? == 200);
    anonymous.get("/healthz").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn teams_are_no_callers() -> Result<()> {
    let server = Server::start().await?;
    let (cli, client) = (admin(&server)?, server.admin()?);
    cli.ok(&["team", "create", "backend"])?;
    let refused = client.post("/api/v1/tokens", &json!({"label": "x", "principal": "team:backend"})).await?;
    ensure!(refused.status == 400, "{} {}", refused.status, refused.text());
    let refused = client.send(Method::PUT, "/api/v1/teams/backend/members/team:backend", &[], bytes::Bytes::new()).await?;
    ensure!(refused.status == 400, "{} {}", refused.status, refused.text());
    ensure!(cli.run(["team", "add", "nowhere", "user:admin"])?.code == NOT_FOUND);
    ensure!(server.as_user("backend", "anything")?.get("/v2/").await?.status == 401);
    let bob = server.new_user("bob").await?;
    ensure!(Cli::new("/nonexistent").run(["team", "ls", "--server", &server.url(), "--token", "x"])?.code == NOT_ALLOWED);
    ensure!(bob.get("/api/v1/teams").await?.expect(200)?.json()["items"] == json!([]));
    Ok(())
}
