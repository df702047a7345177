//! What always holds, checked after every step. Counts for itself: nothing here calls the code that it judges.
//!
//! `rows` looks at how rows change, `plans` at what one look of the planner did, `engines` at what was done to containers, `end` at
//! what is left when everything is quiet. A violation is a sentence; the first one ends the run.

mod census;
mod end;
mod engines;
mod plans;
mod rows;

use crate::picture::Picture;
use agent::runtime::fake::FakeDocker;
use census::healthy;
pub use engines::STRANGER;
use model::Timestamp;
use model::ids::{DeploymentId, InstanceId, TaskId};
use model::service::{RolloutState, Service, ServiceStatus};
use model::task::{DesiredStatus, HealthStatus, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that was seen, and every sentence.
pub struct Oracle {
    pub picture: Picture,
    hosts: Vec<InstanceId>,
    /// Entries of each engine's journal that were looked at.
    seen: Vec<usize>,
    /// Tasks whose stop was ordered of their agent.
    stop_sent: BTreeSet<TaskId>,
    /// When an agent was told that a task is settled.
    settled: BTreeMap<TaskId, Timestamp>,
    /// Tasks of which a container ended though nobody ordered it.
    disturbed: BTreeSet<TaskId>,
    /// How often a container was made and started, by host and name.
    made: BTreeMap<(usize, String), u32>,
    /// Tasks by the part of their id that container names carry.
    by_name: BTreeMap<String, TaskId>,
    /// Services that were whole and that nothing has happened to since: they stay above their minimum.
    armed: BTreeSet<String>,
    /// Deployments that the planner went back to, until they are COMPLETED again.
    rollbacks: BTreeSet<DeploymentId>,
    pub violations: Vec<String>,
    /// How much was judged, to see that it is not nothing.
    pub counts: Counts,
}

/// How often each thing happened that a run is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub plans: u64,
    pub started: u64,
    pub stopped: u64,
    pub completed: u64,
    pub armed: u64,
    pub failed: u64,
    pub rolled_back: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.plans += other.plans;
        self.started += other.started;
        self.stopped += other.stopped;
        self.completed += other.completed;
        self.armed += other.armed;
        self.failed += other.failed;
        self.rolled_back += other.rolled_back;
    }
}

impl Oracle {
    pub fn new(hosts: Vec<InstanceId>) -> Self {
        Self {
            picture: Picture::default(),
            seen: vec![0; hosts.len()],
            hosts,
            stop_sent: BTreeSet::new(),
            settled: BTreeMap::new(),
            disturbed: BTreeSet::new(),
            made: BTreeMap::new(),
            by_name: BTreeMap::new(),
            armed: BTreeSet::new(),
            rollbacks: BTreeSet::new(),
            violations: Vec::new(),
            counts: Counts::default(),
        }
    }

    fn object(&mut self, sentence: String) {
        self.violations.push(sentence);
    }

    /// An answer is on its way to an agent: these tasks are to stop, these are settled.
    pub fn told(&mut self, stops: &[TaskId], settled: &[TaskId], now: Timestamp) {
        self.stop_sent.extend(stops.iter().cloned());
        for task in settled {
            self.settled.entry(task.clone()).or_insert(now);
        }
    }

    /// Somebody means to disturb a service, or to change what it should be.
    pub fn disarm(&mut self, service: &str) {
        self.armed.remove(service);
    }

    /// What an engine did since the last look; the lines say it.
    /// `failed`: whether the agent says that it could not bring a task up.
    pub fn see(&mut self, host: usize, docker: &FakeDocker, failed: impl Fn(&TaskId) -> bool, now: Timestamp) -> Vec<String> {
        let deeds = docker.journal_since(self.seen[host]);
        self.seen[host] += deeds.len();
        for deed in &deeds {
            self.judge_deed(host, deed, &failed, now);
        }
        deeds.iter().map(|deed| format!("host-{host} {deed:?}")).collect()
    }

    /// The database as it is now; the lines say what changed.
    pub fn take(&mut self, after: &Picture, planned: bool, now: Timestamp) -> Vec<String> {
        for id in after.tasks.keys() {
            let part: String = id.as_str().chars().take(12).collect();
            self.by_name.entry(part).or_insert_with(|| id.clone());
        }
        let before = std::mem::replace(&mut self.picture, after.clone());
        let lines = self.judge_rows(&before, after, planned);
        self.judge_resources(after);
        self.note_disturbances(&before, after);
        if planned {
            self.judge_plan(&before, after, now);
        }
        self.judge_armed(after, now);
        lines
    }

    /// What takes a service's health by no decision of the planner's: from here on the minimum is not promised.
    fn note_disturbances(&mut self, before: &Picture, after: &Picture) {
        for (id, task) in &after.tasks {
            let (Some(was), Some(service)) = (before.tasks.get(id), &task.service_id) else { continue };
            let lost = was.connected && !task.connected;
            let sick = was.health_status == HealthStatus::Healthy && task.health_status != HealthStatus::Healthy;
            let by_itself = was.desired_status == DesiredStatus::Running && task.last_status > TaskStatus::Running;
            if lost || by_itself || (sick && task.desired_status == DesiredStatus::Running) {
                self.armed.remove(service);
            }
        }
        for (id, service) in &after.services {
            let raised = before.services.get(id).is_none_or(|was| minimum(service) > minimum(was));
            if raised || service.status != ServiceStatus::Active {
                self.armed.remove(id);
            }
        }
    }

    /// A service that is whole is promised to stay above its minimum, whatever is rolled out, until something happens to it.
    fn judge_armed(&mut self, after: &Picture, now: Timestamp) {
        for (id, service) in &after.services {
            let count = after.of_service(id).filter(|task| healthy(task, now)).count();
            if self.armed.contains(id) {
                if count < minimum(service) {
                    let sentence = format!(
                        "service {} has {count} healthy tasks, its minimum is {}, and nothing happened to it",
                        service.name,
                        minimum(service)
                    );
                    self.object(sentence);
                }
            } else if self.is_whole(after, service, now) {
                self.armed.insert(id.clone());
                self.counts.armed += 1;
            }
        }
    }

    fn is_whole(&self, picture: &Picture, service: &Service, now: Timestamp) -> bool {
        let desired = usize::try_from(service.desired_count).unwrap_or(0);
        let completed = picture.primary(&service.id).is_some_and(|primary| primary.rollout_state == RolloutState::Completed);
        let mut tasks = picture.of_service(&service.id).filter(|task| task.last_status != TaskStatus::Stopped).peekable();
        let any = tasks.peek().is_some();
        let mut count = 0;
        let sound = tasks.all(|task| {
            count += 1;
            healthy(task, now) && !self.disturbed.contains(&task.id)
        });
        service.status == ServiceStatus::Active && completed && any && sound && count == desired
    }
}

/// `ceil(desired × minimumHealthyPercent / 100)`
fn minimum(service: &Service) -> usize {
    if service.status != ServiceStatus::Active {
        return 0;
    }
    usize::try_from((service.desired_count * service.minimum_healthy_percent + 99) / 100).unwrap_or(0)
}

/// `floor(desired × maximumPercent / 100)`
fn maximum(service: &Service) -> usize {
    usize::try_from(service.desired_count * service.maximum_percent / 100).unwrap_or(0)
}
