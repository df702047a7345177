//! Our side: `berth up`, a service of three tasks that follows a repository by a trigger, a push, a kill.

use super::{HEALTH_COMMAND, LIMIT, LOOK_PERIOD};
use anyhow::{Context, Result, bail};
use conformance::fleet::{Fleet, by_task, task_id};
use model::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;
use testing::{Database, Image, Server};

const REPOSITORY: &str = "bench/web";
const SERVICE: &str = "web";

/// Seconds from the acknowledged push.
pub struct Pushed {
    pub running: f64,
    pub completed: f64,
    /// What the way to RUNNING consists of: until the task was planned, until its image was there, until it ran, until that was seen.
    pub parts: [f64; 4],
}

pub struct Ours {
    pub fleet: Fleet,
    tasks: usize,
}

impl Ours {
    /// With the service COMPLETED on `image`.
    pub async fn start(image: &Image, tasks: usize) -> Result<Self> {
        let ours = Self { fleet: up().await?, tasks };
        let name = ours.fleet.push(REPOSITORY, "v0", image).await?;
        let definition = ours.fleet.register_container(SERVICE, container(&name)).await?;
        ours.fleet.create_service(SERVICE, &definition, tasks).await?;
        ours.completed(&definition, Instant::now()).await?;
        let trigger = json!({"service": format!("default/{SERVICE}"), "repository": REPOSITORY, "tag": "v*"});
        ours.fleet.server.admin_token().await?.post("/api/v1/triggers", &trigger).await?.expect(201)?;
        Ok(ours)
    }

    /// From the acknowledged push to the first new task RUNNING, and to COMPLETED: the push is all that is done.
    pub async fn push(&self, image: &Image, round: usize) -> Result<Pushed> {
        // The one registered by hand is revision 1; each push that is taken makes the next.
        let definition = format!("{SERVICE}:{}", round + 1);
        self.fleet.push(REPOSITORY, &format!("v{round}"), image).await?;
        let (began, acknowledged) = (Instant::now(), model::Clock::now(&model::clock::SystemClock));
        let first = self.first_running(&definition, began).await?;
        let running = began.elapsed().as_secs_f64();
        let completed = self.completed(&definition, began).await?;
        self.alone(&definition).await?;
        Ok(Pushed { running, completed, parts: parts(&first, acknowledged, running)? })
    }

    /// From the kill of a container to its replacement RUNNING.
    pub async fn kill_one(&self) -> Result<f64> {
        let before: BTreeSet<String> = self.fleet.running(self.tasks).await?;
        let containers = by_task(&self.fleet.containers()?);
        let container = before.iter().find_map(|task| containers.get(task)).context("a task has a container")?;
        let began = Instant::now();
        self.fleet.docker.ok(&["kill", container])?;
        loop {
            let tasks = self.fleet.tasks("RUNNING").await?;
            let is_new = |task: &&Value| task["lastStatus"] == "RUNNING" && !before.contains(&task_id(task));
            if tasks.iter().any(|task| is_new(&task)) {
                let secs = began.elapsed().as_secs_f64();
                self.fleet.running(self.tasks).await?;
                self.steady().await?;
                return Ok(secs);
            }
            pause(began, "a replacement").await?;
        }
    }

    async fn first_running(&self, definition: &str, began: Instant) -> Result<Value> {
        loop {
            let tasks = self.fleet.tasks("RUNNING").await?;
            if let Some(first) = tasks.into_iter().find(|task| task["lastStatus"] == "RUNNING" && is_of(task, definition)) {
                return Ok(first);
            }
            pause(began, "a new task").await?;
        }
    }

    async fn completed(&self, definition: &str, began: Instant) -> Result<f64> {
        loop {
            let service = self.fleet.service(SERVICE).await?;
            let primary = &service["deployments"][0];
            if primary["rolloutState"] == "COMPLETED" && is_of(primary, definition) {
                return Ok(began.elapsed().as_secs_f64());
            }
            pause(began, "COMPLETED").await?;
        }
    }

    /// Waits until nothing runs but the tasks of `definition`, so that no round pays for the one before.
    async fn alone(&self, definition: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let containers = self.fleet.containers()?.iter().filter(|container| container.running).count();
            let tasks = self.fleet.tasks("RUNNING").await?;
            if containers == self.tasks && tasks.len() == self.tasks && tasks.iter().all(|task| is_of(task, definition)) {
                return Ok(());
            }
            pause(began, "the old tasks to go").await?;
        }
    }

    /// Waits until the back-off of earlier kills is forgotten.
    async fn steady(&self) -> Result<()> {
        tokio::time::sleep(std::time::Duration::from_secs(11)).await;
        self.fleet.running(self.tasks).await.map(|_| ())
    }
}

/// Where the time went until `first` was seen RUNNING, by its own timestamps.
fn parts(first: &Value, acknowledged: Timestamp, running: f64) -> Result<[f64; 4]> {
    let acknowledged = acknowledged.since(Timestamp::default()).as_secs_f64();
    let at = |name: &str| first[name].as_f64().map(|at| at - acknowledged).with_context(|| format!("the task has no {name}"));
    let (created, pulled, started) = (at("createdAt")?, at("pullStoppedAt")?, at("startedAt")?);
    Ok([created, pulled - created, started - pulled, running - started])
}

/// `berth up` on SQLite, its agent registered.
pub async fn up() -> Result<Fleet> {
    let fleet = Fleet::around(Server::builder().with_agent().database(Database::Sqlite).start().await?)?;
    fleet.instance().await?;
    Ok(fleet)
}

fn container(image: &str) -> Value {
    json!({
        "name": "app", "image": image, "cpu": 10, "memory": 32, "essential": true, "stopTimeout": 2,
        "healthCheck": {"command": ["CMD-SHELL", HEALTH_COMMAND], "interval": 5, "timeout": 2, "retries": 2},
    })
}

fn is_of(described: &Value, definition: &str) -> bool {
    let arn = described["taskDefinitionArn"].as_str().or(described["taskDefinition"].as_str()).unwrap_or_default();
    arn.ends_with(&format!("/{definition}"))
}

pub async fn pause(began: Instant, what: &str) -> Result<()> {
    if began.elapsed() > LIMIT {
        bail!("waited {} s for {what}", LIMIT.as_secs());
    }
    tokio::time::sleep(LOOK_PERIOD).await;
    Ok(())
}
