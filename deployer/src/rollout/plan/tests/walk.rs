//! Random walks: whatever happens between two plans, the bounds hold after every plan, and when failures end it converges.

use super::*;
use crate::rollout::census::{max_tasks, min_healthy};
use model::service::{BreakerThreshold, BreakerThresholdType};
use proptest::prelude::*;

/// What may happen between two plans.
#[derive(Debug, Clone)]
enum Happening {
    Progress(usize),
    Wait(u64),
    Crash(usize),
    Unhealthy(usize),
    Scale(i64),
    Update,
    /// To a revision whose tasks stop as soon as they start.
    BadUpdate,
    Stop,
    /// A host begins to drain, or ends it.
    Drain(usize),
    /// A host is not heard any more.
    Lose(usize),
    /// Every host is heard again.
    Find,
    Nothing,
}

/// What people and time do.
fn orderly() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (1..12_usize).prop_map(Happening::Progress),
        3 => (1..15_u64).prop_map(Happening::Wait),
        1 => Just(Happening::Update),
        1 => Just(Happening::BadUpdate),
        1 => Just(Happening::Stop),
        1 => (0..3_usize).prop_map(Happening::Drain),
        2 => Just(Happening::Nothing),
    ]
}

fn anything() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => orderly(),
        1 => (0..12_usize).prop_map(Happening::Crash),
        1 => (0..12_usize).prop_map(Happening::Unhealthy),
        1 => (0..7_i64).prop_map(Happening::Scale),
        1 => (0..3_usize).prop_map(Happening::Lose),
        1 => Just(Happening::Find),
    ]
}

/// Bounds that can make progress for every desired count that may come up.
fn bounds() -> impl Strategy<Value = (i64, i64, i64)> {
    (1..7_i64, prop_oneof![Just((100, 200)), Just((50, 200)), Just((0, 100)), Just((0, 200)), Just((100, 300)), Just((0, 150))])
        .prop_map(|(desired, (minimum, maximum))| (desired, minimum, maximum))
}

fn breakers() -> impl Strategy<Value = CircuitBreaker> {
    use BreakerThresholdType::{BoundedPercent, Count, UnboundedPercent};
    let threshold = prop_oneof![Just((BoundedPercent, 50)), Just((UnboundedPercent, 50)), Just((Count, 1)), Just((Count, 4))];
    (any::<bool>(), any::<bool>(), any::<bool>(), threshold).prop_map(|(enable, rollback, reset_on_healthy_task, (kind, value))| {
        CircuitBreaker { enable, rollback, reset_on_healthy_task, threshold: BreakerThreshold { kind, value } }
    })
}

/// Each host has room for all; a fixed port makes hosts of which each takes one task.
fn world((desired, minimum, maximum): (i64, i64, i64), breaker: CircuitBreaker, port: bool) -> World {
    let mut world = World::new(desired, minimum, maximum);
    world.observed.service.circuit_breaker = breaker;
    if port {
        let zones = (4..22).map(|number| candidate(number, "c", 0));
        world.observed.instances.extend(zones);
        world.observed.profiles.get_mut(&definition(1)).unwrap().need.ports = [(Protocol::Tcp, 80)].into();
    }
    world
}

impl World {
    fn happen(&mut self, happening: &Happening) {
        let count = self.observed.tasks.len();
        match happening {
            Happening::Progress(limit) => self.progress(*limit),
            Happening::Wait(secs) => self.advance(Duration::from_secs(*secs)),
            Happening::Crash(at) => self.crash(*at),
            Happening::Unhealthy(at) => {
                if count > 0 && self.observed.tasks[at % count].last_status == TaskStatus::Running {
                    self.observed.tasks[at % count].health_status = HealthStatus::Unhealthy;
                }
            }
            Happening::Scale(count) => self.observed.service.desired_count = *count,
            Happening::Update => self.update(),
            Happening::BadUpdate => {
                self.update();
                self.bad.insert(self.observed.service.task_definition.revision);
            }
            Happening::Stop => self.ask_to_stop(),
            Happening::Drain(host) => {
                let draining = self.observed.draining.contains(&self.observed.instances[*host].instance.id);
                self.set_draining(*host, !draining);
            }
            Happening::Lose(host) => self.set_heard(*host, false),
            Happening::Find => (0..3).for_each(|host| self.set_heard(host, true)),
            Happening::Nothing => {}
        }
    }

    /// As StopServiceDeployment checks it.
    fn ask_to_stop(&mut self) {
        let back = self.way_back().is_some();
        let going =
            |of: &&mut ServiceDeployment| matches!(of.status, ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress);
        if let Some(of) = self.observed.under_way.as_mut().filter(|_| back).filter(going) {
            of.status = ServiceDeploymentStatus::RollbackRequested;
        }
    }

    /// What tasks hold of each host is what it has, and no port is held twice.
    fn is_overcommitted(&self) -> bool {
        self.observed.instances.iter().any(|candidate| {
            let on = |task: &&ServiceTask| task.instance_id.as_ref() == Some(&candidate.instance.id);
            let tasks: Vec<&ServiceTask> = self.observed.tasks.iter().filter(on).collect();
            let reserved: Vec<_> = tasks.iter().map(|task| &self.observed.profiles[&task.task_definition].need).collect();
            let memory: i64 = reserved.iter().map(|reserved| reserved.memory).sum();
            let ports: Vec<_> = reserved.iter().flat_map(|reserved| reserved.ports.iter()).collect();
            let distinct: BTreeSet<_> = ports.iter().collect();
            memory > candidate.instance.registered.memory || distinct.len() < ports.len()
        })
    }

    /// Deployments of the tasks that are there.
    fn tasks_of(&self, id: &DeploymentId) -> usize {
        self.observed.tasks.iter().filter(|task| task.deployment_id.as_ref() == Some(id)).count()
    }

    /// Plans once and checks what must hold after any plan.
    fn checked_plan(&mut self) -> Result<Plan, TestCaseError> {
        let (healthy, occupying) = (self.census().healthy(), self.census().occupying());
        let before: Vec<_> = self.observed.deployments.iter().map(|of| (of.id.clone(), of.rollout_state, self.tasks_of(&of.id))).collect();
        let primary = self.observed.primary().unwrap().id.clone();
        let plan = self.plan();
        let service = &self.observed.service;
        let least = min_healthy(service.desired_count, service.minimum_healthy_percent);
        let most = max_tasks(service.desired_count, service.maximum_percent);
        let census = self.census();
        prop_assert!(census.occupying() <= most.max(occupying), "more than max tasks: {plan:?}");
        prop_assert!(census.healthy() >= least.min(healthy), "own stops took healthy tasks below the minimum: {plan:?}");
        prop_assert!(!self.is_overcommitted(), "{plan:?}");
        for (id, state, tasks) in before {
            let may_start = id == primary && state != RolloutState::Failed;
            prop_assert!(may_start || self.tasks_of(&id) <= tasks, "a superseded or failed deployment got a task: {plan:?}");
        }
        let primaries = self.observed.deployments.iter().filter(|of| of.status == DeploymentStatus::Primary).count();
        prop_assert_eq!(primaries, 1);
        Ok(plan)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_bounds_hold_after_every_plan_and_it_converges(
        bounds in bounds(), breaker in breakers(), port in any::<bool>(), happenings in proptest::collection::vec(anything(), 0..60)
    ) {
        let mut world = world(bounds, breaker, port);
        for happening in &happenings {
            world.happen(happening);
            let plan = world.checked_plan()?;
            let changes_primary = plan.steps.iter().any(|step| matches!(step, Step::RollBack { .. } | Step::Fail { .. }));
            // The same picture, once acted on, asks for nothing more in the same moment but what the acting itself uncovered.
            let again = world.checked_plan()?;
            prop_assert!(changes_primary || World::starts(&again) == 0, "starts are not wanted twice: {plan:?} then {again:?}");
        }
        // Failures end. What has failed for good stays so until somebody updates.
        world.bad.clear();
        world.happen(&Happening::Find);
        (0..3).for_each(|host| world.set_draining(host, false));
        world.settle();
        if world.observed.deployments[0].rollout_state == RolloutState::Failed {
            world.update();
            world.settle();
        }
        let revision = world.observed.service.task_definition.revision;
        prop_assert!(world.observed.tasks.iter().all(|task| task.task_definition.revision == revision));
        prop_assert_eq!(world.observed.deployments.len(), 1);
        prop_assert_eq!(world.observed.deployments[0].rollout_state, RolloutState::Completed);
    }

    #[test]
    fn updates_good_and_bad_never_take_healthy_tasks_below_the_minimum(
        bounds in bounds(), breaker in breakers(), port in any::<bool>(), happenings in proptest::collection::vec(orderly(), 0..80)
    ) {
        let mut world = world(bounds, breaker, port);
        world.settle();
        let least = min_healthy(bounds.0, bounds.1);
        for happening in &happenings {
            world.happen(happening);
            prop_assert!(world.census().healthy() >= least, "{:?} below {least}", world.census().healthy());
            world.checked_plan()?;
            prop_assert!(world.census().healthy() >= least, "{:?} below {least}", world.census().healthy());
        }
    }
}
