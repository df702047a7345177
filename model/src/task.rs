//! Tasks: one-shot, monotone. A task is never restarted, only replaced.
//!
//! Who writes what: the control plane writes `desired_status` and the placement; the agent's reports write everything observed
//! (`last_status`, containers, health, exit codes). [`TaskStatus`] only grows.

use crate::access::Principal;
use crate::clock::Timestamp;
use crate::ids::{ClusterName, DeploymentId, InstanceId, TaskDefinitionId, TaskId};
use crate::instance::{Protocol, Resources};
use crate::name::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `lastStatus`, in ECS's order. A report with a lower status than the stored one is old news and changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskStatus {
    Provisioning,
    Pending,
    Activating,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

impl TaskStatus {
    pub const ALL: [Self; 8] = [
        Self::Provisioning,
        Self::Pending,
        Self::Activating,
        Self::Running,
        Self::Deactivating,
        Self::Stopping,
        Self::Deprovisioning,
        Self::Stopped,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// What the control plane wants of a task. Goes from RUNNING to STOPPED once and never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DesiredStatus {
    Running,
    Stopped,
}

impl DesiredStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Stopped].into_iter().find(|status| status.as_str() == text)
    }
}

/// Health of a container or task. UNKNOWN where there is no check, or before its first verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthStatus {
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Unknown, Self::Healthy, Self::Unhealthy].into_iter().find(|status| status.as_str() == text)
    }
}

/// Why a task stopped, in ECS's closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopCode {
    TaskFailedToStart,
    EssentialContainerExited,
    UserInitiated,
    ServiceSchedulerInitiated,
    TerminationNotice,
    InfrastructureHealth,
}

impl StopCode {
    pub const ALL: [Self; 6] = [
        Self::TaskFailedToStart,
        Self::EssentialContainerExited,
        Self::UserInitiated,
        Self::ServiceSchedulerInitiated,
        Self::TerminationNotice,
        Self::InfrastructureHealth,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TaskFailedToStart => "TaskFailedToStart",
            Self::EssentialContainerExited => "EssentialContainerExited",
            Self::UserInitiated => "UserInitiated",
            Self::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
            Self::TerminationNotice => "TerminationNotice",
            Self::InfrastructureHealth => "InfrastructureHealth",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

/// A published port as it really is on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkBinding {
    #[serde(rename = "bindIP")]
    pub bind_ip: String,
    pub container_port: u16,
    pub host_port: u16,
    pub protocol: Protocol,
}

/// Observed state of one container. Only the agent's reports write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    pub name: String,
    /// Docker's container id, once created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_id: Option<String>,
    pub last_status: TaskStatus,
    #[serde(default)]
    pub health_status: HealthStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// `CannotPullContainerError: …` and its like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default)]
    pub network_bindings: Vec<NetworkBinding>,
}

/// What RunTask may change of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerOverride {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<crate::task_definition::KeyValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<i64>,
}

/// An image resolved for a task, keyed by container name in [`Task::images`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedImage {
    /// Repository of this registry, or absent for a foreign image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Digest in that repository; always there when `repository` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The image as written in the task definition; what people read and what a foreign image is pulled by.
    pub image: String,
}

/// One task: a row written by the control plane (desired) and by reports (observed).
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub id: TaskId,
    pub cluster: ClusterName,
    pub service_id: Option<String>,
    pub deployment_id: Option<DeploymentId>,
    pub task_definition: TaskDefinitionId,
    /// `service:NAME` or `family:NAME`.
    pub group: String,
    pub started_by: Option<String>,
    pub instance_id: Option<InstanceId>,
    /// CPU, memory and fixed host ports it holds on its instance until STOPPED.
    pub reserved: Resources,
    pub overrides: Vec<ContainerOverride>,
    /// Container name to image by digest, fixed when the task is made.
    pub images: BTreeMap<String, ResolvedImage>,
    pub principal: Principal,
    pub client_token: Option<String>,
    pub tags: Vec<(String, String)>,

    pub desired_status: DesiredStatus,
    pub stop_code: Option<StopCode>,
    pub stopped_reason: Option<String>,

    pub last_status: TaskStatus,
    pub health_status: HealthStatus,
    pub containers: Vec<ContainerState>,
    /// Sequence of the last report taken; the agent raises it with each observation.
    pub report_sequence: i64,
    pub connected: bool,

    /// Raised on every change of the row.
    pub version: i64,
    pub created_at: Timestamp,
    pub pull_started_at: Option<Timestamp>,
    pub pull_stopped_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub stopping_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    /// When it first counted as healthy: the moment the breaker and the back-off look at.
    pub healthy_at: Option<Timestamp>,
}

/// A task as its service looks at it: what counting and planning need, and no more, since a service has many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTask {
    pub id: TaskId,
    pub deployment_id: Option<DeploymentId>,
    pub task_definition: TaskDefinitionId,
    pub instance_id: Option<InstanceId>,
    pub desired_status: DesiredStatus,
    pub last_status: TaskStatus,
    pub health_status: HealthStatus,
    pub connected: bool,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub healthy_at: Option<Timestamp>,
}

impl Task {
    /// Whether the task still holds its resources: until it is observed STOPPED, whatever is desired.
    pub fn holds_resources(&self) -> bool {
        self.last_status < TaskStatus::Stopped
    }
}
