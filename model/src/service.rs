//! Services and their deployments, as the control plane stores and plans them.
//!
//! A [`Deployment`] is ECS's service revision: a definition with its images, and the tasks that run it. A [`ServiceDeployment`] is one
//! attempt to bring a service to a revision, including the rollback that may end it.

mod deployment;

pub use deployment::{BreakerStatus, Cause, CauseKind, Rollback, ServiceDeployment, ServiceDeploymentStatus};

use crate::access::Principal;
use crate::clock::Timestamp;
use crate::ids::{ClusterName, DeploymentId, ServiceName, TaskDefinitionId};
use crate::task::ResolvedImage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// ACTIVE, then DRAINING while its last tasks stop, then INACTIVE (kept describable).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ServiceStatus {
    Active,
    Draining,
    Inactive,
}

impl ServiceStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Draining, Self::Inactive].into_iter().find(|status| status.as_str() == text)
    }
}

/// PRIMARY is the newest; ACTIVE ones are being replaced; INACTIVE ones are history and not listed in `deployments[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeploymentStatus {
    Primary,
    Active,
    Inactive,
}

impl DeploymentStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "PRIMARY",
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Primary, Self::Active, Self::Inactive].into_iter().find(|status| status.as_str() == text)
    }
}

/// How a deployment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RolloutState {
    InProgress,
    Completed,
    Failed,
}

impl RolloutState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::InProgress, Self::Completed, Self::Failed].into_iter().find(|state| state.as_str() == text)
    }
}

/// One rule of where tasks go; best effort, applied in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementStrategy {
    #[serde(rename = "type")]
    pub kind: PlacementStrategyType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlacementStrategyType {
    Random,
    Spread,
    Binpack,
}

/// A binding rule of where tasks may go. `memberOf` expressions are a later issue and are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementConstraint {
    #[serde(rename = "type")]
    pub kind: PlacementConstraintType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlacementConstraintType {
    #[serde(rename = "distinctInstance")]
    DistinctInstance,
}

/// When failed tasks fail their deployment, and whether the service then goes back. ECS's words and defaults: off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CircuitBreaker {
    pub enable: bool,
    pub rollback: bool,
    /// Whether a task that becomes healthy takes the count back to 0.
    pub reset_on_healthy_task: bool,
    pub threshold: BreakerThreshold,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { enable: false, rollback: false, reset_on_healthy_task: true, threshold: BreakerThreshold::default() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerThreshold {
    #[serde(rename = "type")]
    pub kind: BreakerThresholdType,
    pub value: i64,
}

impl Default for BreakerThreshold {
    fn default() -> Self {
        Self { kind: BreakerThresholdType::BoundedPercent, value: 50 }
    }
}

/// How `value` becomes a number of failures: percent of the desired count between 3 and 200, percent of it, or the number itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BreakerThresholdType {
    BoundedPercent,
    UnboundedPercent,
    Count,
}

impl BreakerThresholdType {
    pub const ALL: [Self; 3] = [Self::BoundedPercent, Self::UnboundedPercent, Self::Count];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BoundedPercent => "BOUNDED_PERCENT",
            Self::UnboundedPercent => "UNBOUNDED_PERCENT",
            Self::Count => "COUNT",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What clients set and read back, without effect here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSettings {
    #[serde(rename = "enableECSManagedTags")]
    pub enable_ecs_managed_tags: bool,
}

/// What people wrote: the desired state of one service. Only the API writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Internal id; names may be used again after a service is INACTIVE.
    pub id: String,
    pub cluster: ClusterName,
    pub name: ServiceName,
    pub status: ServiceStatus,
    pub desired_count: i64,
    /// What the PRIMARY deployment runs.
    pub task_definition: TaskDefinitionId,
    pub minimum_healthy_percent: i64,
    pub maximum_percent: i64,
    pub placement_strategy: Vec<PlacementStrategy>,
    pub placement_constraints: Vec<PlacementConstraint>,
    pub health_check_grace_period_secs: i64,
    pub circuit_breaker: CircuitBreaker,
    /// On whose authority images are pulled: checked again at every task start.
    pub principal: Principal,
    pub client_token: Option<String>,
    pub tags: Vec<(String, String)>,
    pub client_settings: ServiceSettings,
    /// Raised on every change; the planner's writes are guarded by it.
    pub version: i64,
    pub created_at: Timestamp,
}

/// One service revision being or having been rolled out. Written by the API (creation) and the planner (progress).
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    pub id: DeploymentId,
    pub service_id: String,
    pub status: DeploymentStatus,
    pub task_definition: TaskDefinitionId,
    /// Container name to image: own images by digest, so that all tasks of one deployment run the same bytes.
    pub images: BTreeMap<String, ResolvedImage>,
    pub rollout_state: RolloutState,
    pub rollout_state_reason: String,
    /// On whose authority its images are pulled; nothing for one that is older than this field.
    pub principal: Option<Principal>,
    /// Tasks of this deployment that stopped before they ever counted as healthy.
    pub failed_tasks: i64,
    /// Failures that the circuit breaker counts, since this deployment last began.
    pub breaker_failures: i64,
    /// Those since a task last became healthy.
    pub breaker_consecutive: i64,
    /// Consecutive failures, for the back-off; 0 after a healthy task.
    pub consecutive_failures: i64,
    /// No task of this deployment starts before this moment.
    pub not_before: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
