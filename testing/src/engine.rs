//! A Docker Engine of its own for one test, as one host of a cluster: in a network namespace with a link to this machine, so that it
//! can be stopped, started, frozen, slowed and cut off without touching the machine's engine. Needs root.

use crate::network::{Link, Network, run};
use crate::process::Process;
use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Longest start or stop of an engine, in seconds.
const ENGINE_SECS_MAX: u64 = 60;
/// What a slow link carries, in Mbit/s, and how much later, in milliseconds.
const SLOW_MBIT: u32 = 2;
const SLOW_MILLIS: u32 = 150;

/// What is lost on a link, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The link is down.
    Both,
    /// What the host sends does not arrive.
    Outgoing,
    /// Nothing arrives at the host.
    Incoming,
}

#[derive(Debug)]
pub struct Engine {
    process: Option<Process>,
    folder: TempDir,
    // Before the network, which it hangs on.
    link: Link,
    network: Arc<Network>,
}

impl Engine {
    /// An engine alone in a network of its own.
    pub async fn start() -> Result<Self> {
        Self::start_in(&Arc::new(Network::new()?)).await
    }

    /// Makes a namespace in `network` and starts an engine in it, with the daemon's own configuration and no other.
    pub async fn start_in(network: &Arc<Network>) -> Result<Self> {
        let mut engine = Self { process: None, folder: tempfile::tempdir()?, link: network.link()?, network: network.clone() };
        engine.start_again().await?;
        Ok(engine)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// This machine's address as the namespace sees it: where a server for it has to listen.
    pub fn machine_address(&self) -> String {
        self.network.address()
    }

    /// The namespace's address as this machine sees it: where published ports answer.
    pub fn address(&self) -> &str {
        &self.link.address
    }

    /// `command`, run inside the namespace: for the agent, whose relay Docker must reach on loopback.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net=/run/netns/{}", self.link.namespace)).arg("--").arg(command.get_program()).args(command.get_args());
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

    /// `kill -9`; containers run on without it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The daemon stands still: it takes connections and answers nothing. Containers run on.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Cuts the link to this machine, wholly or one way.
    pub fn cut(&self, cut: Cut) -> Result<()> {
        let drop = |chain: &str, side: &str| {
            let rule = ["--wait", "--insert", chain, side, &self.link.inner, "--jump", "DROP"];
            let mut command = Command::new("iptables");
            command.args(rule);
            let output = self.inside(&command).output()?;
            if !output.status.success() {
                bail!("iptables: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            Ok(())
        };
        match cut {
            Cut::Both => run("ip", &["link", "set", &self.link.outer, "down"]),
            Cut::Outgoing => drop("OUTPUT", "--out-interface"),
            Cut::Incoming => drop("INPUT", "--in-interface"),
        }
    }

    /// Mends what [`Engine::cut`] and [`Engine::slow`] did.
    pub fn heal(&self) -> Result<()> {
        run("ip", &["link", "set", &self.link.outer, "up"])?;
        for (chain, side) in [("OUTPUT", "--out-interface"), ("INPUT", "--in-interface")] {
            let mut command = Command::new("iptables");
            command.args(["--wait", "--delete", chain, side, &self.link.inner, "--jump", "DROP"]);
            let mut command = self.inside(&command);
            // Until no such rule is left.
            while command.output()?.status.success() {}
        }
        for device in [vec![self.link.outer.as_str()], vec![self.link.inner.as_str(), self.link.namespace.as_str()]] {
            tc(&device, &["del"]).ok();
        }
        Ok(())
    }

    /// Makes the link slow both ways: little and late, or only little where this kernel has no `netem`.
    pub fn slow(&self) -> Result<()> {
        let rate = format!("{SLOW_MBIT}mbit");
        let delay = format!("{SLOW_MILLIS}ms");
        for device in [vec![self.link.outer.as_str()], vec![self.link.inner.as_str(), self.link.namespace.as_str()]] {
            if tc(&device, &["add", "netem", "delay", &delay, "rate", &rate]).is_err() {
                tc(&device, &["add", "tbf", "rate", &rate, "burst", "16kbit", "latency", &delay])?;
            }
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match &self.process {
            Some(process) => process.signal(signal),
            None => bail!("the engine does not run"),
        }
    }

    fn answers(&self) -> Result<bool> {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.socket().display())).args(["version", "--format", "{{.Server.Version}}"]);
        Ok(command.output()?.status.success())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(process) = &self.process else { return };
        // It may stand still.
        process.signal(Signal::SIGCONT).ok();
        let socket = format!("unix://{}", self.socket().display());
        let ids = Command::new("docker").args(["--host", &socket, "ps", "--all", "--quiet"]).output();
        let ids = ids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        Command::new("docker").args(["--host", &socket, "rm", "--force"]).args(ids.split_whitespace()).output().ok();
        // Asked first, so that it unmounts what it mounted; `Process` kills what remains.
        process.signal(Signal::SIGTERM).ok();
        let limit = std::time::Instant::now() + Duration::from_secs(10);
        while self.socket().exists() && std::time::Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.process = None;
    }
}

/// `tc qdisc` at the root of a device, which may be in a namespace.
fn tc(device: &[&str], arguments: &[&str]) -> Result<()> {
    let (verb, rest) = arguments.split_first().map_or(("show", &[][..]), |(verb, rest)| (*verb, rest));
    let namespace: Vec<&str> = device.get(1).map(|namespace| vec!["-n", *namespace]).unwrap_or_default();
    run("tc", &[&namespace[..], &["qdisc", verb, "dev", device[0], "root"], rest].concat())
}
