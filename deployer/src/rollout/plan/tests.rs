//! The planner by table: a fake host moves tasks forward, the plan is applied, time passes. Failed deployments are in `rollback`,
//! random worlds in `walk`.

mod rollback;
mod walk;

use super::*;
use crate::placement::tests::candidate;
use crate::rollout::backoff::{self, End};
use crate::rollout::observed::Profile;
use model::ids::{ClusterName, DeploymentId, ServiceDeploymentId, TaskDefinitionId};
use model::instance::{Protocol, Resources};
use model::service::{
    BreakerStatus, Cause, CauseKind, CircuitBreaker, DeploymentStatus, Service, ServiceDeployment, ServiceDeploymentStatus,
};
use model::task::{DesiredStatus, HealthStatus, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// A service and the hosts it runs on, small enough to look at.
#[derive(Debug, Clone)]
struct World {
    observed: Observed,
    now: Timestamp,
    next_id: u128,
    stopped: usize,
    /// INACTIVE deployments.
    shelf: Vec<Deployment>,
    /// Revisions whose tasks stop as soon as they start.
    bad: BTreeSet<i64>,
}

fn definition(revision: i64) -> TaskDefinitionId {
    TaskDefinitionId { family: "web".parse().unwrap(), revision }
}

fn deployment(revision: i64, status: DeploymentStatus) -> Deployment {
    Deployment {
        id: DeploymentId(format!("{revision}")),
        service_id: "s".into(),
        status,
        task_definition: definition(revision),
        images: BTreeMap::new(),
        rollout_state: RolloutState::InProgress,
        rollout_state_reason: String::new(),
        principal: None,
        failed_tasks: 0,
        breaker_failures: 0,
        breaker_consecutive: 0,
        consecutive_failures: 0,
        not_before: Timestamp::default(),
        created_at: Timestamp::from_secs(revision),
        updated_at: Timestamp::from_secs(revision),
    }
}

fn under_way(target: &Deployment) -> ServiceDeployment {
    ServiceDeployment {
        id: ServiceDeploymentId::from_random(1),
        service_id: "s".into(),
        target: target.id.clone(),
        sources: vec![],
        from: None,
        to: target.task_definition.clone(),
        cause: Cause::asked(CauseKind::Update, "user:admin".parse().unwrap()),
        status: ServiceDeploymentStatus::Pending,
        status_reason: String::new(),
        breaker_status: BreakerStatus::Monitoring,
        breaker_failures: 0,
        breaker_threshold: 0,
        rollback: None,
        created_at: target.created_at,
        started_at: None,
        finished_at: None,
        stopped_at: None,
        updated_at: target.created_at,
    }
}

fn service(desired: i64, minimum: i64, maximum: i64) -> Service {
    Service {
        id: "s".into(),
        cluster: ClusterName::default_cluster(),
        name: "web".parse().unwrap(),
        status: ServiceStatus::Active,
        desired_count: desired,
        task_definition: definition(1),
        minimum_healthy_percent: minimum,
        maximum_percent: maximum,
        placement_strategy: vec![],
        placement_constraints: vec![],
        health_check_grace_period_secs: 0,
        circuit_breaker: CircuitBreaker::default(),
        principal: "user:admin".parse().unwrap(),
        client_token: None,
        tags: vec![],
        client_settings: model::service::ServiceSettings::default(),
        version: 1,
        created_at: Timestamp::default(),
    }
}

impl World {
    fn new(desired: i64, minimum: i64, maximum: i64) -> Self {
        let need = Resources { cpu: 100, memory: 100, ports: [].into() };
        let profile = Profile { need, has_health_check: false };
        let observed = Observed {
            service: service(desired, minimum, maximum),
            deployments: vec![deployment(1, DeploymentStatus::Primary)],
            tasks: vec![],
            profiles: BTreeMap::from([(definition(1), profile)]),
            instances: vec![candidate(1, "a", 0), candidate(2, "a", 0), candidate(3, "b", 0)],
            missing_grant: None,
            under_way: None,
            way_back: None,
            recent_events: vec![],
            healthy_after: HEALTHY_AFTER,
            random: 3,
        };
        Self { observed, now: Timestamp::from_secs(1000), next_id: 1, stopped: 0, shelf: vec![], bad: BTreeSet::new() }
    }

    /// Starts a new PRIMARY, as UpdateService does.
    fn update(&mut self) {
        let revisions = self.observed.deployments.iter().chain(&self.shelf).map(|of| of.task_definition.revision);
        let revision = revisions.max().unwrap() + 1;
        for deployment in &mut self.observed.deployments {
            deployment.status = DeploymentStatus::Active;
        }
        self.observed.deployments.insert(0, deployment(revision, DeploymentStatus::Primary));
        self.observed.under_way = Some(under_way(&self.observed.deployments[0]));
        let profile = self.observed.profiles[&definition(revision - 1)].clone();
        self.observed.profiles.insert(definition(revision), profile);
        self.observed.service.task_definition = definition(revision);
    }

    fn census(&self) -> Census<'_> {
        Census::of(&self.observed, &self.observed.primary().unwrap().id, self.now)
    }

    fn plan(&mut self) -> Plan {
        self.recount();
        self.observed.way_back = verdict::wants_way_back(&self.observed).then(|| self.way_back()).flatten();
        let plan = plan(&self.observed, self.now);
        for step in &plan.steps {
            self.apply(step);
        }
        plan
    }

    /// The newest COMPLETED deployment that is not the PRIMARY.
    fn way_back(&self) -> Option<Deployment> {
        let others = self.observed.deployments.iter().filter(|of| of.status != DeploymentStatus::Primary).chain(&self.shelf);
        others.filter(|of| of.rollout_state == RolloutState::Completed).max_by_key(|of| of.created_at).cloned()
    }

    /// What the store would read of the instances.
    fn recount(&mut self) {
        let primary = self.observed.primary().unwrap().id.clone();
        for candidate in &mut self.observed.instances {
            let on = |task: &&Task| task.instance_id.as_ref() == Some(&candidate.instance.id);
            let tasks: Vec<&Task> = self.observed.tasks.iter().filter(on).collect();
            candidate.held = Resources::default();
            for task in &tasks {
                candidate.held.cpu += task.reserved.cpu;
                candidate.held.memory += task.reserved.memory;
                candidate.held.ports.extend(task.reserved.ports.iter().copied());
            }
            let to_run = |task: &&&Task| task.desired_status == DesiredStatus::Running && task.deployment_id.as_ref() == Some(&primary);
            candidate.of_group = tasks.iter().filter(to_run).count();
        }
    }

    fn apply(&mut self, step: &Step) {
        let primary = self.observed.primary().unwrap().clone();
        match step {
            Step::Start { instance } => {
                let need = self.observed.profiles[&primary.task_definition].need.clone();
                let id = TaskId::from_random(self.next_id);
                self.next_id += 1;
                self.observed.tasks.push(task(id, &primary, instance.clone(), need, self.now));
            }
            Step::Stop { task, reason, .. } => {
                let now = self.now;
                let task = self.task(task);
                assert_eq!(task.desired_status, DesiredStatus::Running, "a task is stopped once");
                assert!(task.last_status <= TaskStatus::Running, "what leaves by itself is not stopped");
                task.desired_status = DesiredStatus::Stopped;
                if reason == words::UNHEALTHY {
                    let task = task.clone();
                    self.count(&task, End::Unhealthy, now);
                }
            }
            Step::Healthy { task } => {
                let now = self.now;
                let task = self.task(task);
                assert_eq!(task.desired_status, DesiredStatus::Running, "what leaves becomes nothing any more");
                task.healthy_at = Some(now);
                let id = task.deployment_id.clone();
                self.deployments(|of| Some(&of.id) == id.as_ref(), |of| of.breaker_consecutive = 0);
            }
            Step::Begin => self.observed.under_way.as_mut().unwrap().status = ServiceDeploymentStatus::InProgress,
            Step::Complete => {
                self.shelf.extend(self.observed.deployments.drain(1..));
                self.observed.deployments[0].rollout_state = RolloutState::Completed;
                self.observed.under_way = None;
            }
            Step::Fail { .. } => {
                self.observed.deployments[0].rollout_state = RolloutState::Failed;
                self.observed.under_way = None;
            }
            Step::RollBack { to, .. } => self.roll_back(to),
            Step::Retire { deployment } => {
                let at = self.observed.deployments.iter().position(|of| of.id == *deployment).unwrap();
                self.shelf.push(self.observed.deployments.remove(at));
            }
            Step::Say { message } => {
                let message = words::of_service(&self.observed.service.name, message);
                self.observed.recent_events.insert(0, message);
            }
            Step::ResetFailures => self.observed.deployments[0].consecutive_failures = 0,
            Step::Refuse { .. } => {}
            Step::Deactivate => self.observed.service.status = ServiceStatus::Inactive,
        }
    }

    fn roll_back(&mut self, to: &DeploymentId) {
        let mut all: Vec<Deployment> = self.observed.deployments.drain(..).collect();
        (all[0].status, all[0].rollout_state) = (DeploymentStatus::Active, RolloutState::Failed);
        all.append(&mut self.shelf);
        let at = all.iter().position(|of| of.id == *to).unwrap();
        let mut back = all.remove(at);
        (back.status, back.rollout_state, back.not_before) = (DeploymentStatus::Primary, RolloutState::InProgress, self.now);
        (back.breaker_failures, back.breaker_consecutive, back.consecutive_failures) = (0, 0, 0);
        self.observed.service.task_definition = back.task_definition.clone();
        let listed = |of: &Deployment| of.status == DeploymentStatus::Active;
        (self.observed.deployments, self.shelf) = all.into_iter().partition(listed);
        self.observed.deployments.insert(0, back);
        if let Some(of) = &mut self.observed.under_way {
            of.status = ServiceDeploymentStatus::RollbackInProgress;
        }
    }

    fn deployments(&mut self, which: impl Fn(&Deployment) -> bool, change: impl Fn(&mut Deployment)) {
        self.observed.deployments.iter_mut().filter(|of| which(of)).for_each(change);
    }

    fn count(&mut self, task: &Task, end: End, now: Timestamp) {
        let ending = backoff::ending(task, end, now, HEALTHY_AFTER);
        self.deployments(|of| Some(&of.id) == task.deployment_id.as_ref(), |of| backoff::count(of, end, ending, now));
    }

    fn task(&mut self, id: &TaskId) -> &mut Task {
        self.observed.tasks.iter_mut().find(|task| task.id == *id).expect("steps name tasks that are there")
    }

    /// The hosts: every task goes one state forward; `limit` tasks at most. Those of bad revisions stop instead of running.
    fn progress(&mut self, limit: usize) {
        let now = self.now;
        let mut failed = Vec::new();
        for task in self.observed.tasks.iter_mut().filter(|task| task.connected).take(limit) {
            if self.bad.contains(&task.task_definition.revision) && task.desired_status == DesiredStatus::Running {
                failed.push(task.clone());
                continue;
            }
            let next = match (task.last_status, task.desired_status) {
                (TaskStatus::Pending | TaskStatus::Running, DesiredStatus::Running) => TaskStatus::Running,
                (TaskStatus::Stopping, _) => TaskStatus::Stopped,
                (_, DesiredStatus::Stopped) => TaskStatus::Stopping,
                (other, _) => other,
            };
            if next == TaskStatus::Running && task.started_at.is_none() {
                task.started_at = Some(now);
            }
            task.last_status = next;
        }
        for task in failed {
            self.observed.tasks.retain(|other| other.id != task.id);
            self.count(&task, End::Itself, now);
        }
        let before = self.observed.tasks.len();
        self.observed.tasks.retain(|task| task.last_status < TaskStatus::Stopped);
        self.stopped += before - self.observed.tasks.len();
    }

    fn crash(&mut self, at: usize) {
        if self.observed.tasks.is_empty() {
            return;
        }
        let at = at % self.observed.tasks.len();
        let task = self.observed.tasks.remove(at);
        let end = if task.desired_status == DesiredStatus::Stopped { End::Ordered } else { End::Itself };
        self.count(&task, end, self.now);
    }

    fn advance(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    /// Plans, moves and waits until nothing changes any more.
    fn settle(&mut self) {
        for _ in 0..400 {
            let steps = self.plan().steps;
            self.progress(usize::MAX);
            self.advance(Duration::from_secs(2));
            if steps.is_empty() && self.is_settled() {
                return;
            }
        }
        panic!("does not converge: {:#?}", self.observed);
    }

    fn is_settled(&self) -> bool {
        let census = self.census();
        let primary = self.observed.primary().unwrap();
        if primary.rollout_state == RolloutState::Failed {
            return census.leaving() == 0 && census.count(|counted| counted.standing == Standing::Starting) == 0;
        }
        let completed = primary.rollout_state == RolloutState::Completed;
        completed && census.primary_healthy() == census.desired && census.tasks.len() == census.desired
    }

    fn stops(plan: &Plan) -> usize {
        plan.steps.iter().filter(|step| matches!(step, Step::Stop { .. })).count()
    }

    fn starts(plan: &Plan) -> usize {
        plan.steps.iter().filter(|step| matches!(step, Step::Start { .. })).count()
    }
}

fn task(id: TaskId, deployment: &Deployment, instance: model::ids::InstanceId, reserved: Resources, now: Timestamp) -> Task {
    Task {
        id,
        cluster: ClusterName::default_cluster(),
        service_id: Some("s".into()),
        deployment_id: Some(deployment.id.clone()),
        task_definition: deployment.task_definition.clone(),
        group: "service:web".into(),
        started_by: None,
        instance_id: Some(instance),
        reserved,
        overrides: vec![],
        images: BTreeMap::new(),
        principal: "user:admin".parse().unwrap(),
        client_token: None,
        tags: vec![],
        desired_status: DesiredStatus::Running,
        stop_code: None,
        stopped_reason: None,
        last_status: TaskStatus::Pending,
        health_status: HealthStatus::Unknown,
        containers: vec![],
        report_sequence: 0,
        connected: true,
        version: 1,
        created_at: now,
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        stopped_at: None,
        healthy_at: None,
    }
}

#[test]
fn a_new_service_starts_all_its_tasks_spread_out_and_completes_when_they_are_healthy() {
    let mut world = World::new(3, 100, 200);
    assert_eq!(World::starts(&world.plan()), 3);
    let mut instances: Vec<_> = world.observed.tasks.iter().map(|task| task.instance_id.clone()).collect();
    instances.sort();
    instances.dedup();
    assert_eq!(instances.len(), 3);
    world.progress(usize::MAX);
    let plan = world.plan();
    assert!(plan.steps.is_empty(), "running is not healthy yet: {plan:?}");
    assert_eq!(plan.again_at, Some(world.now.plus(HEALTHY_AFTER)));
    world.advance(HEALTHY_AFTER);
    let plan = world.plan();
    assert!(plan.steps.contains(&Step::Complete));
    assert_eq!(plan.steps.last(), Some(&Step::Say { message: words::STEADY.into() }));
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn a_roll_starts_what_fits_and_stops_old_tasks_only_for_healthy_new_ones() {
    let mut world = World::new(3, 100, 200);
    world.settle();
    world.update();
    let plan = world.plan();
    assert_eq!((World::starts(&plan), World::stops(&plan)), (3, 0));
    world.progress(4);
    world.advance(HEALTHY_AFTER);
    let plan = world.plan();
    assert_eq!((World::starts(&plan), World::stops(&plan)), (0, 1), "one new task is up, one old may go");
    world.settle();
    assert_eq!(world.observed.deployments.len(), 1);
    assert!(world.observed.tasks.iter().all(|task| task.task_definition.revision == 2));
}

#[test]
fn where_the_maximum_blocks_the_minimum_says_how_many_old_tasks_go_first() {
    // d=3 at 125 %: floor(3.75) = 3 leaves no room for a fourth.
    for (desired, minimum, maximum, stops) in
        [(4, 50, 100, 2), (2, 75, 100, 0), (4, 0, 100, 4), (1, 0, 100, 1), (1, 100, 150, 0), (3, 100, 125, 0)]
    {
        let mut world = World::new(desired, minimum, maximum);
        world.settle();
        world.update();
        let plan = world.plan();
        assert_eq!((World::starts(&plan), World::stops(&plan)), (0, stops), "{desired} {minimum} {maximum}");
        let stuck = plan.steps.contains(&Step::Say { message: words::STUCK.into() });
        assert_eq!(stuck, stops == 0);
        if stuck {
            assert!(world.plan().steps.is_empty(), "said once");
        }
    }
}

#[test]
fn a_stopped_task_is_replaced_at_once_and_a_failed_one_after_a_wait() {
    let mut world = World::new(2, 100, 200);
    world.settle();
    world.advance(HEALTHY_AFTER);
    world.crash(0);
    assert_eq!(World::starts(&world.plan()), 1);
    world.crash(1);
    let plan = world.plan();
    assert_eq!(World::starts(&plan), 0);
    assert_eq!(plan.again_at, Some(world.now.plus(Duration::from_millis(500))));
    world.advance(Duration::from_millis(500));
    assert_eq!(World::starts(&world.plan()), 1);
}

#[test]
fn an_unhealthy_task_stops_when_its_replacement_is_there() {
    let mut world = World::new(2, 100, 200);
    world.settle();
    world.observed.tasks[0].health_status = HealthStatus::Unhealthy;
    let plan = world.plan();
    assert_eq!((World::starts(&plan), World::stops(&plan)), (1, 0));
    world.progress(usize::MAX);
    let plan = world.plan();
    assert_eq!(World::stops(&plan), 0, "a replacement that is not healthy replaces nothing");
    world.advance(HEALTHY_AFTER);
    let plan = world.plan();
    let Some(reason) = plan.steps.iter().find_map(|step| if let Step::Stop { reason, .. } = step { Some(reason) } else { None }) else {
        panic!("{plan:?}")
    };
    assert_eq!(reason, words::UNHEALTHY);
    assert_eq!(World::stops(&plan), 1);
}

#[test]
fn of_two_that_are_unhealthy_one_goes_when_the_replacement_is_unhealthy_too() {
    let mut world = World::new(1, 100, 200);
    world.settle();
    world.observed.tasks[0].health_status = HealthStatus::Unhealthy;
    assert_eq!(World::starts(&world.plan()), 1);
    world.progress(usize::MAX);
    world.observed.tasks[1].health_status = HealthStatus::Unhealthy;
    assert_eq!(World::stops(&world.plan()), 1);
}

#[test]
fn unhealthy_tasks_go_one_at_a_time_where_nothing_may_start_beside_them() {
    let mut world = World::new(4, 50, 100);
    world.settle();
    world.observed.tasks.iter_mut().for_each(|task| task.health_status = HealthStatus::Unhealthy);
    assert_eq!(World::stops(&world.plan()), 1);
    assert_eq!(World::stops(&world.plan()), 0, "the one before is still leaving");
    world.settle();
    assert_eq!(world.observed.tasks.len(), 4);
}

#[test]
fn an_unhealthy_task_goes_first_where_nothing_may_start_beside_it() {
    let mut world = World::new(1, 100, 100);
    world.settle();
    world.observed.tasks[0].health_status = HealthStatus::Unhealthy;
    assert_eq!(World::stops(&world.plan()), 1);
}

#[test]
fn the_grace_period_ignores_unhealthy_verdicts() {
    let mut world = World::new(1, 100, 200);
    world.observed.service.health_check_grace_period_secs = 60;
    world.plan();
    world.progress(1);
    world.observed.tasks[0].health_status = HealthStatus::Unhealthy;
    let plan = world.plan();
    assert_eq!((plan.steps, plan.again_at), (vec![], Some(world.now.plus(Duration::from_mins(1)))));
    world.advance(Duration::from_mins(1));
    assert_eq!(World::starts(&world.plan()), 1);
}

#[test]
fn a_revoked_grant_starts_nothing_and_is_said_once() {
    let mut world = World::new(1, 100, 200);
    world.observed.missing_grant = Some("no grant gives pull".into());
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 2);
    assert!(matches!(&plan.steps[0], Step::Refuse { reason } if reason == "no grant gives pull"));
    let plan = world.plan();
    assert_eq!((plan.steps, plan.again_at), (vec![], Some(world.now)));
}

#[test]
fn a_task_that_fits_nowhere_is_explained_once() {
    let mut world = World::new(1, 100, 200);
    world.observed.profiles.get_mut(&definition(1)).unwrap().need.memory = 1_000_000;
    let plan = world.plan();
    let [Step::Say { message }] = &plan.steps[..] else { panic!("{plan:?}") };
    assert!(message.contains("Insufficient memory on 3 of 3 instances"), "{message}");
    let plan = world.plan();
    assert_eq!((plan.steps, plan.again_at), (vec![], Some(world.now)));
}

#[test]
fn a_fixed_port_waits_for_the_old_task_without_complaint() {
    let mut world = World::new(1, 0, 100);
    world.observed.instances.truncate(1);
    world.observed.profiles.get_mut(&definition(1)).unwrap().need.ports = [(Protocol::Tcp, 80)].into();
    world.settle();
    world.update();
    world.observed.recent_events.clear();
    world.settle();
    assert!(world.observed.recent_events.iter().all(|event| !event.contains("unable")), "{:?}", world.observed.recent_events);
}

#[test]
fn tasks_of_a_lost_host_are_replaced_and_stopped_when_it_returns() {
    let mut world = World::new(3, 100, 200);
    world.settle();
    let host = world.observed.instances[0].instance.id.clone();
    std::sync::Arc::make_mut(&mut world.observed.instances[0].instance).agent_connected = false;
    for task in world.observed.tasks.iter_mut().filter(|task| task.instance_id.as_ref() == Some(&host)) {
        task.connected = false;
    }
    assert_eq!(World::starts(&world.plan()), 1);
    world.progress(usize::MAX);
    world.advance(HEALTHY_AFTER);
    let plan = world.plan();
    assert_eq!(World::stops(&plan), 1);
    world.observed.tasks.iter_mut().for_each(|task| task.connected = true);
    world.settle();
    assert_eq!(world.observed.tasks.len(), 3);
}

#[test]
fn a_deleted_service_stops_everything_and_becomes_inactive() {
    let mut world = World::new(3, 100, 200);
    world.settle();
    world.observed.service.status = ServiceStatus::Draining;
    assert_eq!(World::stops(&world.plan()), 3);
    world.progress(usize::MAX);
    assert!(world.plan().steps.is_empty());
    world.progress(usize::MAX);
    assert_eq!(world.plan().steps, [Step::Deactivate]);
    assert!(world.plan().steps.is_empty());
}

#[test]
fn scaling_in_keeps_the_zones_even() {
    let mut world = World::new(6, 100, 200);
    world.settle();
    world.observed.service.desired_count = 2;
    world.settle();
    let zones = |world: &World, zone: &str| {
        let on = |task: &&Task| {
            world.observed.instances.iter().any(|c| c.instance.zone() == zone && Some(&c.instance.id) == task.instance_id.as_ref())
        };
        world.observed.tasks.iter().filter(on).count()
    };
    assert_eq!((zones(&world, "a"), zones(&world, "b")), (1, 1));
}
