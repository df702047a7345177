//! A server and several Docker hosts in network namespaces, each with an engine and an agent of its own, and a watch over all engines.

use crate::fleet::{Container, Fleet, containers_of, task_id, wait_for};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use testing::docker::Docker;
use testing::engine::Engine;
use testing::network::Network;
use testing::{Agent, Server, ServerBuilder};

/// A host that is not heard for this long is lost, in seconds. Long enough that a host of the tests, whose disk and processors all
/// others share, is not lost unless it is cut off.
pub const LEASE_SECS: u64 = 8;
/// Tests with several engines take turns: side by side they make each other's hosts miss their leases. (Where each test is a process
/// of its own, `.config/nextest.toml` says the same.)
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// Between two looks at all engines, in milliseconds.
const SAMPLE_MILLIS: u64 = 100;
/// An engine that does not answer within this stands still, in milliseconds.
const ANSWER_MILLIS_MAX: u64 = 3000;

/// One Docker host.
pub struct Host {
    pub name: String,
    pub agent: Agent,
    pub engine: Engine,
    pub docker: Docker,
    /// ARN of its instance.
    pub arn: String,
}

impl Host {
    /// Starts its agent, after it was killed.
    pub fn start_agent(&mut self) -> Result<()> {
        self.agent.start_on(&self.engine)
    }
}

/// Hosts of one server, which listens for agents on their network.
pub struct Hosts {
    // The agents stop before the server, which would else be asked all the time.
    pub hosts: Vec<Host>,
    pub fleet: Fleet,
    network: Arc<Network>,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Hosts {
    /// A server with a short lease, and `count` hosts `host-1`, `host-2`, …, one zone each.
    pub async fn start(count: usize) -> Result<Self> {
        Self::start_with(count, |server| server).await
    }

    pub async fn start_with(count: usize, change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Result<Self> {
        let turn = TURN.lock().await;
        let network = Arc::new(Network::new()?);
        let server = Server::builder().listen_for_agents(&network.address()).env("BERTH_LEASE_SECS", &LEASE_SECS.to_string());
        let fleet = Fleet::around(change(server).start().await?)?;
        let mut hosts = Self { hosts: Vec::new(), fleet, network, _turn: turn };
        for _ in 0..count {
            hosts.add().await?;
        }
        Ok(hosts)
    }

    /// Another host joins.
    pub async fn add(&mut self) -> Result<()> {
        let engine = Engine::start_in(&self.network).await?;
        self.add_engine(engine, &[]).await
    }

    /// The host of `engine` joins, with further variables for its agent.
    pub async fn add_engine(&mut self, engine: Engine, environment: &[(&str, &str)]) -> Result<()> {
        let name = format!("host-{}", self.hosts.len() + 1);
        let mut agent = Agent::of(&self.fleet.server).await?;
        agent.set_arguments(&["--name", &name, "--zone", &format!("zone-{name}")]);
        for (variable, value) in environment {
            agent.set_env(variable, Some(value));
        }
        agent.start_on(&engine)?;
        let docker = Docker::at(&engine.socket())?;
        let arn = self.instance_named(&name).await?;
        if self.hosts.is_empty() {
            self.fleet.agent_dir = agent.data_dir();
        }
        self.hosts.push(Host { name, agent, engine, docker, arn });
        Ok(())
    }

    /// A place for an engine that joins later.
    pub async fn engine(&self) -> Result<Engine> {
        Engine::start_in(&self.network).await
    }

    /// Waits until an instance of that name is connected; its ARN.
    pub async fn instance_named(&self, name: &str) -> Result<String> {
        wait_for(&format!("{name} to be connected"), || async {
            let all = self.instances().await.ok()?;
            let found = all.iter().find(|each| each["ec2InstanceId"] == name && each["agentConnected"] == true)?;
            Some(found["containerInstanceArn"].as_str()?.to_owned())
        })
        .await
    }

    pub async fn instances(&self) -> Result<Vec<Value>> {
        let arns = self.fleet.list("ListContainerInstances", &json!({}), "containerInstanceArns").await?;
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        let described = self.fleet.ecs("DescribeContainerInstances", &json!({"containerInstances": arns})).await?;
        Ok(described["containerInstances"].as_array().cloned().unwrap_or_default())
    }

    pub async fn instance(&self, host: usize) -> Result<Value> {
        let arns = [&self.hosts[host].arn];
        let described = self.fleet.ecs("DescribeContainerInstances", &json!({"containerInstances": arns})).await?;
        Ok(described["containerInstances"][0].clone())
    }

    /// Waits until the server counts the host as lost, or as heard.
    pub async fn is_heard(&self, host: usize, heard: bool) -> Result<()> {
        let what = format!("{} to be {}", self.hosts[host].name, if heard { "heard" } else { "lost" });
        wait_for(&what, || async { (self.instance(host).await.ok()?["agentConnected"] == heard).then_some(()) }).await
    }

    /// Waits until `count` tasks of the service are wanted on these hosts, and all of them run and are healthy.
    pub async fn healthy_on(&self, hosts: &[usize], count: usize) -> Result<()> {
        self.fleet.eventually(&format!("{count} healthy tasks on hosts {hosts:?}"), async || self.are_healthy_on(hosts, count).await).await
    }

    async fn are_healthy_on(&self, hosts: &[usize], count: usize) -> Result<bool> {
        let arns: Vec<&str> = hosts.iter().map(|host| self.hosts[*host].arn.as_str()).collect();
        let tasks = self.fleet.tasks("RUNNING").await?;
        let there = |task: &&Value| task["containerInstanceArn"].as_str().is_some_and(|arn| arns.contains(&arn));
        let healthy = |task: &&Value| task["lastStatus"] == "RUNNING" && task["healthStatus"] == "HEALTHY";
        Ok(tasks.iter().filter(there).filter(healthy).count() == count)
    }

    /// Ids of the tasks that are wanted on the host.
    pub async fn tasks_on(&self, host: usize) -> Result<Vec<String>> {
        let tasks = self.fleet.tasks("RUNNING").await?;
        Ok(tasks.iter().filter(|task| task["containerInstanceArn"] == self.hosts[host].arn.as_str()).map(task_id).collect())
    }

    /// Containers of this control plane on the host, as its engine shows them.
    pub fn containers_on(&self, host: usize) -> Result<Vec<Container>> {
        containers_of(&self.hosts[host].docker, &self.fleet.control_plane()?)
    }

    /// Begins to look at all engines, again and again.
    pub fn watch(&self) -> Result<Watch> {
        let sockets = self.hosts.iter().map(|host| host.engine.socket()).collect();
        Ok(Watch::start(sockets, self.fleet.control_plane()?))
    }

    /// What explains a failure: the fleet's state and the logs.
    pub async fn explain(&self) -> String {
        let mut parts = vec![self.fleet.state().await.unwrap_or_default(), format!("=== server\n{}", self.fleet.server.log())];
        parts.extend(self.hosts.iter().map(|host| format!("=== {}\n{}", host.name, host.agent.log())));
        parts.join("\n")
    }
}

/// One look at all engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub at: Instant,
    /// Running containers of each host; nothing where the engine did not answer.
    pub running: Vec<Option<usize>>,
}

impl Sample {
    /// Of these hosts together; an engine that did not answer counts nothing.
    pub fn on(&self, hosts: &[usize]) -> usize {
        hosts.iter().filter_map(|host| self.running[*host]).sum()
    }

    pub fn total(&self) -> usize {
        self.running.iter().flatten().sum()
    }
}

/// Looks at the engines themselves, whatever server and agents say, until dropped.
pub struct Watch {
    samples: Arc<Mutex<Vec<Sample>>>,
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn start(sockets: Vec<PathBuf>, control_plane: String) -> Self {
        let (samples, done) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, ended) = (samples.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let running = sockets.iter().map(|socket| running(socket, &control_plane).ok()).collect();
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(Sample { at: Instant::now(), running });
                std::thread::sleep(Duration::from_millis(SAMPLE_MILLIS));
            }
        });
        Self { samples, done, thread: Some(thread) }
    }

    /// Everything seen since `from`.
    pub fn since(&self, from: Instant) -> Vec<Sample> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().filter(|sample| sample.at >= from).cloned().collect()
    }

    /// Every sample since `from` holds `what`.
    pub fn all_since(&self, from: Instant, what: &str, holds: impl Fn(&Sample) -> bool) -> Result<()> {
        let samples = self.since(from);
        ensure!(!samples.is_empty(), "nothing was seen");
        let bad = samples.iter().find(|sample| !holds(sample));
        let at = |sample: &Sample| (sample.at - from, sample.running.clone());
        ensure!(bad.is_none(), "{what}: not so at {:?}; all: {:?}", bad.map(at), samples.iter().map(at).collect::<Vec<_>>());
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Running containers of `control_plane` behind `socket`, by the Engine API: the command line would cost more than it is worth here.
fn running(socket: &Path, control_plane: &str) -> Result<usize> {
    let limit = Some(Duration::from_millis(ANSWER_MILLIS_MAX));
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    let filters = format!("%7B%22label%22%3A%5B%22io.berth.control-plane%3D{control_plane}%22%5D%7D");
    // HTTP/1.0: the answer is not chunked and ends with the connection.
    write!(stream, "GET /containers/json?filters={filters} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    ensure!(head.contains(" 200 "), "{head}");
    let containers: Vec<Value> = serde_json::from_str(body)?;
    Ok(containers.len())
}
