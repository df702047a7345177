//! Services and their deployments, as the control plane stores and plans them.

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
    /// Tasks of this deployment that stopped before they ever counted as healthy.
    pub failed_tasks: i64,
    /// Consecutive failures, for the back-off; 0 after a healthy task.
    pub consecutive_failures: i64,
    /// No task of this deployment starts before this moment.
    pub not_before: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
