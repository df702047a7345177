//! A Docker Engine of its own for one test, as one host of a cluster: in a network namespace with a link to this machine, so that it
//! can be stopped, started and cut off without touching the machine's engine. Needs root.

use crate::process::Process;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Longest start or stop of an engine, in seconds.
const ENGINE_SECS_MAX: u64 = 60;

#[derive(Debug)]
pub struct Engine {
    process: Option<Process>,
    folder: TempDir,
    /// Name of the network namespace, and of this side's end of the link.
    name: String,
    /// Third byte of the addresses on the link.
    subnet: u8,
}

impl Engine {
    /// Makes the namespace and starts an engine in it.
    pub async fn start() -> Result<Self> {
        let subnet = rand::random_range(1..=254);
        let name = format!("berth{:04x}", rand::random::<u16>());
        let mut engine = Self { process: None, folder: tempfile::tempdir()?, name, subnet };
        engine.make_network()?;
        engine.start_again().await?;
        Ok(engine)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// This machine's address as the namespace sees it: where a server for it has to listen.
    pub fn machine_address(&self) -> String {
        format!("10.213.{}.1", self.subnet)
    }

    /// The namespace's address as this machine sees it: where published ports answer.
    pub fn address(&self) -> String {
        format!("10.213.{}.2", self.subnet)
    }

    /// `command`, run inside the namespace: for the agent, whose relay Docker must reach on loopback.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Starts the engine, after [`Engine::stop`].
    pub async fn start_again(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let mut command = Command::new("dockerd");
        command
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("dockerd.pid"));
        // A pid file left by an engine that was killed would keep the new one from starting.
        std::fs::remove_file(folder.join("dockerd.pid")).ok();
        let mut process = Process::start(self.inside(&command), &folder.join("dockerd.log"))?;
        let limit = std::time::Instant::now() + Duration::from_secs(ENGINE_SECS_MAX);
        while !self.answers()? {
            if process.ended()?.is_some() || std::time::Instant::now() > limit {
                bail!("the engine did not start; its log ends:\n{}", process.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Stops the engine as a service manager does; its containers end.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(Duration::from_secs(ENGINE_SECS_MAX)).await?;
        }
        Ok(())
    }

    /// Cuts the link to this machine, or mends it.
    pub fn connect(&self, connected: bool) -> Result<()> {
        run("ip", &["link", "set", &self.name, if connected { "up" } else { "down" }])
    }

    fn answers(&self) -> Result<bool> {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.socket().display())).args(["version", "--format", "{{.Server.Version}}"]);
        Ok(command.output()?.status.success())
    }

    fn make_network(&self) -> Result<()> {
        let (name, inner) = (self.name.as_str(), format!("{}i", self.name));
        let inside = |arguments: &[&str]| run("ip", &[&["-n", name], arguments].concat());
        run("ip", &["netns", "add", name])?;
        run("ip", &["link", "add", name, "type", "veth", "peer", "name", &inner, "netns", name])?;
        run("ip", &["address", "add", &format!("{}/30", self.machine_address()), "dev", name])?;
        run("ip", &["link", "set", name, "up"])?;
        inside(&["address", "add", &format!("{}/30", self.address()), "dev", &inner])?;
        inside(&["link", "set", &inner, "up"])?;
        inside(&["link", "set", "lo", "up"])
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let socket = format!("unix://{}", self.socket().display());
        let ids = Command::new("docker").args(["--host", &socket, "ps", "--all", "--quiet"]).output();
        for id in ids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default().lines() {
            Command::new("docker").args(["--host", &socket, "rm", "--force", id]).output().ok();
        }
        if let Some(process) = &self.process {
            // Asked first, so that it unmounts what it mounted; `Process` kills what remains.
            process.signal(nix::sys::signal::Signal::SIGTERM).ok();
            let limit = std::time::Instant::now() + Duration::from_secs(10);
            while self.socket().exists() && std::time::Instant::now() < limit {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        self.process = None;
        run("ip", &["netns", "delete", &self.name]).ok();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
