//! One attempt to bring a service to a revision: who asked and why, how it goes, and the rollback that may end it.

use crate::access::Principal;
use crate::clock::Timestamp;
use crate::ids::{DeploymentId, ServiceDeploymentId, TaskDefinitionId};
use serde::{Deserialize, Serialize};

/// ECS's states. At most one service deployment of a service is in a state that is not final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceDeploymentStatus {
    /// Asked for; the planner has not looked at it yet.
    Pending,
    InProgress,
    Successful,
    StopRequested,
    Stopped,
    /// Somebody asked for the revision of before.
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
}

impl ServiceDeploymentStatus {
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::InProgress,
        Self::Successful,
        Self::StopRequested,
        Self::Stopped,
        Self::RollbackRequested,
        Self::RollbackInProgress,
        Self::RollbackSuccessful,
        Self::RollbackFailed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::InProgress => "IN_PROGRESS",
            Self::Successful => "SUCCESSFUL",
            Self::StopRequested => "STOP_REQUESTED",
            Self::Stopped => "STOPPED",
            Self::RollbackRequested => "ROLLBACK_REQUESTED",
            Self::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Self::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
            Self::RollbackFailed => "ROLLBACK_FAILED",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether nothing can become of it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Successful | Self::Stopped | Self::RollbackSuccessful | Self::RollbackFailed)
    }
}

/// What circuit breaker the attempt runs, or ran, under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BreakerStatus {
    Disabled,
    Monitoring,
    MonitoringComplete,
    Triggered,
}

impl BreakerStatus {
    pub const ALL: [Self; 4] = [Self::Disabled, Self::Monitoring, Self::MonitoringComplete, Self::Triggered];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Monitoring => "MONITORING",
            Self::MonitoringComplete => "MONITORING_COMPLETE",
            Self::Triggered => "TRIGGERED",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Why there is a service deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CauseKind {
    /// The service was made.
    Create,
    /// Somebody named a task definition.
    Update,
    /// Somebody asked for the same one again.
    Force,
    /// A push that a trigger took.
    Trigger,
    /// Somebody asked for an earlier revision.
    Rollback,
}

impl CauseKind {
    pub const ALL: [Self; 5] = [Self::Create, Self::Update, Self::Force, Self::Trigger, Self::Rollback];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Force => "force",
            Self::Trigger => "trigger",
            Self::Rollback => "rollback",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Who asked for a service deployment, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub kind: CauseKind,
    pub principal: Principal,
    /// Id of the trigger that took a push.
    pub trigger: Option<String>,
    /// Sequence of that push.
    pub push: Option<i64>,
}

impl Cause {
    /// Asked for by `principal` through an operation.
    pub const fn asked(kind: CauseKind, principal: Principal) -> Self {
        Self { kind, principal, trigger: None, push: None }
    }

    /// In words, for people.
    pub fn sentence(&self) -> String {
        let principal = &self.principal;
        match (self.kind, self.push) {
            (CauseKind::Create, _) => format!("{principal} created the service."),
            (CauseKind::Update, _) => format!("{principal} updated the service."),
            (CauseKind::Force, _) => format!("{principal} forced a new deployment."),
            (CauseKind::Trigger, Some(push)) => {
                format!("Push {push}, taken by trigger {} on the authority of {principal}.", self.trigger())
            }
            (CauseKind::Trigger, None) => format!("{principal}, by trigger {}.", self.trigger()),
            (CauseKind::Rollback, _) => format!("{principal} rolled the service back."),
        }
    }

    fn trigger(&self) -> &str {
        self.trigger.as_deref().unwrap_or("unknown")
    }
}

/// The way back that ends an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    pub reason: String,
    pub started_at: Timestamp,
    /// What it goes back to; nothing before the planner chose it.
    pub target: Option<DeploymentId>,
}

/// One attempt. Inserted by the operations; its progress is the planner's, but for being superseded or stopped by somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDeployment {
    pub id: ServiceDeploymentId,
    pub service_id: String,
    /// What the service was to run.
    pub target: DeploymentId,
    /// What it ran when the attempt began.
    pub sources: Vec<DeploymentId>,
    pub from: Option<TaskDefinitionId>,
    pub to: TaskDefinitionId,
    pub cause: Cause,
    pub status: ServiceDeploymentStatus,
    pub status_reason: String,
    pub breaker_status: BreakerStatus,
    /// Failures at the end, and how many would have been too many.
    pub breaker_failures: i64,
    pub breaker_threshold: i64,
    pub rollback: Option<Rollback>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    pub updated_at: Timestamp,
}

impl ServiceDeployment {
    /// Why it is as it is, and who had asked for it.
    pub fn because(&self, why: &str) -> String {
        format!("{why} {}", self.cause.sentence())
    }
}
