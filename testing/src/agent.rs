//! The real binary as an agent of its own, for tests that kill one, run several, or give one an engine of its own.

use crate::berth::command;
use crate::docker::{Docker, SOCKET};
use crate::engine::Engine;
use crate::process::Process;
use crate::server::Server;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;
use tempfile::TempDir;

/// Longest clean stop, in seconds.
const STOP_SECS_MAX: u64 = 30;

#[derive(Debug)]
pub struct Agent {
    process: Option<Process>,
    folder: TempDir,
    server_url: String,
    join_token: String,
    socket: PathBuf,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Agent {
    /// An agent of `server` on the machine's engine, not started yet.
    pub async fn of(server: &Server) -> Result<Self> {
        Ok(Self {
            process: None,
            folder: tempfile::tempdir()?,
            server_url: server.agent_url(),
            join_token: new_token(server).await?,
            socket: SOCKET.into(),
            environment: Vec::new(),
            arguments: Vec::new(),
        })
    }

    /// Further arguments of `berth agent join`: a name, a zone.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    }

    /// Another token, with which it joins anew when the server does not take it any more.
    pub async fn renew_token(&mut self, server: &Server) -> Result<()> {
        self.join_token = new_token(server).await?;
        Ok(())
    }

    /// Sets or removes a variable for the next start: a failpoint.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Starts it on the machine's engine.
    pub fn start(&mut self) -> Result<()> {
        self.start_in(None)
    }

    /// Starts it in the namespace of `engine`, on that engine.
    pub fn start_on(&mut self, engine: &Engine) -> Result<()> {
        self.socket = engine.socket();
        self.start_in(Some(engine))
    }

    fn start_in(&mut self, engine: Option<&Engine>) -> Result<()> {
        let mut command = command(self.folder.path())?;
        command.args(["agent", "join", &self.server_url]).args(&self.arguments);
        command.arg("--data-dir").arg(self.data_dir());
        command.arg("--docker-host").arg(format!("unix://{}", self.socket.display()));
        command.env("BERTH_JOIN_TOKEN", &self.join_token).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let command = match engine {
            Some(engine) => engine.inside(&command),
            None => command,
        };
        self.process = Some(Process::start(command, &self.folder.path().join("log"))?);
        Ok(())
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// The id that its containers carry as a label, once it has joined.
    pub fn control_plane(&self) -> Option<String> {
        control_plane_in(&self.data_dir())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM; the status it ends with.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the agent runs")?;
        process.stop(Duration::from_secs(STOP_SECS_MAX)).await
    }

    /// Waits until it ends of itself, at a failpoint.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the agent runs")?;
        process.wait(Duration::from_secs(STOP_SECS_MAX)).await
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process = None;
        if let Ok(docker) = Docker::at(&self.socket) {
            remove_traces(&docker, &self.data_dir());
        }
    }
}

async fn new_token(server: &Server) -> Result<String> {
    let answer = server.admin()?.post("/api/v1/join-tokens", &json!({})).await?.expect(201)?;
    Ok(answer.json()["secret"].as_str().context("a join token is shown once")?.to_owned())
}

/// Removes what the agent with this data folder, which no longer runs, left in its engine: containers, and images it pulled.
pub(crate) fn remove_traces(docker: &Docker, data_dir: &Path) {
    // Best effort, as it also runs while a test panics.
    if let Some(control_plane) = control_plane_in(data_dir) {
        docker.remove_containers_of(&control_plane).ok();
    }
    if let Ok(port) = std::fs::read_to_string(data_dir.join("relay-port")) {
        docker.remove_images_of(&format!("127.0.0.1:{}", port.trim())).ok();
    }
}

/// The id of the control plane that the agent with this data folder belongs to, once it joined.
pub fn control_plane_in(data_dir: &Path) -> Option<String> {
    let identity: Value = serde_json::from_slice(&std::fs::read(data_dir.join("identity.json")).ok()?).ok()?;
    Some(identity["control_plane_id"].as_str()?.to_owned())
}
