//! One task as this host knows it: the order, and what was seen of its containers. What the ledger keeps, and the task's state machine.
//!
//! Everything here is pure and only moves forward: a container goes absent → created → running → exited, a task PENDING → RUNNING →
//! STOPPING → STOPPED, and why it stops is decided once. Sightings may come twice, late or in any order.

use crate::failure::{ESSENTIAL_EXITED, LaunchFailure, OUT_OF_MEMORY, VANISHED};
use crate::mapping::static_bindings;
use crate::runtime::Sighting;
use api::agent::{LogTail, TaskOrder, TaskReport};
use model::Timestamp;
use model::task::{ContainerState, DesiredStatus, HealthStatus, NetworkBinding, StopCode, TaskStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far a container has come. Only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Phase {
    #[default]
    Absent,
    Created,
    Running,
    Exited,
}

/// What is known of one container of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub phase: Phase,
    pub runtime_id: Option<String>,
    pub started: bool,
    pub exit_code: Option<i64>,
    pub reason: Option<String>,
    pub bindings: Vec<NetworkBinding>,
    pub health: HealthStatus,
}

/// Why a task stops: the first cause there was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopCause {
    Ordered,
    EssentialExited,
    FailedToStart { reason: String },
}

/// What the containers are to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    Run,
    Stop,
}

/// One task of this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    pub order: TaskOrder,
    /// Raised with every change: a report with a lower one is old news to the server.
    pub sequence: i64,
    /// The server has no row for it: kept as it is and reported, nothing is started or stopped.
    pub unknown: bool,
    /// When the server said that STOPPED is on record there.
    pub settled_at: Option<Timestamp>,
    pub cause: Option<StopCause>,
    pub containers: BTreeMap<String, ContainerRecord>,
    pub pull_started_at: Option<Timestamp>,
    pub pull_stopped_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    /// The last lines of its containers, from its end until that is settled.
    #[serde(default)]
    pub log_tails: Vec<LogTail>,
}

impl TaskRecord {
    pub fn new(order: TaskOrder) -> Self {
        let containers = order.definition.container_definitions.iter().map(|c| (c.name.clone(), ContainerRecord::default())).collect();
        let mut record = Self {
            order,
            sequence: 0,
            unknown: false,
            settled_at: None,
            cause: None,
            containers,
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: None,
            stopped_at: None,
            log_tails: Vec::new(),
        };
        record.decide_cause();
        record
    }

    /// Takes a newer version of the order. What runs cannot be changed by it: only that it is to stop, never that it is to run again.
    pub fn take(&mut self, order: TaskOrder) -> bool {
        let known_again = std::mem::take(&mut self.unknown);
        if order.version <= self.order.version {
            return known_again;
        }
        let desired = self.order.desired_status.max(order.desired_status);
        let definition = std::mem::replace(&mut self.order, order).definition;
        self.order.definition = definition;
        self.order.desired_status = desired;
        self.decide_cause();
        true
    }

    /// Numbers the state as it is now, later than every number before.
    pub fn number(&mut self, now: Timestamp) {
        self.sequence = now.as_micros().max(self.sequence + 1);
    }

    pub fn goal(&self) -> Goal {
        if self.cause.is_some() { Goal::Stop } else { Goal::Run }
    }

    /// Notes what was seen of a container. Returns whether that was news.
    pub fn see(&mut self, container: &str, id: &str, sighting: &Sighting, now: Timestamp) -> bool {
        let stopping = self.cause.is_some();
        let fixed = static_bindings(&self.order, container);
        let Some(known) = self.containers.get_mut(container) else { return false };
        let before = known.clone();
        known.runtime_id.get_or_insert_with(|| id.to_owned());
        match sighting {
            Sighting::Created => known.phase = known.phase.max(Phase::Created),
            Sighting::Running { bindings } if known.phase <= Phase::Running => {
                known.phase = Phase::Running;
                known.started = true;
                if known.bindings.is_empty() {
                    known.bindings = if bindings.is_empty() { fixed } else { bindings.clone() };
                }
            }
            Sighting::Running { .. } => {}
            Sighting::Exited { exit_code, out_of_memory } => {
                (known.phase, known.started) = (Phase::Exited, true);
                known.exit_code = known.exit_code.or(*exit_code);
                if *out_of_memory && !stopping {
                    known.reason.get_or_insert_with(|| OUT_OF_MEMORY.to_owned());
                }
            }
        }
        if *known == before {
            return false;
        }
        self.progress(now);
        true
    }

    /// Notes that a container which existed is gone.
    pub fn see_gone(&mut self, container: &str, now: Timestamp) -> bool {
        let Some(known) = self.containers.get_mut(container) else { return false };
        if !matches!(known.phase, Phase::Created | Phase::Running) {
            return false;
        }
        known.phase = Phase::Exited;
        known.reason.get_or_insert_with(|| VANISHED.to_owned());
        self.progress(now);
        true
    }

    /// Notes that the task cannot be brought up. Ignored when it is to stop anyway.
    pub fn fail(&mut self, failure: &LaunchFailure) {
        if let Some(known) = self.containers.get_mut(&failure.container) {
            known.reason.get_or_insert_with(|| failure.to_string());
        }
        self.cause.get_or_insert_with(|| StopCause::FailedToStart { reason: failure.to_string() });
    }

    pub fn set_health(&mut self, container: &str, health: HealthStatus) -> bool {
        let Some(known) = self.containers.get_mut(container) else { return false };
        known.phase == Phase::Running && std::mem::replace(&mut known.health, health) != health
    }

    /// Nothing runs any more and nothing is under way: the task is STOPPED from here on.
    pub fn finish(&mut self, now: Timestamp) {
        self.stopped_at.get_or_insert(now);
    }

    /// The server has its last word on record.
    pub fn settle(&mut self, now: Timestamp) {
        self.settled_at.get_or_insert(now);
        self.log_tails.clear();
    }

    /// Containers that ran and ended, by name and Docker id: those that may have left output.
    pub fn ended_containers(&self) -> Vec<(String, String)> {
        let ended = self.containers.iter().filter(|(_, known)| known.phase == Phase::Exited && known.started);
        ended.filter_map(|(name, known)| Some((name.clone(), known.runtime_id.clone()?))).collect()
    }

    pub fn has_running(&self) -> bool {
        self.containers.values().any(|container| container.phase == Phase::Running)
    }

    /// Whether every container was brought as far as it is to come.
    pub fn is_up(&self) -> bool {
        self.containers.values().all(|container| container.phase >= Phase::Running)
    }

    pub fn status(&self) -> TaskStatus {
        if self.stopped_at.is_some() {
            TaskStatus::Stopped
        } else if self.cause.is_some() {
            TaskStatus::Stopping
        } else if self.started_at.is_some() {
            TaskStatus::Running
        } else {
            TaskStatus::Pending
        }
    }

    /// ECS: HEALTHY when all essential containers with a check are; any UNHEALTHY or UNKNOWN one decides otherwise.
    pub fn health(&self) -> HealthStatus {
        let checked = |c: &&model::task_definition::ContainerDefinition| c.essential && c.health_check.is_some();
        let mut verdicts = self.order.definition.container_definitions.iter().filter(checked).map(|c| self.containers[&c.name].health);
        let Some(first) = verdicts.next() else { return HealthStatus::Unknown };
        verdicts.fold(first, |sum, next| match (sum, next) {
            (HealthStatus::Unhealthy, _) | (_, HealthStatus::Unhealthy) => HealthStatus::Unhealthy,
            (HealthStatus::Unknown, _) | (_, HealthStatus::Unknown) => HealthStatus::Unknown,
            _ => HealthStatus::Healthy,
        })
    }

    /// What the server is told.
    pub fn report(&self) -> TaskReport {
        let (stop_code, stopped_reason) = match &self.cause {
            Some(StopCause::EssentialExited) => (Some(StopCode::EssentialContainerExited), Some(ESSENTIAL_EXITED.to_owned())),
            Some(StopCause::FailedToStart { reason }) => (Some(StopCode::TaskFailedToStart), Some(reason.clone())),
            Some(StopCause::Ordered) | None => (None, None),
        };
        TaskReport {
            task_id: self.order.task_id.clone(),
            sequence: self.sequence,
            last_status: self.status(),
            health_status: self.health(),
            containers: self.containers.iter().map(|(name, container)| self.container_state(name, container)).collect(),
            stop_code,
            stopped_reason,
            pull_started_at: self.pull_started_at,
            pull_stopped_at: self.pull_stopped_at,
            started_at: self.started_at,
            stopped_at: self.stopped_at,
            log_tails: self.log_tails.clone(),
        }
    }

    fn container_state(&self, name: &str, container: &ContainerRecord) -> ContainerState {
        let last_status = match container.phase {
            _ if self.stopped_at.is_some() => TaskStatus::Stopped,
            Phase::Absent | Phase::Created => TaskStatus::Pending,
            Phase::Running => TaskStatus::Running,
            Phase::Exited => TaskStatus::Stopped,
        };
        ContainerState {
            name: name.to_owned(),
            runtime_id: container.runtime_id.clone(),
            last_status,
            health_status: container.health,
            exit_code: container.exit_code,
            reason: container.reason.clone(),
            network_bindings: container.bindings.clone(),
        }
    }

    /// After a change of a container: has the task come up, has it ended?
    fn progress(&mut self, now: Timestamp) {
        if self.started_at.is_none() && self.containers.values().all(|container| container.started) {
            self.started_at = Some(now);
        }
        self.decide_cause();
    }

    fn decide_cause(&mut self) {
        if self.cause.is_some() {
            return;
        }
        if self.order.desired_status == DesiredStatus::Stopped {
            self.cause = Some(StopCause::Ordered);
        } else if self.essential_has_exited() || self.containers.values().all(|container| container.phase == Phase::Exited) {
            self.cause = Some(StopCause::EssentialExited);
        }
    }

    fn essential_has_exited(&self) -> bool {
        let essential = self.order.definition.container_definitions.iter().filter(|container| container.essential);
        essential.into_iter().any(|c| self.containers.get(&c.name).is_some_and(|known| known.phase == Phase::Exited))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use model::ids::TaskId;
    use proptest::prelude::*;
    use serde_json::json;

    /// An order for `definition`, given as ECS has it.
    pub fn order_with(id: u128, definition: serde_json::Value) -> TaskOrder {
        let definition: model::task_definition::TaskDefinition = serde_json::from_value(definition).unwrap();
        let task_id = TaskId::from_random(id);
        let image = |image: &str| model::task::ResolvedImage { repository: None, digest: None, image: image.to_owned() };
        TaskOrder {
            task_arn: format!("arn:aws:ecs:r:123456789012:task/default/{task_id}"),
            task_id,
            version: 1,
            desired_status: DesiredStatus::Running,
            stop_code: None,
            stopped_reason: None,
            cluster: "default".into(),
            task_definition: format!("{}:1", definition.family),
            group: "service:web".into(),
            images: definition.container_definitions.iter().map(|c| (c.name.clone(), image(&c.image))).collect(),
            definition,
            overrides: Vec::new(),
        }
    }

    /// An order for a task with an essential `app` and a helper `side`.
    pub fn order_of_two(id: u128) -> TaskOrder {
        order_with(
            id,
            json!({"family": "web", "containerDefinitions": [
                {"name": "app", "image": "x", "healthCheck": {"command": ["CMD", "true"]}},
                {"name": "side", "image": "y", "essential": false}]}),
        )
    }

    const T: Timestamp = Timestamp::from_secs(1);

    fn running() -> Sighting {
        Sighting::Running { bindings: Vec::new() }
    }

    fn exited(code: i64) -> Sighting {
        Sighting::Exited { exit_code: Some(code), out_of_memory: false }
    }

    #[test]
    fn a_task_runs_when_all_its_containers_were_started() {
        let mut record = TaskRecord::new(order_of_two(1));
        record.see("app", "a", &running(), T);
        assert_eq!(record.status(), TaskStatus::Pending);
        record.see("side", "b", &exited(0), T);
        assert_eq!(record.status(), TaskStatus::Running, "a helper may end early");
        assert_eq!(record.report().health_status, HealthStatus::Unknown);
        assert!(record.set_health("app", HealthStatus::Healthy));
        assert_eq!(record.health(), HealthStatus::Healthy);
    }

    #[test]
    fn the_end_of_an_essential_container_ends_the_task_with_its_exit_code() {
        let mut record = TaskRecord::new(order_of_two(1));
        record.see("side", "b", &running(), T);
        record.see("app", "a", &running(), T);
        record.see("app", "a", &exited(7), T);
        assert_eq!((record.goal(), record.status()), (Goal::Stop, TaskStatus::Stopping));
        record.see("side", "b", &exited(143), T);
        record.finish(T);
        let report = record.report();
        assert_eq!((report.last_status, report.stop_code), (TaskStatus::Stopped, Some(StopCode::EssentialContainerExited)));
        assert_eq!(report.containers[0].exit_code, Some(7));
    }

    #[test]
    fn an_ordered_stop_has_no_code_of_the_agents_and_is_never_taken_back() {
        let mut record = TaskRecord::new(order_of_two(1));
        record.see("app", "a", &running(), T);
        let stop = TaskOrder { version: 3, desired_status: DesiredStatus::Stopped, ..order_of_two(1) };
        assert!(record.take(stop));
        record.see("app", "a", &exited(143), T);
        assert_eq!(record.report().stop_code, None);
        let run = TaskOrder { version: 4, ..order_of_two(1) };
        record.take(run);
        assert_eq!(record.order.desired_status, DesiredStatus::Stopped);
        assert!(!record.take(TaskOrder { version: 2, ..order_of_two(1) }), "an older version is no news");
    }

    #[test]
    fn memory_and_removal_by_others_are_named() {
        let mut record = TaskRecord::new(order_of_two(1));
        record.see("app", "a", &running(), T);
        record.see("app", "a", &Sighting::Exited { exit_code: Some(137), out_of_memory: true }, T);
        assert_eq!(record.containers["app"].reason.as_deref(), Some(OUT_OF_MEMORY));
        let mut record = TaskRecord::new(order_of_two(1));
        record.see("app", "a", &running(), T);
        assert!(record.see_gone("app", T));
        assert_eq!(record.containers["app"].reason.as_deref(), Some(VANISHED));
        assert_eq!(record.goal(), Goal::Stop);
        assert!(!record.see_gone("side", T), "what was never made cannot vanish");
    }

    proptest! {
        /// Whatever is seen in whatever order, however often: the status never goes back, and the last word is the same.
        #[test]
        fn sightings_in_any_order_only_move_forward(
            sightings in proptest::collection::vec((prop_oneof![Just("app"), Just("side")], 0..5_u8), 0..30),
        ) {
            let mut record = TaskRecord::new(order_of_two(1));
            let mut last = record.status();
            for (container, what) in sightings {
                match what {
                    0 => record.see(container, "i", &Sighting::Created, T),
                    1 => record.see(container, "i", &running(), T),
                    2 => record.see(container, "i", &exited(1), T),
                    3 => record.see_gone(container, T),
                    _ => record.take(TaskOrder { version: 2, desired_status: DesiredStatus::Stopped, ..order_of_two(1) }),
                };
                prop_assert!(record.status() >= last);
                last = record.status();
            }
            let written = serde_json::to_vec(&record).unwrap();
            prop_assert_eq!(serde_json::from_slice::<TaskRecord>(&written).unwrap(), record);
        }
    }
}
