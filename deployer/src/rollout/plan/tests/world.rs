//! The world of the planner's tests: a service, its hosts and time. What a plan says is done to it, as `apply` and the agents would.

use super::*;

pub(super) const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// A service and the hosts it runs on, small enough to look at.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) observed: Observed,
    pub(super) now: Timestamp,
    pub(super) next_id: u128,
    pub(super) stopped: usize,
    /// INACTIVE deployments.
    pub(super) shelf: Vec<Deployment>,
    /// Revisions whose tasks stop as soon as they start.
    pub(super) bad: BTreeSet<i64>,
}

pub(super) fn definition(revision: i64) -> TaskDefinitionId {
    TaskDefinitionId { family: "web".parse().unwrap(), revision }
}

pub(super) fn deployment(revision: i64, status: DeploymentStatus) -> Deployment {
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

pub(super) fn under_way(target: &Deployment) -> ServiceDeployment {
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

pub(super) fn service(desired: i64, minimum: i64, maximum: i64) -> Service {
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
    pub(super) fn new(desired: i64, minimum: i64, maximum: i64) -> Self {
        let need = Resources { cpu: 100, memory: 100, ports: [].into() };
        let profile = Profile { need, has_health_check: false };
        let observed = Observed {
            service: service(desired, minimum, maximum),
            deployments: vec![deployment(1, DeploymentStatus::Primary)],
            tasks: vec![],
            profiles: BTreeMap::from([(definition(1), profile)]),
            instances: vec![candidate(1, "a", 0), candidate(2, "a", 0), candidate(3, "b", 0)],
            draining: [].into(),
            braked_until: None,
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
    pub(super) fn update(&mut self) {
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

    pub(super) fn census(&self) -> Census<'_> {
        Census::of(&self.observed, &self.observed.primary().unwrap().id, self.now)
    }

    pub(super) fn plan(&mut self) -> Plan {
        self.recount();
        self.observed.way_back = verdict::wants_way_back(&self.observed).then(|| self.way_back()).flatten();
        let plan = plan(&self.observed, self.now);
        for step in &plan.steps {
            self.apply(step);
        }
        plan
    }

    /// The newest COMPLETED deployment that is not the PRIMARY.
    pub(super) fn way_back(&self) -> Option<Deployment> {
        let others = self.observed.deployments.iter().filter(|of| of.status != DeploymentStatus::Primary).chain(&self.shelf);
        others.filter(|of| of.rollout_state == RolloutState::Completed).max_by_key(|of| of.created_at).cloned()
    }

    /// What the store would read of the instances.
    pub(super) fn recount(&mut self) {
        let primary = self.observed.primary().unwrap().id.clone();
        for candidate in &mut self.observed.instances {
            let on = |task: &&ServiceTask| task.instance_id.as_ref() == Some(&candidate.instance.id);
            let tasks: Vec<&ServiceTask> = self.observed.tasks.iter().filter(on).collect();
            let mut held = Resources::default();
            for reserved in tasks.iter().map(|task| &self.observed.profiles[&task.task_definition].need) {
                held.cpu += reserved.cpu;
                held.memory += reserved.memory;
                held.ports.extend(reserved.ports.iter().copied());
            }
            candidate.held = held.into();
            let to_run =
                |task: &&&ServiceTask| task.desired_status == DesiredStatus::Running && task.deployment_id.as_ref() == Some(&primary);
            candidate.of_group = tasks.iter().filter(to_run).count();
        }
    }

    pub(super) fn apply(&mut self, step: &Step) {
        let primary = self.observed.primary().unwrap().clone();
        match step {
            Step::Start { instance } => {
                let id = TaskId::from_random(self.next_id);
                self.next_id += 1;
                self.observed.tasks.push(task(id, &primary, instance.clone(), self.now));
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

    pub(super) fn roll_back(&mut self, to: &DeploymentId) {
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

    pub(super) fn deployments(&mut self, which: impl Fn(&Deployment) -> bool, change: impl Fn(&mut Deployment)) {
        self.observed.deployments.iter_mut().filter(|of| which(of)).for_each(change);
    }

    pub(super) fn count(&mut self, task: &ServiceTask, end: End, now: Timestamp) {
        let ending = backoff::ending(task.healthy_at, end, now, HEALTHY_AFTER);
        self.deployments(|of| Some(&of.id) == task.deployment_id.as_ref(), |of| backoff::count(of, end, ending, now));
    }

    pub(super) fn task(&mut self, id: &TaskId) -> &mut ServiceTask {
        self.observed.tasks.iter_mut().find(|task| task.id == *id).expect("steps name tasks that are there")
    }

    /// The hosts: every task goes one state forward; `limit` tasks at most. Those of bad revisions stop instead of running.
    pub(super) fn progress(&mut self, limit: usize) {
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

    pub(super) fn set_draining(&mut self, host: usize, draining: bool) {
        let instance = Arc::make_mut(&mut self.observed.instances[host].instance);
        instance.status = if draining { InstanceStatus::Draining } else { InstanceStatus::Active };
        self.observed.draining.remove(&instance.id);
        self.observed.draining.extend(draining.then(|| instance.id.clone()));
    }

    pub(super) fn set_heard(&mut self, host: usize, heard: bool) {
        let instance = Arc::make_mut(&mut self.observed.instances[host].instance);
        instance.agent_connected = heard;
        let there = |task: &&mut ServiceTask| task.instance_id.as_ref() == Some(&instance.id);
        self.observed.tasks.iter_mut().filter(there).for_each(|task| task.connected = heard);
    }

    pub(super) fn crash(&mut self, at: usize) {
        if self.observed.tasks.is_empty() {
            return;
        }
        let at = at % self.observed.tasks.len();
        let task = self.observed.tasks.remove(at);
        let end = if task.desired_status == DesiredStatus::Stopped { End::Ordered } else { End::Itself };
        self.count(&task, end, self.now);
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    /// Plans, moves and waits until nothing changes any more.
    pub(super) fn settle(&mut self) {
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

    pub(super) fn is_settled(&self) -> bool {
        let census = self.census();
        let primary = self.observed.primary().unwrap();
        if primary.rollout_state == RolloutState::Failed {
            return census.leaving() == 0 && census.count(|counted| counted.standing == Standing::Starting) == 0;
        }
        let completed = primary.rollout_state == RolloutState::Completed;
        completed && census.primary_healthy() == census.desired && census.tasks.len() == census.desired
    }

    pub(super) fn stops(plan: &Plan) -> usize {
        plan.steps.iter().filter(|step| matches!(step, Step::Stop { .. })).count()
    }

    pub(super) fn starts(plan: &Plan) -> usize {
        plan.steps.iter().filter(|step| matches!(step, Step::Start { .. })).count()
    }
}

pub(super) fn task(id: TaskId, deployment: &Deployment, instance: model::ids::InstanceId, now: Timestamp) -> ServiceTask {
    ServiceTask {
        id,
        deployment_id: Some(deployment.id.clone()),
        task_definition: deployment.task_definition.clone(),
        instance_id: Some(instance),
        desired_status: DesiredStatus::Running,
        last_status: TaskStatus::Pending,
        health_status: HealthStatus::Unknown,
        connected: true,
        created_at: now,
        started_at: None,
        healthy_at: None,
    }
}
