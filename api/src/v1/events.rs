//! What happened, as a page or as a stream that stays open; and what the stream says of tasks.
//!
//! In the stream each event has its sequence as `id`, its kind as `event` and an [`Event`] as `data`. Between them come words about
//! pulls ([`PROGRESS_EVENT`] with a [`Progress`]): they have no id, are not kept, and never come again. Comments are heartbeats.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which events, in the order in which they happened.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Events after this sequence; from the first on when 0. When absent: the newest ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Only those about this resource, `service:default/web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Only kinds that begin with this: `task.`, `deployment.`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Events looked at, at most 1000; 200 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Oldest first. Events that the caller may not see are left out, so a page may be shorter than its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    pub items: Vec<Event>,
    /// Give it as `after` to go on from here, now or later.
    pub next: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    pub sequence: i64,
    pub at: String,
    /// `service.event`, `grant.created`, …
    pub kind: String,
    /// Who did it; absent for what the control plane does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// `service:default/web`
    pub subject: String,
    pub message: String,
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// Kind of the events about tasks: one for each change that people see, of one or more tasks of a service.
pub const TASK_CHANGED: &str = "task.changed";
/// Name of the words about pulls in the stream.
pub const PROGRESS_EVENT: &str = "progress";
/// Longest silence of a stream, in seconds: then it sends a comment.
pub const HEARTBEAT_SECS: u64 = 15;

/// `detail` of a [`TASK_CHANGED`] event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskChanges {
    pub tasks: Vec<TaskGlance>,
}

/// What people see of a task at a glance, in ECS's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskGlance {
    /// 32 hex digits.
    pub task: String,
    /// `family:revision`
    pub task_definition: String,
    /// Id of the service's deployment, `ecs-svc/1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Id of the container instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub last_status: String,
    pub desired_status: String,
    pub health_status: String,
    /// Whether it counted as healthy once: by its check, or without one by running long enough.
    #[serde(default)]
    pub healthy: bool,
    /// Whether its images are being pulled.
    #[serde(default)]
    pub pulling: bool,
    /// Whether its host is heard of.
    #[serde(default = "yes")]
    pub connected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Exit codes and reasons of containers that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerEnd>,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerEnd {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn yes() -> bool {
    true
}

/// How far the pulls of a task of this service are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// `service:default/web`
    pub subject: String,
    pub task: String,
    pub container: String,
    pub layers_done: u32,
    pub layers: u32,
    pub bytes_done: u64,
    pub bytes: u64,
}

/// Where a task stands, in one word for people; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskState {
    Pending,
    Pulling,
    Running,
    Unhealthy,
    Healthy,
    Stopping,
    Stopped,
}

impl TaskState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Pulling => "PULLING",
            Self::Running => "RUNNING",
            Self::Unhealthy => "UNHEALTHY",
            Self::Healthy => "HEALTHY",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl TaskGlance {
    pub fn state(&self) -> TaskState {
        match (self.last_status.as_str(), self.desired_status.as_str()) {
            ("STOPPED", _) => TaskState::Stopped,
            ("DEACTIVATING" | "STOPPING" | "DEPROVISIONING", _) | (_, "STOPPED") => TaskState::Stopping,
            ("RUNNING", _) if self.health_status == "UNHEALTHY" => TaskState::Unhealthy,
            ("RUNNING", _) if self.healthy => TaskState::Healthy,
            ("RUNNING", _) => TaskState::Running,
            _ if self.pulling => TaskState::Pulling,
            _ => TaskState::Pending,
        }
    }

    /// Whether it ended, or ends, without anybody having asked for that.
    pub fn has_failed(&self) -> bool {
        matches!(self.stop_code.as_deref(), Some("TaskFailedToStart" | "EssentialContainerExited"))
            || self.reason.as_deref() == Some("Task failed container health checks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance(last_status: &str, desired_status: &str) -> TaskGlance {
        TaskGlance { last_status: last_status.into(), desired_status: desired_status.into(), ..TaskGlance::default() }
    }

    #[test]
    fn each_task_has_one_word() {
        for (last, desired, state) in [
            ("PENDING", "RUNNING", TaskState::Pending),
            ("RUNNING", "RUNNING", TaskState::Running),
            ("PENDING", "STOPPED", TaskState::Stopping),
            ("STOPPING", "RUNNING", TaskState::Stopping),
            ("STOPPED", "STOPPED", TaskState::Stopped),
        ] {
            assert_eq!(glance(last, desired).state(), state, "{last} {desired}");
        }
        let running = glance("RUNNING", "RUNNING");
        assert_eq!(TaskGlance { healthy: true, ..running.clone() }.state(), TaskState::Healthy);
        let unhealthy = TaskGlance { healthy: true, health_status: "UNHEALTHY".into(), ..running };
        assert_eq!(unhealthy.state(), TaskState::Unhealthy);
        assert_eq!(TaskGlance { pulling: true, ..glance("PENDING", "RUNNING") }.state(), TaskState::Pulling);
        let code = |code: &str| TaskGlance { stop_code: Some(code.into()), ..glance("STOPPED", "STOPPED") }.has_failed();
        assert!(code("EssentialContainerExited") && !code("ServiceSchedulerInitiated"));
    }
}
