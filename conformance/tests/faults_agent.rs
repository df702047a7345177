//! Server, agent and Docker Engine killed, stopped and forgotten: the same containers, none twice, none lost.
//!
//! Real Docker. Each test has its own server, agent and control plane, so that they share an engine without seeing each other.

use anyhow::{Context, Result, ensure};
use conformance::fleet::{Fleet, by_task, container, containers_of, task_id, wait_for};
use serde_json::json;
use std::collections::BTreeSet;
use std::process::Command;
use testing::docker::Docker;
use testing::engine::Engine;
use testing::{Agent, Database, Image, Server};

const FAILPOINT: &str = "BERTH_FAILPOINT";
/// Reports of an agent that starts two tasks, more or less: it is killed before each.
const REPORTS: u32 = 4;

/// A server alone and an agent that is a process of its own; neither restarts the other.
async fn apart(server_failpoint: Option<&str>) -> Result<(Fleet, Agent)> {
    let mut builder = Server::builder();
    if let Some(point) = server_failpoint {
        builder = builder.env(FAILPOINT, point);
    }
    let mut fleet = Fleet::around(builder.start().await?)?;
    let agent = Agent::of(&fleet.server).await?;
    fleet.agent_dir = agent.data_dir();
    Ok((fleet, agent))
}

/// Nothing was ever replaced: no task of the service has stopped.
async fn nothing_was_replaced(fleet: &Fleet) -> Result<()> {
    let stopped = fleet.tasks("STOPPED").await?;
    ensure!(stopped.is_empty(), "tasks were replaced: {stopped:?}");
    Ok(())
}

// === The server is killed

async fn server_killed_at(point: &str) -> Result<()> {
    let (mut fleet, mut agent) = apart(Some(point)).await?;
    agent.start()?;
    fleet.instance().await?;
    // The server may end before it answers.
    let created = fleet.sleeping_service("web", 2).await;
    fleet.server.ended().await.with_context(|| format!("{point} was not reached: {created:?}"))?;
    fleet.server.set_env(FAILPOINT, None);
    fleet.server.start_again().await?;
    if fleet.service("web").await.is_err() {
        ensure!(created.is_err(), "an acknowledged service is lost");
        fleet.create_service("web", "web:1", 2).await?;
    }
    fleet.none_twice_none_lost(2).await?;
    nothing_was_replaced(&fleet).await
}

#[tokio::test]
async fn server_killed_after_task_row_written() -> Result<()> {
    server_killed_at("task-row-written").await
}

#[tokio::test]
async fn server_killed_after_order_sent() -> Result<()> {
    server_killed_at("order-sent").await
}

#[tokio::test]
async fn kill_9_of_the_server_touches_no_container_and_the_service_heals_afterwards() -> Result<()> {
    let (mut fleet, mut agent) = apart(None).await?;
    agent.start()?;
    fleet.instance().await?;
    fleet.sleeping_service("web", 2).await?;
    fleet.none_twice_none_lost(2).await?;
    let before = fleet.containers()?;
    fleet.server.kill();
    fleet.server.start_again().await?;
    fleet.instance().await?;
    fleet.none_twice_none_lost(2).await?;
    ensure!(fleet.containers()? == before, "other containers run");
    fleet.docker.ok(&["kill", &before[0].id])?;
    let old = before[0].task.clone();
    wait_for("the killed container's task to be replaced", || async {
        let tasks = fleet.running(2).await.ok()?;
        (!tasks.contains(&old)).then_some(())
    })
    .await?;
    fleet.none_twice_none_lost(2).await?;
    let stopped = fleet.tasks("STOPPED").await?;
    let killed = stopped.iter().find(|task| task_id(task) == old).context("the killed task is described")?;
    ensure!(killed["containers"][0]["exitCode"] == 137, "{killed}");
    Ok(())
}

// === The agent is killed

/// The agent dies at `point` while it starts two tasks, and is started again.
async fn agent_killed_while_starting(point: &str) -> Result<()> {
    let (fleet, mut agent) = apart(None).await?;
    agent.set_env(FAILPOINT, Some(point));
    agent.start()?;
    fleet.instance().await?;
    fleet.sleeping_service("web", 2).await?;
    agent.ended().await.with_context(|| format!("{point} was not reached"))?;
    let left: BTreeSet<String> = fleet.containers()?.into_iter().map(|each| each.id).collect();
    agent.set_env(FAILPOINT, None);
    agent.start()?;
    fleet.none_twice_none_lost(2).await?;
    let now: BTreeSet<String> = fleet.containers()?.into_iter().map(|each| each.id).collect();
    ensure!(left.is_subset(&now), "containers that were there are not used: {left:?} {now:?}");
    ensure!(now.len() == 2, "containers are left over: {now:?}");
    nothing_was_replaced(&fleet).await
}

#[tokio::test]
async fn agent_killed_after_order_received() -> Result<()> {
    agent_killed_while_starting("order-received").await
}

#[tokio::test]
async fn agent_killed_after_pulled() -> Result<()> {
    agent_killed_while_starting("pulled").await
}

#[tokio::test]
async fn agent_killed_after_created() -> Result<()> {
    agent_killed_while_starting("created").await
}

#[tokio::test]
async fn agent_killed_after_started() -> Result<()> {
    agent_killed_while_starting("started").await
}

#[tokio::test]
async fn agent_killed_before_the_first_report() -> Result<()> {
    agent_killed_while_starting("before-report").await
}

#[tokio::test]
async fn agent_killed_before_each_later_report() -> Result<()> {
    let (fleet, mut agent) = apart(None).await?;
    agent.set_env(FAILPOINT, Some("before-report:2"));
    agent.start()?;
    fleet.instance().await?;
    let marker = agent.data_dir().join("failpoint-hit-before-report");
    fleet.sleeping_service("web", 1).await?;
    for count in 1..=REPORTS {
        // Each time it has more to tell: it dies before the second report of its life, and comes back.
        fleet.scale("web", count as usize).await?;
        agent.ended().await?;
        std::fs::remove_file(&marker)?;
        agent.start()?;
    }
    agent.kill();
    agent.set_env(FAILPOINT, None);
    agent.start()?;
    fleet.none_twice_none_lost(REPORTS as usize).await?;
    let left = fleet.containers()?.len();
    ensure!(left == REPORTS as usize, "containers are left over:\n{}", fleet.state().await?);
    nothing_was_replaced(&fleet).await
}

#[tokio::test]
async fn agent_killed_after_stopped() -> Result<()> {
    let (fleet, mut agent) = apart(None).await?;
    agent.set_env(FAILPOINT, Some("stopped"));
    agent.start()?;
    fleet.instance().await?;
    fleet.sleeping_service("web", 2).await?;
    fleet.none_twice_none_lost(2).await?;
    let before = by_task(&fleet.containers()?);
    fleet.scale("web", 1).await?;
    agent.ended().await.context("`stopped` was not reached")?;
    agent.set_env(FAILPOINT, None);
    agent.start()?;
    fleet.none_twice_none_lost(1).await?;
    let after = by_task(&fleet.containers()?);
    ensure!(after.iter().all(|(task, id)| before.get(task) == Some(id)), "{before:?} {after:?}");
    let stopped = wait_for("the stopped task to be reported", || async {
        let stopped = fleet.tasks("STOPPED").await.ok()?;
        stopped.iter().all(|task| task["lastStatus"] == "STOPPED").then_some(stopped)
    })
    .await?;
    ensure!(stopped.len() == 1 && stopped[0]["containers"][0]["exitCode"] == 0, "{stopped:?}");
    Ok(())
}

#[tokio::test]
async fn agent_killed_before_the_report_of_a_task_that_exited_tells_it_afterwards() -> Result<()> {
    let (fleet, mut agent) = apart(None).await?;
    agent.start()?;
    fleet.instance().await?;
    let image = fleet.push("conformance/batch", "v1", &Image::shell("sleep 2; exit 7")?).await?;
    let definition = json!({"name": "app", "image": image, "memory": 32});
    let batch = fleet.register_container("batch", definition).await?;
    let task = fleet.run_task(&batch).await?;
    wait_for("the container", || async { fleet.containers().ok()?.first().filter(|each| each.running).map(|_| ()) }).await?;
    agent.kill();
    wait_for("its end", || async { (!fleet.containers().ok()?.first()?.running).then_some(()) }).await?;
    agent.start()?;
    let stopped = fleet.stopped(&task).await?;
    ensure!(stopped["containers"][0]["exitCode"] == 7 && stopped["stopCode"] == "EssentialContainerExited", "{stopped}");
    Ok(())
}

#[tokio::test]
async fn kill_9_of_the_agent_touches_no_container_and_it_adopts_them_again() -> Result<()> {
    let (fleet, mut agent) = apart(None).await?;
    agent.start()?;
    fleet.instance().await?;
    fleet.sleeping_service("web", 2).await?;
    fleet.none_twice_none_lost(2).await?;
    let before = fleet.containers()?;
    for _ in 0..2 {
        agent.kill();
        agent.start()?;
    }
    fleet.scale("web", 3).await?;
    fleet.none_twice_none_lost(3).await?;
    let after = fleet.containers()?;
    ensure!(before.iter().all(|each| after.contains(each)), "{before:?} {after:?}");
    nothing_was_replaced(&fleet).await
}

#[tokio::test]
async fn both_killed_at_once_and_the_clean_stop_of_both_leave_the_containers() -> Result<()> {
    let (mut fleet, mut agent) = apart(None).await?;
    agent.start()?;
    fleet.instance().await?;
    fleet.sleeping_service("web", 2).await?;
    fleet.none_twice_none_lost(2).await?;
    let before = fleet.containers()?;
    agent.kill();
    fleet.server.kill();
    fleet.server.start_again().await?;
    agent.start()?;
    // The server takes it for connected all along: only its own log tells that it is back.
    wait_for("the agent to register again", || async { (agent.log().matches("registered as").count() >= 2).then_some(()) }).await?;
    fleet.none_twice_none_lost(2).await?;
    ensure!(agent.stop().await?.success(), "{}", agent.log());
    ensure!(fleet.server.stop().await?.success(), "{}", fleet.server.log());
    fleet.server.start_again().await?;
    agent.start()?;
    fleet.instance().await?;
    fleet.none_twice_none_lost(2).await?;
    ensure!(fleet.containers()? == before, "other containers run");
    nothing_was_replaced(&fleet).await
}

// === berth up

#[tokio::test]
async fn berth_up_starts_again_what_was_killed_and_the_containers_run_on() -> Result<()> {
    let fleet = Fleet::up().await?;
    fleet.sleeping_service("web", 2).await?;
    fleet.none_twice_none_lost(2).await?;
    let before = fleet.containers()?;
    for part in ["server", "agent"] {
        let killed = fleet.server.kill_child(part)?;
        wait_for(&format!("another {part}"), || async { fleet.server.child(part).filter(|id| *id != killed) }).await?;
    }
    fleet.instance().await?;
    fleet.none_twice_none_lost(2).await?;
    ensure!(fleet.containers()? == before, "other containers run");
    fleet.scale("web", 1).await?;
    fleet.none_twice_none_lost(1).await
}

// === The Docker Engine is stopped

#[tokio::test]
async fn docker_engine_stopped_and_started_its_tasks_are_stopped_and_replaced() -> Result<()> {
    let mut engine = Engine::start().await?;
    let mut fleet = Fleet::around(Server::builder().listen_for_agents(&engine.machine_address()).start().await?)?;
    fleet.docker = Docker::at(&engine.socket())?;
    let mut agent = Agent::of(&fleet.server).await?;
    fleet.agent_dir = agent.data_dir();
    agent.start_on(&engine)?;
    fleet.instance().await?;
    fleet.sleeping_service("web", 2).await?;
    fleet.none_twice_none_lost(2).await?;
    let before = fleet.running(2).await?;
    engine.stop().await?;
    engine.start_again().await?;
    wait_for("other tasks", || async { fleet.running(2).await.ok().filter(|tasks| tasks.is_disjoint(&before)) }).await?;
    fleet.none_twice_none_lost(2).await?;
    let stopped = wait_for("the old ones to be reported", || async {
        let stopped = fleet.tasks("STOPPED").await.ok()?;
        (stopped.len() >= 2 && stopped.iter().all(|task| task["lastStatus"] == "STOPPED")).then_some(stopped)
    })
    .await?;
    for task in before {
        let described = stopped.iter().find(|each| task_id(each) == task).with_context(|| format!("{task} is not described"))?;
        ensure!(described["stoppedReason"].as_str().is_some_and(|reason| !reason.is_empty()), "{described}");
    }
    Ok(())
}

// === The database is lost

/// Empties the database of a server that does not run.
fn lose(server: &Server) -> Result<()> {
    match server.database() {
        Database::Postgres { url } => {
            let statement = "drop schema public cascade; create schema public";
            let output = Command::new("psql").args([url.as_str(), "--quiet", "--command", statement]).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Database::Sqlite => {
            for name in ["berth.db", "berth.db-wal", "berth.db-shm"] {
                std::fs::remove_file(server.data_dir().join(name)).ok();
            }
        }
    }
    Ok(())
}

async fn unknown_containers(fleet: &Fleet) -> Result<BTreeSet<String>> {
    let answer = fleet.server.admin()?.get("/api/v1/unknown-containers").await?.expect(200)?.json();
    let items = answer["items"].as_array().context("items")?;
    items.iter().map(|each| Ok(each["runtime_id"].as_str().context("a runtime id")?.to_owned())).collect()
}

#[tokio::test]
async fn a_server_that_lost_its_database_keeps_the_containers_and_lists_them_as_unknown() -> Result<()> {
    let mut fleet = Fleet::up().await?;
    fleet.sleeping_service("web", 2).await?;
    fleet.none_twice_none_lost(2).await?;
    let former = fleet.control_plane()?;
    let before = containers_of(&fleet.docker, &former)?;
    fleet.server.stop().await?;
    lose(&fleet.server)?;
    fleet.server.start_again().await?;
    let expected: BTreeSet<String> = before.iter().map(|each| each.id.clone()).collect();
    wait_for("both to be listed as unknown", || async { (unknown_containers(&fleet).await.ok()? == expected).then_some(()) }).await?;
    ensure!(containers_of(&fleet.docker, &former)? == before, "they were touched");
    // It works on, and still leaves them alone.
    fleet.instance().await?;
    let image = fleet.push("conformance/later", "v1", &Image::sleeps()?).await?;
    let later = fleet.register("later", &image).await?;
    fleet.create_service("later", &later, 1).await?;
    fleet.none_twice_none_lost(1).await?;
    let untouched = containers_of(&fleet.docker, &former)? == before;
    fleet.docker.remove_containers_of(&former)?;
    ensure!(untouched, "they were touched later");
    Ok(())
}

#[tokio::test]
async fn a_database_restored_from_before_keeps_the_containers_that_it_does_not_know() -> Result<()> {
    let (mut fleet, mut agent) = apart(None).await?;
    if matches!(fleet.server.database(), Database::Postgres { .. }) {
        return Ok(());
    }
    agent.start()?;
    fleet.instance().await?;
    fleet.server.stop().await?;
    let (file, copy) = (fleet.server.data_dir().join("berth.db"), fleet.server.folder().join("yesterday"));
    std::fs::copy(&file, &copy)?;
    fleet.server.start_again().await?;
    fleet.sleeping_service("web", 2).await?;
    fleet.none_twice_none_lost(2).await?;
    let before = fleet.containers()?;
    fleet.server.stop().await?;
    lose(&fleet.server)?;
    std::fs::copy(&copy, &file)?;
    fleet.server.start_again().await?;
    let expected: BTreeSet<String> = before.iter().map(|each| each.id.clone()).collect();
    wait_for("both to be listed as unknown", || async { (unknown_containers(&fleet).await.ok()? == expected).then_some(()) }).await?;
    ensure!(fleet.containers()? == before, "they were touched");
    Ok(())
}

#[tokio::test]
async fn containers_of_another_control_plane_and_of_nobody_are_never_touched() -> Result<()> {
    let (fleet, mut agent) = apart(None).await?;
    let strangers = Strangers::start(&["io.berth.control-plane=somebody-else", "org.example.nothing=1"])?;
    agent.start()?;
    fleet.instance().await?;
    fleet.sleeping_service("web", 1).await?;
    fleet.none_twice_none_lost(1).await?;
    fleet.scale("web", 0).await?;
    fleet.none_twice_none_lost(0).await?;
    let running = fleet.docker.ok(&["ps", "--quiet", "--no-trunc"])?;
    ensure!(strangers.ids.iter().all(|id| running.contains(id.as_str())), "a stranger was stopped");
    ensure!(unknown_containers(&fleet).await?.is_empty(), "a stranger is listed");
    Ok(())
}

/// Containers that no agent of ours started.
struct Strangers {
    docker: Docker,
    image: String,
    ids: Vec<String>,
}

impl Strangers {
    fn start(labels: &[&str]) -> Result<Self> {
        let image = format!("berth-test-strangers:{:x}", rand::random::<u64>());
        let mut strangers = Self { docker: Docker::new()?, image, ids: Vec::new() };
        strangers.docker.load(&Image::sleeps()?.docker_archive(&strangers.image))?;
        for label in labels {
            let run = ["run", "--detach", "--network", "none", "--label", label, &strangers.image];
            strangers.ids.push(strangers.docker.ok(&run)?);
        }
        Ok(strangers)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        for id in &self.ids {
            self.docker.run(&["rm", "--force", id]).ok();
        }
        self.docker.run(&["rmi", "--force", &self.image]).ok();
    }
}

#[tokio::test]
async fn a_container_definition_runs_as_it_is_written() -> Result<()> {
    let fleet = Fleet::up().await?;
    let image = fleet.push("conformance/inspect", "v1", &Image::sleeps()?).await?;
    let mut definition = container(&image);
    definition["environment"] = json!([{"name": "GREETING", "value": "hello there"}]);
    definition["portMappings"] = json!([{"containerPort": 8080, "hostPort": 0}]);
    definition["dockerLabels"] = json!({"org.example.label": "kept"});
    definition["user"] = json!("nobody");
    definition["workingDirectory"] = json!("/tmp");
    definition["entryPoint"] = json!(["sh", "-c"]);
    definition["command"] = json!(["trap 'exit 0' TERM; sleep 1000 & wait"]);
    definition["mountPoints"] = json!([{"sourceVolume": "folder", "containerPath": "/data", "readOnly": true}]);
    let request = json!({"family": "inspect", "containerDefinitions": [definition], "volumes": [{"name": "folder", "host": {"sourcePath": "/var/tmp"}}]});
    fleet.ecs("RegisterTaskDefinition", &request).await?;
    fleet.create_service("inspect", "inspect:1", 1).await?;
    fleet.none_twice_none_lost(1).await?;
    let id = fleet.containers()?[0].id.clone();
    let inspected: serde_json::Value = serde_json::from_str(&fleet.docker.ok(&["inspect", &id])?)?;
    let (config, host) = (&inspected[0]["Config"], &inspected[0]["HostConfig"]);
    ensure!(config["Env"].to_string().contains("GREETING=hello there"), "{config}");
    ensure!(config["User"] == "nobody" && config["WorkingDir"] == "/tmp", "{config}");
    ensure!(config["Entrypoint"] == json!(["sh", "-c"]) && config["Labels"]["org.example.label"] == "kept", "{config}");
    ensure!(host["Memory"] == 32 * 1024 * 1024 && host["Privileged"] == false, "{host}");
    ensure!(host["RestartPolicy"]["Name"] != "always", "a task is never restarted: {host}");
    ensure!(inspected[0]["Mounts"][0]["RW"] == false && inspected[0]["Mounts"][0]["Destination"] == "/data", "{}", inspected[0]["Mounts"]);
    let task = fleet.tasks("RUNNING").await?.remove(0);
    let binding = &task["containers"][0]["networkBindings"][0];
    ensure!(binding["containerPort"] == 8080 && binding["hostPort"].as_u64().is_some_and(|port| port > 0), "{task}");
    Ok(())
}
