//! A new deployment of a service: the newest is PRIMARY, the one before becomes ACTIVE until its tasks are gone.

use crate::error::EcsError;
use crate::operations::images::Images;
use crate::store;
use model::Timestamp;
use model::ids::DeploymentId;
use model::service::{Deployment, DeploymentStatus, RolloutState, Service};
use platform::db::Tx;

/// A fresh PRIMARY of what the service is to run. Its id is new each time: clients look for it in `deployments[]`.
pub fn new(service: &Service, id: DeploymentId, images: Images, now: Timestamp) -> Deployment {
    Deployment {
        service_id: service.id.clone(),
        status: DeploymentStatus::Primary,
        task_definition: service.task_definition.clone(),
        images,
        rollout_state: RolloutState::InProgress,
        rollout_state_reason: format!("ECS deployment {id} in progress."),
        id,
        failed_tasks: 0,
        consecutive_failures: 0,
        not_before: now,
        created_at: now,
        updated_at: now,
    }
}

/// Inserts `deployment` in place of the PRIMARY of before.
pub async fn begin(tx: &mut Tx, deployment: &Deployment, now: Timestamp) -> Result<(), EcsError> {
    for mut before in store::deployments::of_service(tx, &deployment.service_id).await? {
        if before.status == DeploymentStatus::Primary {
            before.status = DeploymentStatus::Active;
            before.updated_at = now;
            store::deployments::update(tx, &before).await?;
        }
    }
    store::deployments::insert(tx, deployment).await?;
    Ok(())
}
