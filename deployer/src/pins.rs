//! Pins: the digests that the registry's garbage collector must keep, written in the transactions that come to need them.
//!
//! A live task definition revision pins the digests that it names; a service those of its deployments that run or that can be gone
//! back to; a task without a service those it runs, for as long as its row stands.

use crate::operations::images::Images;
use crate::store;
use model::Timestamp;
use model::ids::{DeploymentId, TaskDefinitionId, TaskId};
use model::service::{Deployment, DeploymentStatus, RolloutState};
use platform::db::{DbError, Tx};
use platform::exchange;

/// Completed deployments of a service whose images are kept, the newest ones: as far as it can surely be gone back.
const COMPLETED_KEPT: usize = 10;

/// A revision that was registered.
pub async fn task_definition(tx: &mut Tx, now: Timestamp, id: &TaskDefinitionId, images: &Images) -> Result<(), DbError> {
    pin(tx, now, images, &of_task_definition(id)).await
}

/// A revision that was deregistered: services that run it have pins of their own.
pub async fn release_task_definition(tx: &mut Tx, id: &TaskDefinitionId) -> Result<(), DbError> {
    exchange::unpin(tx, &of_task_definition(id)).await
}

/// A deployment that begins. Deployments of its service that are too old to be gone back to give up their pins.
pub async fn deployment(tx: &mut Tx, now: Timestamp, deployment: &Deployment) -> Result<(), DbError> {
    pin(tx, now, &deployment.images, &of_deployment(&deployment.service_id, &deployment.id)).await?;
    let mut pinned = Vec::new();
    for holder in exchange::holders_below(tx, &of_service(&deployment.service_id)).await? {
        let id = holder.strip_prefix(&format!("{}:", of_service(&deployment.service_id))).unwrap_or_default();
        pinned.extend(store::deployments::get(tx, &DeploymentId(id.to_owned())).await?);
    }
    for id in outdated(pinned) {
        exchange::unpin(tx, &of_deployment(&deployment.service_id, &id)).await?;
    }
    Ok(())
}

/// A service that was deleted.
pub async fn release_service(tx: &mut Tx, service_id: &str) -> Result<(), DbError> {
    for holder in exchange::holders_below(tx, &of_service(service_id)).await? {
        exchange::unpin(tx, &holder).await?;
    }
    Ok(())
}

/// A task that starts without a service.
pub async fn task(tx: &mut Tx, now: Timestamp, id: &TaskId, images: &Images) -> Result<(), DbError> {
    pin(tx, now, images, &of_task(id)).await
}

/// A task whose row goes.
pub async fn release_task(tx: &mut Tx, id: &TaskId) -> Result<(), DbError> {
    exchange::unpin(tx, &of_task(id)).await
}

/// Which of these deployments of one service nobody goes back to. Pure.
fn outdated(mut pinned: Vec<Deployment>) -> Vec<DeploymentId> {
    pinned.retain(|deployment| deployment.status == DeploymentStatus::Inactive);
    pinned.sort_by_key(|deployment| std::cmp::Reverse(deployment.created_at));
    let (completed, failed): (Vec<_>, Vec<_>) =
        pinned.into_iter().partition(|deployment| deployment.rollout_state == RolloutState::Completed);
    completed.into_iter().skip(COMPLETED_KEPT).chain(failed).map(|deployment| deployment.id).collect()
}

async fn pin(tx: &mut Tx, now: Timestamp, images: &Images, holder: &str) -> Result<(), DbError> {
    for image in images.values() {
        if let (Some(repository), Some(digest)) = (&image.repository, &image.digest) {
            exchange::pin(tx, now, repository, digest, holder).await?;
        }
    }
    Ok(())
}

fn of_task_definition(id: &TaskDefinitionId) -> String {
    format!("task-definition:{id}")
}

fn of_service(service_id: &str) -> String {
    format!("service:{service_id}")
}

fn of_deployment(service_id: &str, id: &DeploymentId) -> String {
    // As it stands in the table, without the prefix that people see.
    format!("{}:{}", of_service(service_id), id.0)
}

fn of_task(id: &TaskId) -> String {
    format!("task:{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn deployment(at: i64, status: DeploymentStatus, rollout_state: RolloutState) -> Deployment {
        Deployment {
            id: DeploymentId(at.to_string()),
            service_id: "s-1".into(),
            status,
            task_definition: TaskDefinitionId { family: "web".parse().unwrap(), revision: at },
            images: BTreeMap::new(),
            rollout_state,
            rollout_state_reason: String::new(),
            principal: None,
            failed_tasks: 0,
            breaker_failures: 0,
            breaker_consecutive: 0,
            consecutive_failures: 0,
            not_before: Timestamp::default(),
            created_at: Timestamp::from_secs(at),
            updated_at: Timestamp::default(),
        }
    }

    #[test]
    fn what_runs_and_what_can_be_gone_back_to_stays_pinned() {
        let completed = |at| deployment(at, DeploymentStatus::Inactive, RolloutState::Completed);
        let mut all: Vec<Deployment> = (0..14).map(completed).collect();
        all.push(deployment(20, DeploymentStatus::Inactive, RolloutState::Failed));
        all.push(deployment(21, DeploymentStatus::Active, RolloutState::Completed));
        all.push(deployment(22, DeploymentStatus::Primary, RolloutState::InProgress));
        // Old, but it runs again after a rollback.
        all.push(deployment(-1, DeploymentStatus::Primary, RolloutState::Completed));
        let ids: Vec<String> = outdated(all).into_iter().map(|id| id.0).collect();
        assert_eq!(ids, ["3", "2", "1", "0", "20"]);
    }
}
