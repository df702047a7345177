//! Puts a decision on record, with its event for the audit and the live stream.

use crate::store;
use model::Timestamp;
use model::access::{Principal, Resource};
use model::ids::{DeploymentId, ServiceDeploymentId, TaskDefinitionId};
use model::service::ServiceDeployment;
use model::trigger::{DecisionStatus, Push, Trigger, TriggerDecision};
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};
use serde_json::json;

/// Why a push that changes nothing is skipped.
pub const RUNS_ALREADY: &str = "the service runs this digest already";

/// A decision about `push` for `trigger`.
pub fn row(trigger: &Trigger, push: &Push, status: DecisionStatus, reason: String, now: Timestamp) -> TriggerDecision {
    TriggerDecision {
        id: platform::random::short_id("d"),
        trigger_id: trigger.id.clone(),
        service_id: trigger.service_id.clone(),
        cluster: trigger.cluster.clone(),
        service: trigger.service.clone(),
        container: trigger.container.clone(),
        push: push.clone(),
        status,
        reason,
        superseded_by: None,
        decided_by: None,
        decided_at: now,
        deployment: None,
        service_deployment: None,
        task_definition: None,
    }
}

/// The deployment that a decision made, or that brought already what was pushed.
#[derive(Debug, Clone)]
pub struct Brought {
    pub deployment: DeploymentId,
    /// The attempt; none for a service that is older than attempts.
    pub attempt: Option<ServiceDeploymentId>,
    pub task_definition: TaskDefinitionId,
}

impl From<ServiceDeployment> for Brought {
    fn from(of: ServiceDeployment) -> Self {
        Self { deployment: of.target, attempt: Some(of.id), task_definition: of.to }
    }
}

pub fn with_deployment(decision: TriggerDecision, of: Brought) -> TriggerDecision {
    TriggerDecision {
        deployment: Some(of.deployment),
        service_deployment: of.attempt,
        task_definition: Some(of.task_definition),
        ..decision
    }
}

/// Writes the row, and its event unless it is of no interest (a tag that the trigger does not follow).
pub async fn write(tx: &mut Tx, decision: TriggerDecision, by: Option<&Principal>, quiet: bool, now: Timestamp) -> Result<(), DbError> {
    let written = store::decisions::record(tx, &decision).await?;
    if written && !quiet {
        events::append(tx, now, event(&decision, by)).await?;
    }
    Ok(())
}

fn event(decision: &TriggerDecision, by: Option<&Principal>) -> NewEvent {
    let push = &decision.push;
    NewEvent {
        kind: kind(decision.status),
        principal: Some(by.unwrap_or(&push.principal).to_string()),
        subject: Resource::service(decision.cluster.as_str(), decision.service.as_str()).to_string(),
        message: message(decision, by),
        detail: json!({
            "trigger": decision.trigger_id, "push": push.sequence, "repository": push.repository, "tag": push.tag, "digest": push.digest,
            "deployment": decision.deployment.as_ref().map(ToString::to_string),
            "taskDefinition": decision.task_definition.as_ref().map(ToString::to_string),
            "supersededBy": decision.superseded_by,
        }),
    }
}

const fn kind(status: DecisionStatus) -> &'static str {
    match status {
        DecisionStatus::Taken => "push.taken",
        DecisionStatus::Skipped => "push.skipped",
        DecisionStatus::Waiting => "push.waiting",
        DecisionStatus::Held => "push.held",
        DecisionStatus::Superseded => "push.superseded",
        DecisionStatus::Approved => "push.approved",
        DecisionStatus::Rejected => "push.rejected",
    }
}

fn message(decision: &TriggerDecision, by: Option<&Principal>) -> String {
    let push = &decision.push;
    let what = format!("push {} of {}:{} ({})", push.sequence, push.repository, push.tag, push.digest.short());
    let deploys = decision.task_definition.as_ref().map(|id| format!(": deploying {id}")).unwrap_or_default();
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    match decision.status {
        DecisionStatus::Taken => format!("{what} by {} taken by trigger {}{deploys}", push.principal, decision.trigger_id),
        DecisionStatus::Skipped => format!("{what} skipped: {}", decision.reason),
        DecisionStatus::Waiting => format!("{what} waits for approval: {}", decision.reason),
        DecisionStatus::Held => format!("{what} held: {}", decision.reason),
        DecisionStatus::Superseded => format!("{what} superseded by push {}", decision.superseded_by.unwrap_or_default()),
        DecisionStatus::Approved => format!("{what} approved{by}{deploys}"),
        DecisionStatus::Rejected => format!("{what} rejected{by}"),
    }
}
