//! StopServiceDeployment: asks the planner to go back to what ran before, whether or not the service rolls back by itself.

use super::{find, is_named};
use crate::aws::fields::{Field, Rule};
use crate::error::{Code, EcsError};
use crate::operations::call::Call;
use crate::operations::references::{self, OfService};
use crate::operations::services::update;
use crate::store;
use api::aws::{StopServiceDeploymentRequest, StopServiceDeploymentResponse};
use model::Timestamp;
use model::access::{Resource, Role};
use model::ids::ServiceDeploymentId;
use model::service::{Rollback, ServiceDeploymentStatus};
use platform::db::Tx;
use platform::events::{self, NewEvent};

pub const FIELDS: &[Field] = &[("serviceDeploymentArn", Rule::Required), ("stopType", Rule::Only(&["ROLLBACK"]))];

pub async fn stop(call: &Call, request: StopServiceDeploymentRequest) -> Result<StopServiceDeploymentResponse, EcsError> {
    let reference = references::service_deployment(&request.service_deployment_arn)?;
    let resource = Resource::service(reference.cluster.as_str(), reference.service.as_str());
    call.require(Role::Deploy, &resource)?;
    let found = find(call, &mut *call.context.db.read().await?, &reference).await?;
    let (service, _) = found.ok_or_else(not_found)?;
    let message = format!("stop of the deployment of service {} requested", service.name);
    let event = call.event("service.deployment-stop-requested", &resource, message);
    let reason = format!("{} stopped the deployment.", call.caller.principal);
    let now = call.now;
    call.context
        .db
        .write(move |tx| {
            let (reference, reason, event) = (reference.clone(), reason.clone(), event.clone());
            Box::pin(async move { write(tx, &reference, reason, event, now).await })
        })
        .await?;
    call.context.rollout_wake.wake();
    Ok(StopServiceDeploymentResponse { service_deployment_arn: request.service_deployment_arn })
}

async fn write(
    tx: &mut Tx,
    reference: &OfService<ServiceDeploymentId>,
    reason: String,
    event: NewEvent,
    now: Timestamp,
) -> Result<(), EcsError> {
    let mut of = store::service_deployments::get(tx, &reference.id).await?.ok_or_else(not_found)?;
    let service = store::services::by_id(tx, &of.service_id).await?;
    let mut service = service.filter(|service| is_named(service, reference)).ok_or_else(not_found)?;
    if !matches!(of.status, ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress) {
        return Err(conflict(format!("The service deployment is {} and cannot be stopped.", of.status.as_str())));
    }
    if store::deployments::last_completed(tx, &service.id, &of.target).await?.is_none() {
        return Err(conflict("The service has no completed deployment to roll back to.".to_owned()));
    }
    of.status = ServiceDeploymentStatus::RollbackRequested;
    of.status_reason = of.because(&reason);
    of.rollback = Some(Rollback { reason, started_at: now, target: None });
    of.stopped_at = Some(now);
    of.updated_at = now;
    store::service_deployments::update(tx, &of).await?;
    // Raises the version, so that a plan made before is not written, and the planner looks.
    update::save(tx, &mut service).await?;
    events::append(tx, now, event).await?;
    Ok(())
}

fn not_found() -> EcsError {
    EcsError::new(Code::ServiceDeploymentNotFoundException, "The service deployment was not found.")
}

fn conflict(message: String) -> EcsError {
    EcsError::new(Code::ConflictException, message)
}
