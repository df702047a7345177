//! The real binary as a server: on free ports, with a folder, a database, an admin and an access key of its own.
//!
//! `berth server` when a test needs no containers, `berth up` when it needs them on the machine's engine. Whatever it started is gone
//! when it is dropped, its containers too.

use crate::berth::{Cli, command};
use crate::docker::Docker;
use crate::http::{Client, Credentials};
use crate::process::{Process, kill_by_id};
use crate::{Database, free_port};
use anyhow::{Context, Result, bail};
use reqwest::StatusCode;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The first admin of every server under test.
pub const ADMIN: &str = "admin";
pub const ADMIN_PASSWORD: &str = "admin-password-of-tests";
pub const ADMIN_ACCESS_KEY_ID: &str = "AKIATESTINGTESTING01";
pub const ADMIN_SECRET_ACCESS_KEY: &str = "secret/of/tests+secret/of/tests+secret/1";
/// Region and account of every server under test, unless a test gives others.
pub const REGION: &str = "us-east-1";
pub const ACCOUNT_ID: &str = "123456789012";

/// Longest start, in seconds.
const START_SECS_MAX: u64 = 60;
/// Longest clean stop, in seconds.
const STOP_SECS_MAX: u64 = 30;

/// What to start.
#[derive(Debug, Default)]
pub struct ServerBuilder {
    with_agent: bool,
    database: Option<Database>,
    listen_host: Option<String>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl ServerBuilder {
    /// `berth up`: a server and an agent on the machine's Docker Engine.
    #[must_use]
    pub fn with_agent(self) -> Self {
        Self { with_agent: true, ..self }
    }

    /// On this database; without it, on the kind that the run is for.
    #[must_use]
    pub fn database(self, database: Database) -> Self {
        Self { database: Some(database), ..self }
    }

    /// The agents' listener on this address in place of loopback, for agents in network namespaces.
    #[must_use]
    pub fn listen_for_agents(self, host: &str) -> Self {
        Self { listen_host: Some(host.to_owned()), ..self }
    }

    /// A variable of its environment: a failpoint, a setting.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A further argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Result<Server> {
        let mut server = self.prepare().await?;
        server.start_again().await?;
        Ok(server)
    }

    /// Everything but the start: no process, no data folder yet.
    pub async fn prepare(self) -> Result<Server> {
        let database = match self.database {
            Some(database) => database,
            None => Database::of_run().await?,
        };
        Ok(Server {
            process: None,
            folder: tempfile::tempdir()?,
            port: free_port()?,
            agent_port: free_port()?,
            agent_host: self.listen_host.unwrap_or_else(|| "127.0.0.1".into()),
            database,
            with_agent: self.with_agent,
            environment: self.environment,
            arguments: self.arguments,
        })
    }
}

#[derive(Debug)]
pub struct Server {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    agent_port: u16,
    agent_host: String,
    database: Database,
    with_agent: bool,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Server {
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// `berth server` alone, on the database of this run.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.host())
    }

    /// `127.0.0.1:PORT`: what stands before a repository in an image's name.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `https://HOST:PORT` of the agents' listener.
    pub fn agent_url(&self) -> String {
        format!("https://{}:{}", self.agent_host, self.agent_port)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The admin by password.
    pub fn admin(&self) -> Result<Client> {
        self.as_user(ADMIN, ADMIN_PASSWORD)
    }

    /// The admin by access key: what AWS clients use.
    pub fn admin_by_access_key(&self) -> Result<Client> {
        let (id, secret) = (ADMIN_ACCESS_KEY_ID.to_owned(), ADMIN_SECRET_ACCESS_KEY.to_owned());
        Client::new(&self.url(), Credentials::AccessKey { id, secret, region: REGION.to_owned() })
    }

    pub fn as_user(&self, user: &str, password: &str) -> Result<Client> {
        Client::new(&self.url(), Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
    }

    pub fn anonymous(&self) -> Result<Client> {
        Client::new(&self.url(), Credentials::Anonymous)
    }

    /// A new user with a password and no grants, as a client.
    pub async fn new_user(&self, name: &str) -> Result<Client> {
        let password = format!("password-of-{name}");
        self.admin()?.post("/api/v1/users", &json!({"name": name, "password": password})).await?.expect(201)?;
        self.as_user(name, &password)
    }

    /// Grants `role` on the resources of `kind` that match `pattern` to `principal` (`user:bob`). Gives the grant's id.
    pub async fn grant(&self, principal: &str, role: &str, kind: &str, pattern: &str) -> Result<String> {
        let grant = json!({"principal": principal, "role": role, "kind": kind, "pattern": pattern});
        let answer = self.admin()?.post("/api/v1/grants", &grant).await?;
        if !answer.status.is_success() {
            bail!("granting {grant}: {} {}", answer.status, answer.text());
        }
        Ok(answer.json()["id"].as_str().context("a grant has an id")?.to_owned())
    }

    pub async fn revoke(&self, grant: &str) -> Result<()> {
        self.admin()?.delete(&format!("/api/v1/grants/{grant}")).await?.expect(204)?;
        Ok(())
    }

    /// The bearer token of the admin, whom an ECS call without a signature needs.
    pub async fn admin_token(&self) -> Result<Client> {
        self.token_of(&self.admin()?).await
    }

    /// The same caller by a new personal token.
    pub async fn token_of(&self, client: &Client) -> Result<Client> {
        let answer = client.post("/api/v1/tokens", &json!({"label": "tests"})).await?.expect(201)?;
        let token = answer.json()["secret"].as_str().context("a new token is shown once")?.to_owned();
        Ok(client.with(Credentials::Bearer(token)))
    }

    /// The command line, logged in as the admin.
    pub fn cli(&self) -> Result<Cli> {
        let cli = Cli::new(self.folder.path().join("home"));
        std::fs::create_dir_all(cli.home())?;
        Ok(cli)
    }

    /// The process id of what was started: `berth server`, or the `berth up` above it.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// The process id of the `berth SUBCOMMAND` that `berth up` supervises.
    pub fn child(&self, subcommand: &str) -> Option<u32> {
        let is_it = |id: &u32| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(subcommand.as_bytes())
        };
        self.process.as_ref()?.children().into_iter().find(is_it)
    }

    /// `kill -9` of the `berth SUBCOMMAND` that `berth up` supervises. Gives its process id.
    pub fn kill_child(&self, subcommand: &str) -> Result<u32> {
        let id = self.child(subcommand).with_context(|| format!("no berth {subcommand} runs"))?;
        kill_by_id(id);
        Ok(id)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// `kill -9` of what was started, with its children.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM; the status it ends with.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the server runs")?;
        process.stop(Duration::from_secs(STOP_SECS_MAX)).await
    }

    /// Waits until it ends of itself: at a failpoint, or because it refuses to run.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the server runs")?;
        process.wait(Duration::from_secs(STOP_SECS_MAX)).await
    }

    /// Sets or removes a variable for the next start.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Starts it on the same folder, ports and database, and waits until it is ready.
    pub async fn start_again(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        let mut command = command(self.cli()?.home())?;
        command.arg(if self.with_agent { "up" } else { "server" });
        command.arg("--data-dir").arg(self.data_dir()).args(["--listen", &self.host()]);
        command.args(["--agent-listen", &format!("{}:{}", self.agent_host, self.agent_port), "--agent-host", &self.agent_host]);
        command.args(["--account-id", ACCOUNT_ID, "--region", REGION]);
        if let Database::Postgres { url } = &self.database {
            command.args(["--database", url]);
        }
        command.args(&self.arguments);
        command
            .env("BERTH_ADMIN_USER", ADMIN)
            .env("BERTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .env("BERTH_ADMIN_ACCESS_KEY_ID", ADMIN_ACCESS_KEY_ID)
            .env("BERTH_ADMIN_SECRET_ACCESS_KEY", ADMIN_SECRET_ACCESS_KEY)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start(command, &self.folder.path().join("log"))?);
        Ok(())
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&mut self) -> Result<()> {
        let client = self.anonymous()?;
        let started = Instant::now();
        loop {
            if client.get("/readyz").await.is_ok_and(|answer| answer.status == StatusCode::OK) {
                return Ok(());
            }
            let process = self.process.as_mut().context("the server was started")?;
            if let Some(status) = process.ended()? {
                bail!("the server ended with {status}; its log ends:\n{}", process.log_tail());
            }
            if started.elapsed() > Duration::from_secs(START_SECS_MAX) {
                bail!("the server is not ready after {START_SECS_MAX} s; its log ends:\n{}", process.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The id that the containers of `berth up` carry as a label, once its agent has joined.
    pub fn control_plane(&self) -> Option<String> {
        crate::agent::control_plane_in(&self.data_dir().join("agent"))
    }

    /// Folder in which tests may put files of their own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process = None;
        if let Ok(docker) = Docker::new() {
            if self.with_agent {
                crate::agent::remove_traces(&docker, &self.data_dir().join("agent"));
            }
            docker.remove_images_of(&self.host()).ok();
        }
    }
}
