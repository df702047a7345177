//! What the end of a task leaves behind, in the transaction that sees it: the deployment's count, and an event. Called for reports
//! and for the planner's stops.

use super::backoff::{self, End, Ending, ending};
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

/// Records what the end of `task` says about its deployment.
pub async fn record(tx: &mut Tx, task: &Task, end: End, now: Timestamp, healthy_after: Duration) -> Result<(), DbError> {
    match &task.deployment_id {
        Some(deployment) => count(tx, deployment, end, ending(task.healthy_at, end, now, healthy_after), now).await,
        None => Ok(()),
    }
}

/// Records that `task` became healthy: what the circuit breaker counts in a row starts anew.
pub async fn proven(tx: &mut Tx, task: &Task, now: Timestamp) -> Result<(), DbError> {
    let Some(id) = &task.deployment_id else { return Ok(()) };
    let Some(mut deployment) = store::deployments::get(tx, id).await? else { return Ok(()) };
    if deployment.breaker_consecutive == 0 {
        return Ok(());
    }
    deployment.breaker_consecutive = 0;
    deployment.updated_at = now;
    store::deployments::update(tx, &deployment).await
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

/// Counts one end on its deployment: no task starts before the wait is over.
pub async fn count(tx: &mut Tx, id: &DeploymentId, end: End, ending: Ending, now: Timestamp) -> Result<(), DbError> {
    if ending == Ending::Fair && end != End::Unhealthy {
        return Ok(());
    }
    let Some(mut deployment) = store::deployments::get(tx, id).await? else { return Ok(()) };
    backoff::count(&mut deployment, end, ending, now);
    deployment.updated_at = now;
    store::deployments::update(tx, &deployment).await
}
