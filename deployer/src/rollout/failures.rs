//! What the end of a task leaves behind, in the transaction that sees it: the deployment's count, and an event. Called for reports
//! and for the planner's stops.

use super::backoff::{Ending, ending, wait};
use super::observe::SERVICE_EVENT;
use super::words;
use crate::store;
use model::Timestamp;
use model::access::Resource;
use model::ids::DeploymentId;
use model::task::Task;
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};
use std::time::Duration;

/// Records what the end of `task` says about its deployment. `ordered`: the control plane wanted it stopped for no fault of its own.
pub async fn record(tx: &mut Tx, task: &Task, ordered: bool, now: Timestamp, healthy_after: Duration) -> Result<(), DbError> {
    match &task.deployment_id {
        Some(deployment) => count(tx, deployment, ending(task, ordered, now, healthy_after), now).await,
        None => Ok(()),
    }
}

/// Says that the task ended by itself, among the events of its service, or of its cluster when it has none.
pub async fn say(tx: &mut Tx, task: &Task, now: Timestamp) -> Result<(), DbError> {
    let service = task.group.strip_prefix("service:").filter(|_| task.service_id.is_some());
    let (kind, subject, message) = match service {
        Some(name) => (SERVICE_EVENT, Resource::service(task.cluster.as_str(), name), words::of_service(&name, &words::ended(task))),
        None => ("task.ended", Resource::cluster(task.cluster.as_str()), words::ended(task)),
    };
    let detail = serde_json::json!({
        "task": task.id.as_str(),
        "taskDefinition": task.task_definition.to_string(),
        "stopCode": task.stop_code.map(model::task::StopCode::as_str),
    });
    events::append(tx, now, NewEvent { kind, principal: None, subject: subject.to_string(), message, detail }).await?;
    Ok(())
}

/// Counts one ending on its deployment: no task starts before the wait is over.
pub async fn count(tx: &mut Tx, id: &DeploymentId, ending: Ending, now: Timestamp) -> Result<(), DbError> {
    if ending == Ending::Fair {
        return Ok(());
    }
    let Some(mut deployment) = store::deployments::get(tx, id).await? else { return Ok(()) };
    deployment.not_before = deployment.not_before.max(now.plus(wait(ending, deployment.consecutive_failures)));
    deployment.failed_tasks += i64::from(ending == Ending::Failed);
    deployment.consecutive_failures += 1;
    deployment.updated_at = now;
    store::deployments::update(tx, &deployment).await
}
