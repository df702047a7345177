//! Several Docker hosts: they join, share, are cut off, come back, stand still, drain and go. What really runs is looked up in the
//! engines the whole time. Needs root: each host is a network namespace with an engine in it.

use anyhow::{Context, Result, ensure};
use conformance::fleet::{container, task_id, wait_for};
use conformance::hosts::{Hosts, LEASE_SECS, Watch};
use serde_json::json;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};
use testing::Image;
use testing::engine::Cut;
use testing::server::{ADMIN, ADMIN_PASSWORD};

/// From a cut to the replacements running: the lease, and what the start takes on a machine with much else to do.
const REPLACED_SECS_MAX: u64 = LEASE_SECS + 30;
/// How long an engine stands still.
const FROZEN_SECS: u64 = 20;
/// From the return of a host to no task too many.
const SETTLED_SECS_MAX: u64 = 10;

/// Runs the test, and shows everything when it fails.
async fn explained<T>(hosts: &Hosts, outcome: Result<T>) -> Result<T> {
    if outcome.is_err() {
        println!("{}", hosts.explain().await);
    }
    outcome
}

async fn pause(secs: u64) {
    tokio::time::sleep(Duration::from_secs(secs)).await;
}

// === Joining

#[tokio::test]
async fn hosts_join_with_stock_engines_pull_through_their_relays_and_take_their_share() -> Result<()> {
    let mut hosts = Hosts::start(1).await?;
    hosts.fleet.sleeping_service("web", 2).await?;
    hosts.healthy_on(&[0], 2).await?;
    hosts.add().await?;
    hosts.add().await?;
    hosts.fleet.scale("web", 6).await?;
    hosts.healthy_on(&[0, 1, 2], 6).await?;
    for host in 0..3 {
        ensure!(hosts.tasks_on(host).await?.len() == 2, "{}", hosts.fleet.state().await?);
        let running = hosts.containers_on(host)?.into_iter().filter(|each| each.running).count();
        ensure!(running == 2, "{} containers run on {}", running, hosts.hosts[host].name);
        // Nothing was configured in the engine; the image came by digest through the loopback of the host itself.
        let insecure = hosts.hosts[host].docker.ok(&["info", "--format", "{{json .RegistryConfig.InsecureRegistryCIDRs}}"])?;
        ensure!(insecure.contains("127.0.0.0/8") && !insecure.contains("10.213"), "{insecure}");
        let names = hosts.hosts[host].docker.ok(&["images", "--digests", "--format", "{{.Repository}} {{.Digest}}"])?;
        ensure!(names.lines().any(|line| line.starts_with("127.0.0.1:") && line.contains("conformance/web sha256:")), "{names}");
    }
    let cli = hosts.fleet.server.cli()?;
    log_in(&hosts)?;
    let table = cli.ok(&["instances"])?;
    for host in &hosts.hosts {
        let line = table.lines().find(|line| line.starts_with(&host.name)).with_context(|| format!("no {} in\n{table}", host.name))?;
        ensure!(line.contains("ACTIVE") && line.contains("connected") && line.contains(&format!("zone-{}", host.name)), "{table}");
    }
    Ok(())
}

/// The command line of the server's folder, from now on as the admin.
fn log_in(hosts: &Hosts) -> Result<()> {
    let server = &hosts.fleet.server;
    let mut command = testing::berth::command(server.cli()?.home())?;
    command.args(["login", &server.url(), "--user", ADMIN, "--password-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child.stdin.take().context("its input")?.write_all(ADMIN_PASSWORD.as_bytes())?;
    ensure!(child.wait()?.success(), "cannot log in");
    Ok(())
}

#[tokio::test]
async fn a_token_for_another_cluster_is_refused_and_not_used_up() -> Result<()> {
    let hosts = Hosts::start(0).await?;
    let engine = hosts.engine().await?;
    let mut agent = testing::Agent::of(&hosts.fleet.server).await?;
    agent.set_arguments(&["--name", "host-1", "--cluster", "prod"]);
    agent.start_on(&engine)?;
    let status = agent.ended().await?;
    ensure!(!status.success() && agent.log().contains("the join token is for cluster default"), "{status} {}", agent.log());
    agent.set_arguments(&["--name", "host-1", "--cluster", "default"]);
    agent.start_on(&engine)?;
    hosts.instance_named("host-1").await?;
    Ok(())
}

// === Cut off

/// One task on each of three hosts, watched.
async fn three_with_one_task_each() -> Result<(Hosts, Watch)> {
    let hosts = Hosts::start(3).await?;
    hosts.fleet.sleeping_service("web", 3).await?;
    explained(&hosts, hosts.healthy_on(&[0, 1, 2], 3).await).await?;
    for host in 0..3 {
        ensure!(hosts.tasks_on(host).await?.len() == 1, "{}", hosts.explain().await);
    }
    let watch = hosts.watch()?;
    Ok((hosts, watch))
}

/// The last host is lost by `cut`, made up for on the others, and comes back.
async fn is_replaced_and_returns(hosts: &Hosts, watch: &Watch, cut: Cut) -> Result<()> {
    let begun = Instant::now();
    hosts.hosts[2].engine.cut(cut)?;
    hosts.healthy_on(&[0, 1], 3).await?;
    let replaced = begun.elapsed();
    ensure!(replaced < Duration::from_secs(REPLACED_SECS_MAX), "{cut:?}: replaced after {replaced:?}");
    pause(1).await;
    watch.all_since(begun, "at least two run where they can be reached, at most three", |sample| (2..=3).contains(&sample.on(&[0, 1])))?;
    watch.all_since(begun, "nobody stops what runs on a host that is cut off", |sample| sample.on(&[2]) == 1)?;
    let healed = Instant::now();
    hosts.hosts[2].engine.heal()?;
    pause(SETTLED_SECS_MAX).await;
    let settled = Instant::now();
    hosts.fleet.eventually("three containers on three hosts", async || Ok(hosts.fleet.running(3).await?.len() == 3)).await?;
    pause(3).await;
    watch.all_since(healed, "at least two run where they could be reached", |sample| sample.on(&[0, 1]) >= 2)?;
    watch.all_since(settled, "exactly three run everywhere", |sample| sample.total() == 3)?;
    println!("{cut:?}: replaced after {replaced:?}, settled within {SETTLED_SECS_MAX} s");
    Ok(())
}

/// As many tasks as hosts, one each, for the next cut.
async fn spread_again(hosts: &Hosts) -> Result<()> {
    hosts.fleet.scale("web", 0).await?;
    hosts.healthy_on(&[0, 1, 2], 0).await?;
    hosts.fleet.scale("web", 3).await?;
    for host in 0..3 {
        hosts.healthy_on(&[host], 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_cut_off_is_made_up_for_and_nothing_runs_twice_when_it_returns() -> Result<()> {
    let (hosts, watch) = three_with_one_task_each().await?;
    explained(&hosts, is_replaced_and_returns(&hosts, &watch, Cut::Both).await).await
}

#[tokio::test]
async fn a_host_that_is_cut_off_one_way_is_lost_like_one_that_is_cut_off_both() -> Result<()> {
    let (hosts, watch) = three_with_one_task_each().await?;
    explained(&hosts, is_replaced_and_returns(&hosts, &watch, Cut::Outgoing).await).await?;
    spread_again(&hosts).await?;
    explained(&hosts, is_replaced_and_returns(&hosts, &watch, Cut::Incoming).await).await
}

#[tokio::test]
async fn a_short_cut_replaces_nothing() -> Result<()> {
    let (hosts, watch) = three_with_one_task_each().await?;
    let before = hosts.fleet.running(3).await?;
    let begun = Instant::now();
    hosts.hosts[2].engine.cut(Cut::Both)?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    hosts.hosts[2].engine.heal()?;
    pause(LEASE_SECS + 2).await;
    watch.all_since(begun, "three run", |sample| sample.total() == 3)?;
    ensure!(hosts.fleet.running(3).await? == before, "tasks were replaced:\n{}", hosts.explain().await);
    Ok(())
}

#[tokio::test]
async fn a_slow_link_is_no_lost_host() -> Result<()> {
    let (hosts, watch) = three_with_one_task_each().await?;
    let image = hosts.fleet.push("conformance/slow", "v1", &Image::web("version-1")?).await?;
    let slow = hosts.fleet.register("slow", &image).await?;
    let begun = Instant::now();
    hosts.hosts[2].engine.slow()?;
    hosts.fleet.create_service("slow", &slow, 3).await?;
    explained(&hosts, hosts.healthy_on(&[2], 2).await).await?;
    watch.all_since(begun, "nothing is replaced", |sample| sample.on(&[2]) <= 2 && sample.total() <= 6)?;
    let stopped = hosts.fleet.tasks("STOPPED").await?;
    ensure!(stopped.is_empty(), "{stopped:?}");
    let lost = hosts.fleet.server.log().contains("counts as lost");
    ensure!(!lost, "a slow host was lost:\n{}", hosts.explain().await);
    Ok(())
}

// === The engine stands still

#[tokio::test]
async fn a_frozen_engine_makes_no_storm_and_converges_when_it_thaws() -> Result<()> {
    let (hosts, watch) = three_with_one_task_each().await?;
    let before = hosts.fleet.running(3).await?;
    let begun = Instant::now();
    hosts.hosts[2].engine.freeze()?;
    // Long enough for three health checks to fail, if the silence of the engine were taken for theirs.
    pause(FROZEN_SECS).await;
    ensure!(hosts.fleet.running(3).await? == before, "what is not known was replaced:\n{}", hosts.explain().await);
    // What is ordered meanwhile is done when it thaws.
    hosts.fleet.scale("web", 2).await?;
    pause(3).await;
    watch.all_since(begun, "no storm", |sample| sample.on(&[0, 1]) <= 2)?;
    hosts.hosts[2].engine.thaw()?;
    explained(&hosts, hosts.fleet.eventually("two tasks", async || Ok(hosts.fleet.running(2).await?.is_subset(&before))).await).await?;
    hosts
        .fleet
        .eventually("two containers everywhere", async || {
            let mut running = 0;
            for host in 0..3 {
                running += hosts.containers_on(host)?.iter().filter(|each| each.running).count();
            }
            Ok(running == 2)
        })
        .await?;
    ensure!(hosts.fleet.tasks("STOPPED").await?.len() == 1, "{}", hosts.fleet.state().await?);
    Ok(())
}

// === Draining and leaving

#[tokio::test]
async fn draining_moves_the_tasks_of_services_with_never_fewer_healthy_and_leaves_the_others() -> Result<()> {
    let hosts = Hosts::start(2).await?;
    hosts.fleet.sleeping_service("web", 4).await?;
    hosts.healthy_on(&[0, 1], 4).await?;
    // Spread over the zones: one of the two that are run alone is on each host.
    let alone = [hosts.fleet.run_task("web:1").await?, hosts.fleet.run_task("web:1").await?];
    hosts.fleet.running(6).await?;
    let on_first: Vec<String> = hosts.tasks_on(0).await?;
    ensure!(on_first.len() == 3, "{}", hosts.fleet.state().await?);
    log_in(&hosts)?;
    let (watch, begun) = (hosts.watch()?, Instant::now());
    let drained = hosts.fleet.server.cli()?.run(["instance", "drain", "host-1", "--timeout", "60s"])?;
    if drained.code != Some(0) {
        println!("{}", hosts.explain().await);
    }
    ensure!(drained.code == Some(0) && drained.stdout.contains("1 tasks without a service run on"), "{drained:?}");
    ensure!(drained.stderr.contains("host-1 drains: 2 tasks of web left"), "{drained:?}");
    watch.all_since(begun, "never fewer than the six", |sample| sample.total() >= 6)?;
    hosts.healthy_on(&[1], 5).await?;
    let left = hosts.tasks_on(0).await?;
    ensure!(left.len() == 1 && alone.iter().any(|arn| arn.ends_with(&left[0])), "{left:?}");
    // Nothing is placed there, and it stays so.
    hosts.fleet.scale("web", 6).await?;
    hosts.healthy_on(&[1], 7).await?;
    ensure!(hosts.instance(0).await?["status"] == "DRAINING" && hosts.tasks_on(0).await? == left, "{}", hosts.fleet.state().await?);
    hosts.fleet.server.cli()?.ok(&["instance", "activate", "host-1"])?;
    hosts.fleet.scale("web", 8).await?;
    hosts.healthy_on(&[0], 3).await
}

#[tokio::test]
async fn a_removed_host_is_refused_keeps_its_containers_and_can_join_again() -> Result<()> {
    let mut hosts = Hosts::start(2).await?;
    hosts.fleet.sleeping_service("web", 2).await?;
    hosts.healthy_on(&[0, 1], 2).await?;
    log_in(&hosts)?;
    let cli = hosts.fleet.server.cli()?;
    let refused = cli.run(["instance", "rm", "host-2"])?;
    ensure!(refused.code == Some(5) && refused.stderr.contains("1 tasks are on host-2"), "{refused:?}");
    let orphans = hosts.containers_on(1)?;
    cli.ok(&["instance", "rm", "host-2", "--force"])?;
    hosts.healthy_on(&[0], 2).await?;
    let refusal = "the server does not take this agent any more";
    wait_for("the agent to be refused", || async { hosts.hosts[1].agent.log().contains(refusal).then_some(()) }).await?;
    ensure!(hosts.instance(1).await?["status"] == "INACTIVE", "{}", hosts.instance(1).await?);
    let listed = hosts.instances().await?;
    ensure!(listed.len() == 1 && listed[0]["ec2InstanceId"] == "host-1", "{listed:?}");
    let stopped = hosts.fleet.tasks("STOPPED").await?;
    let orphan = stopped.iter().find(|task| task_id(task) == orphans[0].task).context("the orphan is described")?;
    ensure!(orphan["stoppedReason"].as_str().is_some_and(|reason| reason.contains("deregistered")), "{orphan}");
    ensure!(hosts.containers_on(1)? == orphans && orphans[0].running, "its container was touched");
    // Killed and started: still refused.
    hosts.hosts[1].agent.kill();
    let again = hosts.hosts[1].agent.log().matches(refusal).count();
    hosts.hosts[1].agent.set_env("BERTH_JOIN_TOKEN", Some("used"));
    hosts.hosts[1].start_agent()?;
    wait_for("the refusal of the next start", || async { (hosts.hosts[1].agent.log().matches(refusal).count() > again).then_some(()) })
        .await?;
    hosts.hosts[1].agent.kill();
    // With a new token it is another instance.
    hosts.hosts[1].agent.set_env("BERTH_JOIN_TOKEN", None);
    hosts.hosts[1].agent.renew_token(&hosts.fleet.server).await?;
    hosts.hosts[1].start_agent()?;
    let arn = hosts.instance_named("host-2").await?;
    ensure!(arn != hosts.hosts[1].arn, "{arn}");
    hosts.hosts[1].arn = arn;
    hosts.fleet.scale("web", 4).await?;
    explained(&hosts, hosts.healthy_on(&[1], 2).await).await
}

// === Many at once

#[tokio::test]
async fn many_hosts_lost_at_once_are_waited_for_until_they_return_or_somebody_decides() -> Result<()> {
    let (hosts, watch) = three_with_one_task_each().await?;
    let begun = Instant::now();
    let cut = |cut: bool| -> Result<()> {
        for host in &hosts.hosts[1..] {
            if cut { host.engine.cut(Cut::Both)? } else { host.engine.heal()? }
        }
        Ok(())
    };
    cut(true)?;
    hosts.is_heard(1, false).await?;
    hosts.is_heard(2, false).await?;
    pause(4).await;
    // Lost within one heartbeat, but not in the same moment: one may have been made up for before the other was missed.
    watch.all_since(begun, "they are waited for", |sample| sample.on(&[0]) <= 2)?;
    let said = |events: &[String]| events.iter().any(|event| event.contains("does not replace"));
    ensure!(said(&hosts.fleet.events("web").await?), "{}", hosts.explain().await);
    cut(false)?;
    hosts.is_heard(1, true).await?;
    hosts.is_heard(2, true).await?;
    hosts.healthy_on(&[0, 1, 2], 3).await?;
    pause(SETTLED_SECS_MAX).await;
    let settled = Instant::now();
    pause(1).await;
    watch.all_since(settled, "three run everywhere", |sample| sample.total() == 3)?;
    spread_again(&hosts).await?;
    cut(true)?;
    hosts.is_heard(1, false).await?;
    hosts.is_heard(2, false).await?;
    log_in(&hosts)?;
    let decided = hosts.fleet.server.cli()?.ok(&["instance", "replace-lost"])?;
    ensure!(decided.contains("are replaced now"), "{decided}");
    explained(&hosts, hosts.healthy_on(&[0], 3).await).await
}

// === Ports, clocks

/// A container definition with a fixed host port, that takes its time to stop.
fn with_port(image: &str, port: u16) -> serde_json::Value {
    let mut definition = container(image);
    definition["portMappings"] = json!([{"containerPort": 8080, "hostPort": port}]);
    definition
}

#[tokio::test]
async fn a_fixed_port_is_free_only_once_the_old_task_has_really_stopped() -> Result<()> {
    let hosts = Hosts::start(1).await?;
    // Ignores SIGTERM: it holds its port until it is killed after its stopTimeout.
    let image = hosts.fleet.push("conformance/port", "v1", &Image::shell("trap '' TERM; while :; do sleep 1; done")?).await?;
    let definition = hosts.fleet.register_container("port", with_port(&image, 18_080)).await?;
    let request = json!({"serviceName": "port", "taskDefinition": definition, "desiredCount": 1,
        "deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100}});
    hosts.fleet.ecs("CreateService", &request).await?;
    hosts.healthy_on(&[0], 1).await?;
    let (watch, begun) = (hosts.watch()?, Instant::now());
    let next = hosts.fleet.register_container("port", with_port(&image, 18_080)).await?;
    hosts.fleet.ecs("UpdateService", &json!({"service": "port", "taskDefinition": next})).await?;
    hosts
        .fleet
        .eventually("the roll to end", async || Ok(hosts.fleet.service("port").await?["deployments"][0]["rolloutState"] == "COMPLETED"))
        .await?;
    watch.all_since(begun, "never two with one port", |sample| sample.total() <= 1)?;
    let gap = watch.since(begun).iter().filter(|sample| sample.total() == 0).count();
    println!("nothing ran in {gap} looks, 0.1 s apart");
    let service = hosts.fleet.service("port").await?;
    ensure!(service["deployments"][0]["failedTasks"] == 0, "the port was taken: {}", hosts.explain().await);
    Ok(())
}

#[tokio::test]
async fn a_port_that_something_else_listens_on_is_never_given_to_a_task() -> Result<()> {
    let mut hosts = Hosts::start(0).await?;
    let taken = hosts.engine().await?;
    let mut listener = std::process::Command::new("busybox");
    listener.args(["httpd", "-f", "-p", "18081", "-h", "/"]);
    let mut listener = taken.inside(&listener).spawn()?;
    wait_for("the foreign listener", || async {
        let mut connections = std::process::Command::new("ss");
        connections.args(["-ltn"]);
        let shown = taken.inside(&connections).output().ok()?;
        String::from_utf8_lossy(&shown.stdout).contains(":18081").then_some(())
    })
    .await?;
    hosts.add_engine(taken, &[]).await?;
    hosts.add().await?;
    let image = hosts.fleet.push("conformance/foreign", "v1", &Image::sleeps()?).await?;
    let definition = hosts.fleet.register_container("foreign", with_port(&image, 18_081)).await?;
    hosts.fleet.create_service("foreign", &definition, 2).await?;
    let outcome = explained(&hosts, hosts.healthy_on(&[1], 1).await).await;
    listener.kill()?;
    listener.wait()?;
    outcome?;
    ensure!(hosts.tasks_on(0).await?.is_empty(), "{}", hosts.fleet.state().await?);
    let events = hosts.fleet.events("foreign").await?;
    ensure!(events.iter().any(|event| event.contains("is already using a port required by your task")), "{events:?}");
    ensure!(hosts.fleet.tasks("STOPPED").await?.is_empty(), "{}", hosts.fleet.state().await?);
    Ok(())
}

#[tokio::test]
async fn a_host_whose_clock_is_wrong_is_a_host_like_any_other() -> Result<()> {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    ensure!(std::path::Path::new(library).exists(), "{library} is missing: scripts/docker-engine installs it");
    let mut hosts = Hosts::start(1).await?;
    for offset in ["+26h", "-50m"] {
        let engine = hosts.engine().await?;
        let environment = [("LD_PRELOAD", library), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        hosts.add_engine(engine, &environment).await?;
    }
    hosts.fleet.sleeping_service("web", 3).await?;
    for host in 0..3 {
        explained(&hosts, hosts.healthy_on(&[host], 1).await).await?;
    }
    hosts
        .fleet
        .eventually(
            "the deployment to end",
            async || Ok(hosts.fleet.service("web").await?["deployments"][0]["rolloutState"] == "COMPLETED"),
        )
        .await?;
    let watch = hosts.watch()?;
    explained(&hosts, is_replaced_and_returns(&hosts, &watch, Cut::Both).await).await?;
    for task in hosts.fleet.tasks("RUNNING").await? {
        let (created, started) = (task["createdAt"].as_f64().context("createdAt")?, task["startedAt"].as_f64().context("startedAt")?);
        ensure!((created..created + 120.0).contains(&started), "times of another clock: {task}");
    }
    Ok(())
}
