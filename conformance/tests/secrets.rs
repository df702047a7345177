//! Nothing secret is shown: not in logs at their most talkative, not in metrics, events, answers, labels or files that others can read.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use conformance::fleet::{Fleet, container};
use conformance::raw;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use testing::server::{ADMIN_PASSWORD, ADMIN_SECRET_ACCESS_KEY};
use testing::{Credentials, Image, Server, wait_until};

const CANARY: &str = "canary-in-the-environment-7f3a9c";

/// Every secret that this test makes or uses, with its name.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn absent_from(&self, place: &str, text: &str) -> Result<()> {
        for (name, secret) in &self.0 {
            ensure!(!text.contains(secret.as_str()), "{name} is shown in {place}");
        }
        Ok(())
    }
}

/// Makes one of each secret, uses it well and badly.
async fn use_every_secret(server: &Server) -> Result<Secrets> {
    let admin = server.admin()?;
    server.new_user("bob").await?;
    let token = admin.post("/api/v1/tokens", &json!({"label": "secret-test"})).await?.expect(201)?.json();
    let token = token["secret"].as_str().context("a token")?.to_owned();
    let key = admin.post("/api/v1/access-keys", &json!({})).await?.expect(201)?.json();
    let key_secret = key["secret_access_key"].as_str().context("a secret key")?.to_owned();
    let registry = admin.get("/token?service=berth&scope=repository:acme/web:pull,push").await?.expect(200)?.json();
    let registry_token = registry["token"].as_str().context("a registry token")?.to_owned();
    let ecr = server.admin_by_access_key()?.ecr("GetAuthorizationToken", &json!({})).await?.expect(200)?.json();
    let ecr = ecr["authorizationData"][0]["authorizationToken"].as_str().context("an authorization token")?.to_owned();
    let decoded = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(&ecr)?)?;
    let ecr_password = decoded.split_once(':').context("user and password")?.1.to_owned();
    let join = admin.post("/api/v1/join-tokens", &json!({})).await?.expect(201)?.json();
    let join = join["secret"].as_str().context("a join token")?.split('.').next().unwrap_or_default().to_owned();
    for bearer in [&token, &registry_token] {
        admin.with(Credentials::Bearer(bearer.clone())).get("/v2/").await?.expect(200)?;
        admin.with(Credentials::Bearer(format!("{bearer}x"))).get("/v2/").await?.expect(401)?;
    }
    server.as_user("AWS", &ecr_password)?.get("/v2/").await?.expect(200)?;
    server.as_user("bob", ADMIN_PASSWORD)?.get("/v2/").await?.expect(401)?;
    Ok(Secrets(vec![
        ("the admin's password", ADMIN_PASSWORD.into()),
        ("the admin's password in Basic", raw::basic("admin", ADMIN_PASSWORD)),
        ("the admin's secret key", ADMIN_SECRET_ACCESS_KEY.into()),
        ("bob's password", "password-of-bob".into()),
        ("a token", token),
        ("a secret access key", key_secret),
        ("a registry token", registry_token),
        ("an ECR password", ecr_password),
        ("a join token", join),
    ]))
}

#[tokio::test]
async fn no_secret_is_in_logs_metrics_or_events() -> Result<()> {
    let server = Server::builder().env("BERTH_LOG", "debug").start().await?;
    let secrets = use_every_secret(&server).await?;
    ensure!(!server.log().is_empty(), "there is no log to look at");
    secrets.absent_from("the log", &server.log())?;
    secrets.absent_from("the metrics", &server.anonymous()?.get("/metrics").await?.expect(200)?.text())?;
    let admin = server.admin()?;
    for path in ["/api/v1/events", "/api/v1/tokens", "/api/v1/access-keys", "/api/v1/users", "/api/v1/join-tokens", "/api/v1/grants"] {
        let answer = admin.get(path).await?.expect(200)?;
        secrets.absent_from(path, &answer.text())?;
    }
    Ok(())
}

#[tokio::test]
async fn no_secret_is_in_the_database_or_readable_by_others() -> Result<()> {
    let mut server = Server::start().await?;
    let secrets = use_every_secret(&server).await?;
    server.stop().await?;
    for name in ["berth.db", "berth.db-wal"] {
        if let Ok(bytes) = std::fs::read(server.data_dir().join(name)) {
            secrets.absent_from(name, &String::from_utf8_lossy(&bytes))?;
        }
    }
    for name in ["master.key", "admin.json"] {
        let path = server.data_dir().join(name);
        if path.exists() {
            closed_to_others(&path)?;
        }
    }
    closed_to_others(&server.data_dir().join("master.key"))
}

fn closed_to_others(path: &Path) -> Result<()> {
    let mode = std::fs::metadata(path).with_context(|| path.display().to_string())?.permissions().mode() & 0o777;
    ensure!(mode.trailing_zeros() >= 6, "{} has mode {mode:o}", path.display());
    Ok(())
}

#[tokio::test]
async fn what_a_task_is_told_is_in_no_log_label_metric_or_event() -> Result<()> {
    let server = Server::builder().with_agent().env("BERTH_LOG", "debug").start().await?;
    let fleet = Fleet::around(server)?;
    fleet.instance().await?;
    let image = fleet.push("conformance/canary", "v1", &Image::sleeps()?).await?;
    let mut definition = container(&image);
    definition["environment"] = json!([{"name": "SECRET", "value": CANARY}]);
    let task_definition = fleet.register_container("canary", definition).await?;
    fleet.create_service("canary", &task_definition, 1).await?;
    fleet.none_twice_none_lost(1).await?;
    let secrets = Secrets(vec![("the environment of a task", CANARY.into()), ("the admin's password", ADMIN_PASSWORD.into())]);
    let id = fleet.containers()?[0].id.clone();
    ensure!(fleet.docker.ok(&["inspect", "--format", "{{.Config.Env}}", &id])?.contains(CANARY), "the task was not told");
    secrets.absent_from("the labels", &fleet.docker.ok(&["inspect", "--format", "{{.Config.Labels}} {{.Name}}", &id])?)?;
    let steady = || async { fleet.events("canary").await.ok()?.iter().any(|event| event.contains("steady state")).then_some(()) };
    wait_until("a steady state", steady).await;
    secrets.absent_from("the logs", &fleet.server.log())?;
    secrets.absent_from("the metrics", &fleet.server.anonymous()?.get("/metrics").await?.text())?;
    secrets.absent_from("the service's events", &fleet.events("canary").await?.join("\n"))?;
    secrets.absent_from("the events", &fleet.server.admin()?.get("/api/v1/events").await?.expect(200)?.text())?;
    secrets.absent_from("the task", &fleet.tasks("RUNNING").await?[0].to_string())
}

#[tokio::test]
async fn an_admin_made_by_itself_is_shown_once_and_kept_for_its_owner_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = testing::berth::command(folder.path())?;
    let data = folder.path().join("data");
    command.arg("server").arg("--data-dir").arg(&data);
    command.args(["--listen", &format!("127.0.0.1:{}", testing::free_port()?)]);
    command.args(["--agent-listen", &format!("127.0.0.1:{}", testing::free_port()?)]);
    let log = folder.path().join("log");
    let mut process = testing::Process::start(command, &log)?;
    let path = data.join("admin.json");
    let admin = wait_until("the admin's file", || async {
        std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('}') || text.ends_with("}\n"))
    })
    .await;
    closed_to_others(&path)?;
    let admin: serde_json::Value = serde_json::from_str(&admin)?;
    let password = admin["password"].as_str().context("a password")?;
    ensure!(password.len() >= 16, "a short password");
    process.stop(std::time::Duration::from_secs(20)).await?;
    Ok(())
}
