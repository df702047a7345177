//! What is known of a deployment while it is watched. Pure: descriptions and events come in, what people see comes out.
//!
//! Descriptions and events may overlap: a task only moves forward here, and a failure counts once.

use crate::duration;
use api::aws;
use api::v1::events::{Event, Progress, TASK_CHANGED, TaskChanges, TaskGlance, TaskState};
use model::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Groups of failures kept.
const FAILURES_MAX: usize = 50;

/// One deployment of a service, with everything around it.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// `default/web`
    pub service: String,
    /// Id of the deployment that is watched, `ecs-svc/1`.
    pub watched: String,
    /// `web:43`
    pub definition: String,
    pub began: Timestamp,
    /// PRIMARY first.
    pub deployments: Vec<Deployment>,
    pub desired: i64,
    pub pending: i64,
    pub running: i64,
    /// ACTIVE, DRAINING or INACTIVE.
    pub status: String,
    /// Of the attempt as a whole, in ECS's words for service deployments, with its reason; empty until it is heard.
    pub attempt: String,
    pub attempt_reason: String,
    pub tasks: BTreeMap<String, Row>,
    pub pulls: HashMap<String, Progress>,
    /// Names of container instances by id.
    pub hosts: HashMap<String, String>,
    pub failures: Vec<Failures>,
    /// The last thing the service said that explains why nothing moves.
    pub remark: Option<String>,
    /// Why the server cannot be heard, while that is so.
    pub away: Option<String>,
    counted: BTreeSet<String>,
}

/// A deployment as DescribeServices has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployment {
    pub id: String,
    pub definition: String,
    pub is_primary: bool,
    pub state: String,
    pub reason: String,
}

/// A task that has not stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub glance: TaskGlance,
    /// When it came, and when it got where it is.
    pub came: Timestamp,
    pub since: Timestamp,
}

/// Failed tasks of one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    pub definition: String,
    pub reason: String,
    pub count: usize,
    /// The last of them, and the last lines it printed.
    pub task: String,
    pub log: Vec<String>,
}

/// What came out of an event, for those who read lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Task(TaskGlance),
    /// A task of the deployment failed: its last lines are worth reading.
    Failed(TaskGlance),
    Message(String),
}

/// Counts of the tasks of one deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub healthy: usize,
    pub running: usize,
    pub unhealthy: usize,
    pub pulling: usize,
    pub pending: usize,
    pub stopping: usize,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Completed,
    RolledBack,
    Failed,
    /// Another deployment took its place.
    Superseded,
    /// The service is being removed.
    Gone,
}

/// That it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub verdict: Verdict,
    /// Whether nothing that is still to come could change it.
    pub certain: bool,
}

impl Counts {
    /// Tasks that are to stay.
    pub fn total(self) -> usize {
        self.healthy + self.running + self.unhealthy + self.pulling + self.pending
    }
}

impl Board {
    /// The deployment `watched` of a service, which began at that moment.
    pub fn new(service: String, watched: String, began: Timestamp) -> Self {
        Self { service, watched, began, ..Self::default() }
    }

    /// Takes the service as it is described.
    pub fn see_service(&mut self, service: &aws::Service) {
        self.status.clone_from(&service.status);
        (self.desired, self.pending, self.running) = (service.desired_count, service.pending_count, service.running_count);
        self.deployments = service.deployments.iter().map(deployment).collect();
        if let Some(watched) = self.deployments.iter().find(|deployment| deployment.id == self.watched) {
            self.definition.clone_from(&watched.definition);
        }
    }

    /// Takes a task as it is described or as an event says; whether that is news.
    pub fn see_task(&mut self, glance: TaskGlance, at: Timestamp) -> bool {
        if glance.state() == TaskState::Stopped {
            self.pulls.remove(&glance.task);
            return self.tasks.remove(&glance.task).is_some() || self.is_of_watched(&glance);
        }
        if self.counted.contains(&glance.task) {
            return false;
        }
        match self.tasks.get_mut(&glance.task) {
            Some(row) if row.glance == glance || rank(&row.glance) > rank(&glance) => false,
            Some(row) => {
                let moved = row.glance.state() != glance.state();
                row.since = if moved { at } else { row.since };
                row.glance = glance;
                moved
            }
            None => {
                self.tasks.insert(glance.task.clone(), Row { glance, came: at, since: at });
                true
            }
        }
    }

    /// Takes an event about the service.
    pub fn see_event(&mut self, event: &Event) -> Vec<Change> {
        let at = Timestamp::parse_rfc3339(&event.at).unwrap_or_default();
        match event.kind.as_str() {
            TASK_CHANGED => {
                let changes: TaskChanges = serde_json::from_value(event.detail.clone()).unwrap_or_default();
                changes.tasks.into_iter().filter_map(|glance| self.change(glance, at)).collect()
            }
            "service.event" => {
                let stuck = event.message.contains(" unable to ");
                self.remark = stuck.then(|| said(&event.message)).or(self.remark.take().filter(|_| !event.message.contains("has started")));
                vec![Change::Message(event.message.clone())]
            }
            kind if kind.starts_with("deployment.") => {
                let text = |field: &str| event.detail[field].as_str().unwrap_or_default().to_owned();
                if text("deployment") == self.watched {
                    (self.attempt, self.attempt_reason) = (text("status"), text("reason"));
                }
                vec![Change::Message(event.message.clone())]
            }
            _ => Vec::new(),
        }
    }

    fn change(&mut self, glance: TaskGlance, at: Timestamp) -> Option<Change> {
        let news = self.see_task(glance.clone(), at);
        let stopped = glance.state() == TaskState::Stopped;
        if stopped && self.is_of_watched(&glance) && glance.has_failed() {
            return self.count_failure(&glance).then_some(Change::Failed(glance));
        }
        (news && (!stopped || self.counted.insert(glance.task.clone()))).then_some(Change::Task(glance))
    }

    /// Counts a failed task to those of its reason, once.
    fn count_failure(&mut self, glance: &TaskGlance) -> bool {
        if !self.counted.insert(glance.task.clone()) {
            return false;
        }
        let reason = why(glance);
        let room = self.failures.len() < FAILURES_MAX;
        let found = self.failures.iter_mut().find(|group| group.reason == reason && group.definition == glance.task_definition);
        match found {
            Some(group) => {
                group.count += 1;
                group.task.clone_from(&glance.task);
            }
            None if room => self.failures.push(Failures {
                definition: glance.task_definition.clone(),
                reason,
                count: 1,
                task: glance.task.clone(),
                log: Vec::new(),
            }),
            None => {}
        }
        true
    }

    /// The last lines that a failed task printed.
    pub fn see_log(&mut self, glance: &TaskGlance, lines: Vec<String>) {
        let reason = why(glance);
        if let Some(group) = self.failures.iter_mut().find(|group| group.reason == reason && group.definition == glance.task_definition)
            && !lines.is_empty()
        {
            group.log = lines;
        }
    }

    pub fn see_progress(&mut self, progress: Progress) {
        if self.tasks.contains_key(&progress.task) {
            self.pulls.insert(progress.task.clone(), progress);
        }
    }

    /// Counts of the tasks of one deployment.
    pub fn counts(&self, deployment: &str) -> Counts {
        let mut counts = Counts::default();
        for row in self.tasks.values().filter(|row| row.glance.deployment.as_deref() == Some(deployment)) {
            match row.glance.state() {
                TaskState::Healthy => counts.healthy += 1,
                TaskState::Running => counts.running += 1,
                TaskState::Unhealthy => counts.unhealthy += 1,
                TaskState::Pulling => counts.pulling += 1,
                TaskState::Pending => counts.pending += 1,
                TaskState::Stopping | TaskState::Stopped => counts.stopping += 1,
            }
        }
        counts
    }

    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.is_primary)
    }

    pub fn is_rolling_back(&self) -> bool {
        self.attempt.starts_with("ROLLBACK")
    }

    fn is_of_watched(&self, glance: &TaskGlance) -> bool {
        glance.deployment.as_deref() == Some(self.watched.as_str())
    }

    /// How it ended, if it has. Descriptions may be ahead of events: what an event would explain is not certain before it came.
    pub fn ended(&self) -> Option<Ended> {
        let ended = |verdict, certain| Some(Ended { verdict, certain });
        if !self.status.is_empty() && self.status != "ACTIVE" {
            return ended(Verdict::Gone, true);
        }
        let primary = self.primary()?;
        let is_primary = primary.id == self.watched;
        match self.attempt.as_str() {
            "ROLLBACK_SUCCESSFUL" => ended(Verdict::RolledBack, true),
            "ROLLBACK_FAILED" => ended(Verdict::Failed, true),
            "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS" | "STOP_REQUESTED" => None,
            attempt if !is_primary => ended(Verdict::Superseded, attempt == "STOPPED"),
            attempt if primary.state == "FAILED" => ended(Verdict::Failed, attempt == "STOPPED"),
            _ => self.is_stable(primary).then_some(Ended { verdict: Verdict::Completed, certain: true }),
        }
    }

    fn is_stable(&self, primary: &Deployment) -> bool {
        self.deployments.len() == 1 && primary.state == "COMPLETED" && self.running == self.desired && self.pending == 0
    }
}

fn deployment(wire: &aws::Deployment) -> Deployment {
    Deployment {
        id: wire.id.clone(),
        definition: short(&wire.task_definition).to_owned(),
        is_primary: wire.status == "PRIMARY",
        state: wire.rollout_state.clone(),
        reason: wire.rollout_state_reason.clone(),
    }
}

/// A described task at a glance. Without a health check it is not told whether it counts as healthy: one that runs for a while does.
pub fn glance(task: &aws::Task, now: Timestamp) -> TaskGlance {
    const HEALTHY_AFTER_SECS: u64 = 10;
    let ran = task.started_at.map_or(0, |at| now.since(duration::from_epoch_secs(at)).as_secs());
    let ended = task.containers.iter().filter(|container| container.exit_code.is_some() || container.reason.is_some());
    TaskGlance {
        task: short(&task.task_arn).to_owned(),
        task_definition: short(&task.task_definition_arn).to_owned(),
        deployment: task.started_by.clone(),
        instance: task.container_instance_arn.as_deref().map(|arn| short(arn).to_owned()),
        last_status: task.last_status.clone(),
        desired_status: task.desired_status.clone(),
        health_status: task.health_status.clone(),
        healthy: task.health_status == "HEALTHY" || task.health_status == "UNKNOWN" && ran >= HEALTHY_AFTER_SECS,
        pulling: task.last_status == "PENDING" && task.pull_started_at.is_some() && task.pull_stopped_at.is_none(),
        connected: task.connectivity != "DISCONNECTED",
        stop_code: task.stop_code.clone(),
        reason: task.stopped_reason.clone(),
        containers: ended
            .map(|container| api::v1::events::ContainerEnd {
                name: container.name.clone(),
                exit_code: container.exit_code,
                reason: container.reason.clone(),
            })
            .collect(),
    }
}

/// Why a task failed, in one line that tasks of the same failure share: `exit 3: Essential container in task exited`.
pub fn why(glance: &TaskGlance) -> String {
    let named = glance.containers.len() > 1;
    let codes: Vec<String> = glance
        .containers
        .iter()
        .filter_map(|container| {
            let code = container.exit_code?;
            Some(if named { format!("{} exit {code}", container.name) } else { format!("exit {code}") })
        })
        .collect();
    let reasons = glance.reason.iter().chain(glance.containers.iter().filter_map(|container| container.reason.as_ref()));
    let mut parts: Vec<String> = Vec::new();
    for reason in reasons.map(|reason| one_line(reason)) {
        if !reason.is_empty() && !parts.contains(&reason) {
            parts.push(reason);
        }
    }
    match (codes.is_empty(), parts.is_empty()) {
        (true, true) => "no reason was given".into(),
        (true, false) => parts.join("; "),
        (false, true) => codes.join(", "),
        (false, false) => format!("{}: {}", codes.join(", "), parts.join("; ")),
    }
}

/// A service event without the name of the service before it.
fn said(message: &str) -> String {
    message.split_once(") ").map_or(message, |(_, rest)| rest).to_owned()
}

/// Text of others on one line, without what moves a terminal's cursor.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// How far a task is; it never goes back, but health may.
fn rank(glance: &TaskGlance) -> u8 {
    match glance.state() {
        TaskState::Pending => 0,
        TaskState::Pulling => 1,
        TaskState::Running | TaskState::Unhealthy | TaskState::Healthy => 2,
        TaskState::Stopping => 3,
        TaskState::Stopped => 4,
    }
}

fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[cfg(test)]
pub(super) mod tests;
