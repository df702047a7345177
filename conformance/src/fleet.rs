//! A server, its agent on a real Docker Engine, and what the tests ask of them: images, task definitions, services, tasks, containers.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use testing::agent::control_plane_in;
use testing::docker::Docker;
use testing::{Client, Image, Server, push, wait_until_for};

/// Longest wait for tasks to get where they should, in seconds.
const TASKS_SECS_MAX: u64 = 60;
/// Between two looks, in milliseconds.
const LOOK_MILLIS: u64 = 50;
/// Events of a service that a failure shows.
const EVENTS_SHOWN: usize = 12;

/// A server and the admin's view of it; an agent is started with it or by the test.
pub struct Fleet {
    pub server: Server,
    /// The admin by access key.
    pub admin: Client,
    pub docker: Docker,
    /// Data folder of the agent.
    pub agent_dir: PathBuf,
}

/// One container of an agent, as Docker shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    pub id: String,
    pub task: String,
    pub running: bool,
}

impl Fleet {
    /// `berth up`, with its agent's instance registered.
    pub async fn up() -> Result<Self> {
        let fleet = Self::around(Server::builder().with_agent().start().await?)?;
        fleet.instance().await?;
        Ok(fleet)
    }

    pub fn around(server: Server) -> Result<Self> {
        Ok(Self { admin: server.admin_by_access_key()?, docker: Docker::new()?, agent_dir: server.data_dir().join("agent"), server })
    }

    /// Waits for a connected container instance and gives its ARN.
    pub async fn instance(&self) -> Result<String> {
        wait_for("a connected instance", || async {
            let arns = self.list("ListContainerInstances", &json!({}), "containerInstanceArns").await.ok()?;
            let described = self.ecs("DescribeContainerInstances", &json!({"containerInstances": arns})).await.ok()?;
            let found = described["containerInstances"].as_array()?.iter().find(|each| each["agentConnected"] == true)?;
            Some(found["containerInstanceArn"].as_str()?.to_owned())
        })
        .await
    }

    /// An operation that has to succeed.
    pub async fn ecs(&self, operation: &str, body: &Value) -> Result<Value> {
        let answer = self.admin.ecs(operation, body).await?;
        ensure!(answer.status == 200, "{operation} {body}: {} {}", answer.status, answer.text());
        Ok(answer.json())
    }

    /// One page of ARNs.
    pub async fn list(&self, operation: &str, body: &Value, field: &str) -> Result<Vec<String>> {
        crate::registry::strings(&self.ecs(operation, body).await?[field])
    }

    /// Pushes `image` and gives the name under which a task definition names it.
    pub async fn push(&self, repository: &str, tag: &str, image: &Image) -> Result<String> {
        push::image(&self.server.admin()?, repository, tag, image).await?;
        Ok(format!("{}/{repository}:{tag}", self.server.host()))
    }

    /// Registers a task definition of one container that runs `image` and is healthy as soon as it runs. Gives `family:revision`.
    pub async fn register(&self, family: &str, image: &str) -> Result<String> {
        self.register_container(family, container(image)).await
    }

    pub async fn register_container(&self, family: &str, container: Value) -> Result<String> {
        let answer = self.ecs("RegisterTaskDefinition", &json!({"family": family, "containerDefinitions": [container]})).await?;
        Ok(format!("{family}:{}", answer["taskDefinition"]["revision"]))
    }

    pub async fn create_service(&self, name: &str, task_definition: &str, count: usize) -> Result<()> {
        let request = json!({"serviceName": name, "taskDefinition": task_definition, "desiredCount": count});
        self.ecs("CreateService", &request).await?;
        Ok(())
    }

    /// An image that sleeps, its task definition and a service of it, all named `name`.
    pub async fn sleeping_service(&self, name: &str, count: usize) -> Result<()> {
        let image = self.push(&format!("conformance/{name}"), "v1", &Image::sleeps()?).await?;
        let task_definition = self.register(name, &image).await?;
        self.create_service(name, &task_definition, count).await
    }

    pub async fn scale(&self, name: &str, count: usize) -> Result<()> {
        self.ecs("UpdateService", &json!({"service": name, "desiredCount": count})).await?;
        Ok(())
    }

    pub async fn service(&self, name: &str) -> Result<Value> {
        let answer = self.ecs("DescribeServices", &json!({"services": [name]})).await?;
        answer["services"].get(0).cloned().with_context(|| format!("no service {name}: {answer}"))
    }

    /// Messages of the service's events, newest first.
    pub async fn events(&self, name: &str) -> Result<Vec<String>> {
        let service = self.service(name).await?;
        let events = service["events"].as_array().context("events")?;
        Ok(events.iter().filter_map(|event| event["message"].as_str().map(str::to_owned)).collect())
    }

    /// Descriptions of the tasks that are wanted (`RUNNING`) or not any more (`STOPPED`).
    pub async fn tasks(&self, desired_status: &str) -> Result<Vec<Value>> {
        let arns = self.list("ListTasks", &json!({"desiredStatus": desired_status}), "taskArns").await?;
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self.ecs("DescribeTasks", &json!({"tasks": arns})).await?;
        Ok(answer["tasks"].as_array().cloned().unwrap_or_default())
    }

    pub async fn task(&self, arn: &str) -> Result<Value> {
        let answer = self.ecs("DescribeTasks", &json!({"tasks": [arn]})).await?;
        answer["tasks"].get(0).cloned().with_context(|| format!("no task {arn}: {answer}"))
    }

    /// Waits until exactly `count` tasks are wanted and all of them run. Gives their ids.
    pub async fn running(&self, count: usize) -> Result<BTreeSet<String>> {
        wait_for(&format!("{count} running tasks"), || async {
            let tasks = self.tasks("RUNNING").await.ok()?;
            let all = tasks.len() == count && tasks.iter().all(|task| task["lastStatus"] == "RUNNING");
            all.then(|| tasks.iter().map(task_id).collect())
        })
        .await
    }

    /// Waits until the task has stopped, and describes it.
    pub async fn stopped(&self, arn: &str) -> Result<Value> {
        wait_for("the task to stop", || async {
            let task = self.task(arn).await.ok()?;
            (task["lastStatus"] == "STOPPED").then_some(task)
        })
        .await
    }

    /// Runs one task of `task_definition` and gives its ARN.
    pub async fn run_task(&self, task_definition: &str) -> Result<String> {
        let answer = self.ecs("RunTask", &json!({"taskDefinition": task_definition})).await?;
        Ok(answer["tasks"][0]["taskArn"].as_str().with_context(|| format!("no task: {answer}"))?.to_owned())
    }

    /// What the containers of this fleet carry as a label.
    pub fn control_plane(&self) -> Result<String> {
        control_plane_in(&self.agent_dir).context("the agent has not joined")
    }

    /// Every container of this control plane, running or not.
    pub fn containers(&self) -> Result<Vec<Container>> {
        containers_of(&self.docker, &self.control_plane()?)
    }

    /// Waits until the running containers are exactly those of the tasks that are wanted, one each, and none is starting or stopping.
    pub async fn none_twice_none_lost(&self, count: usize) -> Result<()> {
        self.eventually(&format!("one container for each of {count} tasks"), async || self.is_one_each(count).await).await
    }

    /// Waits until `look` holds; a failure shows everything.
    pub async fn eventually(&self, what: &str, look: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        while !look().await? {
            if started.elapsed() > Duration::from_secs(TASKS_SECS_MAX) {
                bail!("waited {TASKS_SECS_MAX} s for {what}:\n{}", self.state().await?);
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MILLIS)).await;
        }
        Ok(())
    }

    async fn is_one_each(&self, count: usize) -> Result<bool> {
        let tasks = self.tasks("RUNNING").await?;
        let running: Vec<Container> = self.containers()?.into_iter().filter(|each| each.running).collect();
        let wanted: BTreeSet<String> = tasks.iter().map(task_id).collect();
        let owners: BTreeSet<String> = running.iter().map(|each| each.task.clone()).collect();
        let all_run = tasks.iter().all(|task| task["lastStatus"] == "RUNNING");
        Ok(all_run && tasks.len() == count && running.len() == count && owners == wanted)
    }

    /// Everything that explains a failure: tasks, containers, services with their events.
    pub async fn state(&self) -> Result<String> {
        let mut lines = Vec::new();
        for task in [self.tasks("RUNNING").await?, self.tasks("STOPPED").await?].concat() {
            let reason = task["stoppedReason"].as_str().unwrap_or_default();
            let (id, wanted, last) = (task_id(&task), &task["desiredStatus"], &task["lastStatus"]);
            lines.push(format!("task {id} of {} should be {wanted}, is {last} {reason}", task["taskDefinitionArn"]));
        }
        lines.extend(self.containers()?.iter().map(|container| format!("{container:?}")));
        for arn in self.list("ListServices", &json!({}), "serviceArns").await? {
            let service = self.service(&arn).await?;
            lines.push(format!("{arn}: desired {}, deployments {}", service["desiredCount"], service["deployments"]));
            lines.extend(self.events(&arn).await?.into_iter().take(EVENTS_SHOWN));
        }
        Ok(lines.join("\n"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // What fails here is left over, which hurts nobody.
        if let Ok(control_plane) = self.control_plane() {
            self.docker.remove_containers_of(&control_plane).ok();
        }
        self.docker.remove_images_of(&self.server.host()).ok();
    }
}

/// A container definition that needs little, and is healthy as soon as it runs.
pub fn container(image: &str) -> Value {
    json!({
        "name": "app", "image": image, "cpu": 10, "memory": 32, "essential": true, "stopTimeout": 2,
        "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5, "timeout": 2, "retries": 2},
    })
}

/// The bare id at the end of a task's ARN.
pub fn task_id(task: &Value) -> String {
    let arn = task["taskArn"].as_str().unwrap_or_default();
    arn.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Every container of `control_plane` on the engine of `docker`.
pub fn containers_of(docker: &Docker, control_plane: &str) -> Result<Vec<Container>> {
    let filter = format!("label=io.berth.control-plane={control_plane}");
    let format = "{{.ID}} {{.Label \"io.berth.task\"}} {{.State}}";
    let lines = docker.ok(&["ps", "--all", "--no-trunc", "--filter", &filter, "--format", format])?;
    let mut found: Vec<Container> = lines
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(Container { id: words.next()?.into(), task: words.next()?.into(), running: words.next()? == "running" })
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Ids of running containers by task.
pub fn by_task(containers: &[Container]) -> BTreeMap<String, String> {
    containers.iter().filter(|each| each.running).map(|each| (each.task.clone(), each.id.clone())).collect()
}

/// [`wait_until_for`] with the limit for tasks.
pub async fn wait_for<T, F, L>(what: &str, look: L) -> Result<T>
where
    L: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    Ok(wait_until_for(what, Duration::from_secs(TASKS_SECS_MAX), look).await)
}
