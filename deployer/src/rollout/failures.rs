//! Keeps a deployment's count of failed tasks, in the transaction that sees a task end. Called for reports and for the planner's stops.

use super::backoff::{Ending, ending, wait};
use crate::store;
use model::Timestamp;
use model::ids::DeploymentId;
use model::task::Task;
use platform::db::{DbError, Tx};
use std::time::Duration;

/// Records what the end of `task` says about its deployment. `ordered`: the control plane wanted it stopped for no fault of its own.
pub async fn record(tx: &mut Tx, task: &Task, ordered: bool, now: Timestamp, healthy_after: Duration) -> Result<(), DbError> {
    match &task.deployment_id {
        Some(deployment) => count(tx, deployment, ending(task, ordered, now, healthy_after), now).await,
        None => Ok(()),
    }
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
