//! A run in progress: the hosts, the server's background tasks, and what people and fate can do to them.

use crate::arena::Arena;
use crate::host::{FORMER_PLANE, Host};
use crate::kinds::{KINDS, Kind};
use crate::network::{Cut, Lie, Quality};
use crate::oracle::STRANGER;
use crate::server::CONTROL_PLANE;
use crate::template;
use agent::runtime::fake::{FakeDocker, Weather};
use agent::runtime::{LABEL_CONTAINER, LABEL_CONTROL_PLANE, LABEL_TASK};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// The server's background tasks look this often whether they were woken.
const TICK: Duration = Duration::from_millis(100);
/// Every so many ticks they look anyway.
const TICKS_PER_LOOK: u64 = 10;
/// Largest error of a host's clock.
const SKEW_MICROS_MAX: i64 = 3_600_000_000;

pub struct World {
    pub arena: Arc<Arena>,
    pub hosts: Vec<Host>,
    pub random: StdRng,
    /// Names of the services there ever were.
    pub services: Vec<String>,
    pub strangers: BTreeSet<(usize, String)>,
    _background: AbortOnDropHandle<()>,
}

impl World {
    pub fn new(arena: Arc<Arena>, folder: &Path, seed: u64) -> Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        agent::random::seeded::begin(seed);
        let background = AbortOnDropHandle::new(tokio::spawn(background(arena.clone(), StdRng::seed_from_u64(seed ^ 0x7469_636B))));
        let dockers = arena.state().dockers.clone();
        let mut hosts = Vec::new();
        for (at, docker) in dockers.into_iter().enumerate() {
            stock(&docker);
            let skew = if random.random_ratio(1, 3) { random.random_range(-SKEW_MICROS_MAX..=SKEW_MICROS_MAX) } else { 0 };
            let mut host = Host::new(at, docker, folder.join(format!("host-{at}")), skew);
            host.start(&arena)?;
            hosts.push(host);
        }
        Ok(Self { arena, hosts, random, services: Vec::new(), strangers: BTreeSet::new(), _background: background })
    }

    /// Asks the ECS API; what it refuses is part of the game.
    pub fn ecs(&self, operation: &'static str, body: Value) -> bool {
        let shown = format!("{operation} {body}");
        let answer = self.arena.ask(false, move |runtime, machine| runtime.block_on(machine.ecs(operation, &body)));
        let outcome = answer.as_ref().map_or_else(|error| error.chars().take(200).collect::<String>(), |_| "ok".to_owned());
        self.arena.say(&format!("{shown} -> {outcome}"));
        answer.is_ok()
    }

    pub fn kill_server(&self) {
        self.arena.say("the server is killed");
        self.arena.ask(false, |_, machine| machine.kill());
        self.arena.process.fetch_add(1, Ordering::Relaxed);
        self.arena.wake_all();
    }

    pub fn start_server(&self) {
        let started =
            self.arena.ask(false, |runtime, machine| if machine.is_up() { None } else { Some(runtime.block_on(machine.start())) });
        match started {
            Some(Ok(())) => self.arena.say("the server starts"),
            Some(Err(error)) => self.arena.state().oracle.violations.push(format!("the server does not start: {error}")),
            None => {}
        }
    }

    pub fn set_cut(&self, host: usize, cut: Cut) {
        self.arena.say(&format!("host-{host} is cut off: {cut:?}"));
        self.arena.state().cuts[host] = cut;
    }

    pub fn set_quality(&self, quality: Quality) {
        self.arena.say(&format!("the network is {quality:?}"));
        self.arena.state().quality = quality;
    }

    pub fn set_lie(&self, host: usize, lie: Lie) {
        self.arena.state().lies[host] = Some(lie);
    }

    pub fn set_weather(&self, host: usize, weather: Option<Weather>) {
        self.arena.say(&format!("weather on host-{host}: {weather:?}"));
        self.hosts[host].docker.set_weather(weather);
    }

    pub fn start_agent(&mut self, host: usize) -> Result<()> {
        if self.hosts[host].is_up() {
            return Ok(());
        }
        self.arena.say(&format!("the agent of host-{host} starts"));
        self.hosts[host].start(&self.arena)
    }

    pub fn kill_agent(&mut self, host: usize) {
        self.arena.say(&format!("the agent of host-{host} is killed"));
        self.hosts[host].kill(&self.arena);
    }

    /// A container that this control plane has no task for: of its own label, of a former one's, or of a neighbour's.
    pub fn plant(&mut self, host: usize) {
        let plane = [CONTROL_PLANE, FORMER_PLANE, "cp-of-a-neighbour"][self.random.random_range(0..3)];
        let name = format!("{STRANGER}{}", self.strangers.len());
        let task = format!("{:032x}", 0xFEED + self.strangers.len());
        let labels = [(LABEL_CONTROL_PLANE, plane), (LABEL_TASK, task.as_str()), (LABEL_CONTAINER, "main")];
        self.hosts[host].docker.plant(&name, &labels);
        self.strangers.insert((host, name));
        self.arena.say(&format!("a stranger of {plane} runs on host-{host}"));
    }

    /// One of our containers that run there.
    pub fn any_running(&mut self, host: usize) -> Option<String> {
        let running: Vec<String> = self.hosts[host].docker.running().into_iter().filter(|name| !name.starts_with(STRANGER)).collect();
        running.choose(&mut self.random).cloned()
    }

    pub fn any_host(&mut self) -> usize {
        self.random.random_range(0..self.hosts.len())
    }

    pub fn any_service(&mut self) -> Option<String> {
        self.services.choose(&mut self.random).cloned()
    }

    /// The first thing that went against the rules.
    pub fn violation(&self) -> Option<String> {
        self.arena.watch();
        let broken = self.hosts.iter().find(|host| host.has_broken()).map(|host| format!("the agent of host-{} ended by itself", host.at));
        self.arena.state().oracle.violations.first().cloned().or(broken)
    }

    /// Virtual time passes; ends early when something goes against the rules.
    pub async fn pass(&self, time: Duration) -> Result<(), String> {
        tokio::time::sleep(time).await;
        self.violation().map_or(Ok(()), Err)
    }
}

/// The circuit breaker's part of a deployment configuration, where there is one.
pub fn breaker(enable: bool) -> Option<Value> {
    template::get().has_breaker.then(|| json!({"enable": enable, "rollback": enable}))
}

/// Images and conducts of all kinds, as every host finds them.
fn stock(docker: &FakeDocker) {
    for (at, kind) in KINDS.iter().enumerate() {
        let name = Kind::pulled_name(at);
        docker.set_conduct(&name, kind.conduct);
        if !kind.gone {
            docker.publish_image(&name);
        }
    }
}

/// The planner and the lease of the server, at the pace at which it runs them, and no more exact than that.
async fn background(arena: Arc<Arena>, mut random: StdRng) {
    for tick in 1_u64.. {
        tokio::time::sleep(TICK).await;
        let due = tick.is_multiple_of(TICKS_PER_LOOK);
        if due {
            arena.ask(false, |runtime, machine| runtime.block_on(machine.sweep()).map_err(|error| error.to_string())).unwrap_or_default();
        }
        let woken = arena.state().plan_wanted && random.random_ratio(2, 3);
        if !due && !woken {
            continue;
        }
        arena.state().plan_wanted = false;
        let planned = arena.ask(true, |runtime, machine| runtime.block_on(machine.plan()).map_err(|error| error.to_string()));
        match planned {
            Ok(status) if status.changed + status.outdated > 0 => arena.say(&format!("the planner: {status:?}")),
            Ok(_) => {}
            Err(error) => arena.state().oracle.violations.push(format!("the planner failed: {error}")),
        }
    }
}
