//! What people and fate do, one thing after another, by weighted chance.

use crate::kinds::{KINDS, Kind};
use crate::network::{Cut, Lie, Quality};
use crate::world::{self, World};
use agent::runtime::fake::Weather;
use anyhow::Result;
use model::task::DesiredStatus;
use rand::RngExt;
use rand::seq::IndexedRandom;
use serde_json::json;
use std::time::Duration;

/// Most services of one run.
const SERVICES_MAX: usize = 3;
const DESIRED_MAX: i64 = 4;
/// Three tasks that fail one after another, throttled, and the way back.
const UNTIL_ROLLED_BACK: Duration = Duration::from_secs(45);
/// `minimumHealthyPercent` and `maximumPercent`.
const BOUNDS: [(i64, i64); 8] = [(100, 200), (100, 200), (50, 200), (50, 100), (0, 100), (100, 150), (0, 200), (75, 125)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Create,
    Update,
    Crash,
    Scale,
    Force,
    Bounds,
    Delete,
    StopTask,
    RunTask,
    Cut,
    Heal,
    KillAgent,
    StartAgent,
    KillServer,
    StartServer,
    EngineDown,
    EngineSilent,
    EngineBack,
    Weather,
    Network,
    Past,
    Blank,
    Die,
    Vanish,
    Stranger,
    Drain,
    Activate,
    Wait,
}

/// Each with its weight.
const ALL: [(Step, u32); 28] = [
    (Step::Create, 10),
    (Step::Update, 16),
    (Step::Crash, 10),
    (Step::Scale, 8),
    (Step::Force, 3),
    (Step::Bounds, 3),
    (Step::Delete, 1),
    (Step::StopTask, 4),
    (Step::RunTask, 3),
    (Step::Cut, 4),
    (Step::Heal, 6),
    (Step::KillAgent, 6),
    (Step::StartAgent, 8),
    (Step::KillServer, 3),
    (Step::StartServer, 8),
    (Step::EngineDown, 1),
    (Step::EngineSilent, 2),
    (Step::EngineBack, 6),
    (Step::Weather, 4),
    (Step::Network, 4),
    (Step::Past, 3),
    (Step::Blank, 3),
    (Step::Die, 5),
    (Step::Vanish, 1),
    (Step::Stranger, 1),
    (Step::Drain, 2),
    (Step::Activate, 4),
    (Step::Wait, 12),
];

/// Takes one step, and says how long until the next.
pub fn take(world: &mut World) -> Result<Duration> {
    let step = ALL.choose_weighted(&mut world.random, |(_, weight)| *weight).map_or(Step::Wait, |(step, _)| *step);
    let host = world.any_host();
    match step {
        Step::Create => create(world),
        Step::Crash => crash(world),
        Step::Update | Step::Scale | Step::Force | Step::Bounds | Step::Delete => change(world, step),
        Step::StopTask => stop_task(world),
        Step::RunTask => run_task(world),
        Step::Cut => {
            let cut = [Cut::There, Cut::Back, Cut::Both][world.random.random_range(0..3)];
            world.set_cut(host, cut);
        }
        Step::Heal => world.set_cut(host, Cut::None),
        Step::KillAgent => world.kill_agent(host),
        Step::StartAgent => world.start_agent(host)?,
        Step::KillServer => world.kill_server(),
        Step::StartServer => world.start_server(),
        Step::EngineDown | Step::EngineSilent | Step::EngineBack => engine(world, host, step),
        Step::Weather => weather(world, host),
        Step::Network => network(world),
        Step::Past => past(world),
        Step::Blank => world.set_lie(host, Lie::Blank),
        Step::Die | Step::Vanish => die(world, host, step),
        Step::Stranger => world.plant(host),
        Step::Drain | Step::Activate => drain(world, host, step),
        Step::Wait => {}
    }
    Ok(pause(world, step))
}

fn any_kind(world: &mut World) -> usize {
    let usable = |(_, kind): &(usize, &Kind)| !kind.batch;
    let kinds: Vec<(usize, u32)> = KINDS.iter().enumerate().filter(usable).map(|(at, kind)| (at, if kind.good { 6 } else { 2 })).collect();
    kinds.choose_weighted(&mut world.random, |(_, weight)| *weight).map_or(0, |(at, _)| *at)
}

fn configuration(world: &mut World) -> serde_json::Value {
    let (minimum, maximum) = *BOUNDS.choose(&mut world.random).unwrap_or(&(100, 200));
    let mut configuration = json!({"minimumHealthyPercent": minimum, "maximumPercent": maximum});
    let enable = world.random.random_ratio(1, 2);
    if let Some(breaker) = world::breaker(enable) {
        configuration["deploymentCircuitBreaker"] = breaker;
    }
    configuration
}

fn create(world: &mut World) {
    if world.services.len() == SERVICES_MAX {
        return change(world, Step::Update);
    }
    let name = format!("s{}", world.services.len());
    let kind = any_kind(world);
    let strategy = [
        json!([]),
        json!([{"type": "binpack", "field": "memory"}]),
        json!([{"type": "spread", "field": "instanceId"}]),
        json!([{"type": "random"}]),
    ];
    let request = json!({
        "serviceName": name,
        "taskDefinition": Kind::definition_of(kind),
        "desiredCount": world.random.random_range(1..=DESIRED_MAX),
        "deploymentConfiguration": configuration(world),
        "placementStrategy": strategy[world.random.random_range(0..strategy.len())],
    });
    if world.ecs("CreateService", request) {
        world.services.push(name);
    }
}

/// An update that cannot succeed, under a breaker that rolls back.
fn crash(world: &mut World) {
    let Some(service) = world.any_service() else { return };
    let hopeless: Vec<usize> = (0..KINDS.len()).filter(|at| !KINDS[*at].good && !KINDS[*at].batch).collect();
    let kind = *hopeless.choose(&mut world.random).unwrap_or(&0);
    let mut request = json!({"service": service, "taskDefinition": Kind::definition_of(kind)});
    if let Some(breaker) = world::breaker(true) {
        request["deploymentConfiguration"] = json!({"deploymentCircuitBreaker": breaker});
    }
    world.ecs("UpdateService", request);
}

fn change(world: &mut World, step: Step) {
    let Some(service) = world.any_service() else { return };
    let request = match step {
        Step::Update => json!({"service": service, "taskDefinition": Kind::definition_of(any_kind(world))}),
        Step::Scale => json!({"service": service, "desiredCount": world.random.random_range(0..=DESIRED_MAX)}),
        Step::Force => json!({"service": service, "forceNewDeployment": true}),
        Step::Bounds => json!({"service": service, "deploymentConfiguration": configuration(world)}),
        _ => {
            world.ecs("DeleteService", json!({"service": service, "force": true}));
            return;
        }
    };
    world.ecs("UpdateService", request);
}

fn stop_task(world: &mut World) {
    let picture = world.arena.picture();
    let wanted: Vec<_> = picture.tasks.values().filter(|task| task.desired_status == DesiredStatus::Running).collect();
    let Some(task) = wanted.choose(&mut world.random) else { return };
    if let Some(service) = &task.service_id {
        world.arena.state().oracle.disarm(service);
    }
    world.ecs("StopTask", json!({"task": task.id.as_str(), "reason": "a person said so"}));
}

fn run_task(world: &mut World) {
    let batches: Vec<usize> = (0..KINDS.len()).filter(|at| KINDS[*at].batch).collect();
    let kind = batches[world.random.random_range(0..batches.len())];
    let count = world.random.random_range(1..=2);
    world.ecs("RunTask", json!({"taskDefinition": Kind::definition_of(kind), "count": count}));
}

fn engine(world: &mut World, host: usize, step: Step) {
    world.arena.say(&format!("{step:?} on host-{host}"));
    let docker = &world.hosts[host].docker;
    match step {
        Step::EngineDown => docker.set_down(true),
        Step::EngineSilent => docker.set_silent(true),
        _ => docker.set_silent(false),
    }
}

fn weather(world: &mut World, host: usize) {
    let mut chance = |max: u64| world.random.random_range(0..=max);
    let weather = Weather { refused: chance(15), silent: chance(60), late: chance(40), gone: chance(60) };
    let clear = world.random.random_ratio(1, 2);
    world.set_weather(host, (!clear).then_some(weather));
}

fn network(world: &mut World) {
    let mut chance = |max: u32| world.random.random_range(0..=max);
    let quality = Quality { lost: chance(200), doubled: chance(200), slow: chance(150) };
    world.set_quality(quality);
}

/// A new server takes over, and the old one is not quite gone: it may still be heard by a host that it had sent tasks to.
fn past(world: &mut World) {
    let told = world.arena.hosts_with_tasks();
    let Some(host) = told.choose(&mut world.random).copied() else { return };
    world.kill_server();
    world.start_server();
    world.set_lie(host, Lie::Past);
}

fn die(world: &mut World, host: usize, step: Step) {
    let Some(name) = world.any_running(host) else { return };
    world.arena.say(&format!("{step:?}: {name} on host-{host}"));
    let docker = &world.hosts[host].docker;
    if step == Step::Vanish {
        docker.vanish(&name);
    } else {
        let (code, tell) = (world.random.random_range(0..=255), world.random.random_ratio(9, 10));
        docker.kill(&name, code, tell);
    }
}

/// Where the API can drain instances.
fn drain(world: &mut World, host: usize, step: Step) {
    let status = if step == Step::Drain { "DRAINING" } else { "ACTIVE" };
    let instance = world.arena.members[host].instance.as_str().to_owned();
    world.ecs("UpdateContainerInstancesState", json!({"containerInstances": [instance], "status": status}));
}

/// What cannot succeed is now and then left alone until the breaker has seen it.
fn pause(world: &mut World, step: Step) -> Duration {
    if step == Step::Crash && world.random.random_ratio(1, 2) {
        return UNTIL_ROLLED_BACK;
    }
    let longest = [20, 300, 2500, 9000][world.random.random_range(0..4)];
    Duration::from_millis(world.random.random_range(0..=longest))
}
