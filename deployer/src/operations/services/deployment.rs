//! A new deployment of a service: the newest is PRIMARY, the one before becomes ACTIVE until its tasks are gone. With it begins a
//! service deployment, which says who asked and why. Called by the operations and by the intake of pushes.

use crate::operations::images::Images;
use crate::rollout::{announce, breaker};
use crate::{pins, store};
use model::Timestamp;
use model::ids::{DeploymentId, ServiceDeploymentId};
use model::service::{Cause, Deployment, DeploymentStatus, RolloutState, Service, ServiceDeployment, ServiceDeploymentStatus};
use platform::db::{DbError, Tx};

/// A fresh PRIMARY of what the service is to run. Its id is new each time: clients look for it in `deployments[]`.
pub fn new(service: &Service, id: DeploymentId, images: Images, now: Timestamp) -> Deployment {
    Deployment {
        service_id: service.id.clone(),
        status: DeploymentStatus::Primary,
        task_definition: service.task_definition.clone(),
        images,
        rollout_state: RolloutState::InProgress,
        rollout_state_reason: format!("ECS deployment {id} in progress."),
        principal: Some(service.principal.clone()),
        id,
        failed_tasks: 0,
        breaker_failures: 0,
        breaker_consecutive: 0,
        consecutive_failures: 0,
        not_before: now,
        created_at: now,
        updated_at: now,
    }
}

/// Inserts `deployment` in place of the PRIMARY of before, ends the service deployment that was under way, and begins a new one.
///
/// The caller writes the service (definition, principal) in the same transaction, which raises its version: a plan that was made
/// from the service of before is then not written any more.
pub async fn begin(
    tx: &mut Tx,
    service: &Service,
    deployment: &Deployment,
    cause: &Cause,
    now: Timestamp,
) -> Result<ServiceDeployment, DbError> {
    let before = store::deployments::of_service(tx, &service.id).await?;
    supersede(tx, service, &format!("Superseded by deployment {}.", deployment.id), now).await?;
    for mut primary in before.iter().filter(|before| before.status == DeploymentStatus::Primary).cloned() {
        primary.status = DeploymentStatus::Active;
        primary.updated_at = now;
        store::deployments::update(tx, &primary).await?;
    }
    store::deployments::insert(tx, deployment).await?;
    pins::deployment(tx, now, deployment).await?;
    let begun = under_way(service, deployment, &before, cause, now);
    store::service_deployments::insert(tx, &begun).await?;
    announce::announce(tx, announce::STARTED, service, &begun, &format!("started. {}", cause.sentence()), now).await?;
    Ok(begun)
}

/// Ends the service deployment that is under way, if one is: something else is wanted now.
pub async fn supersede(tx: &mut Tx, service: &Service, reason: &str, now: Timestamp) -> Result<(), DbError> {
    let Some(mut before) = store::service_deployments::current(tx, &service.id).await? else { return Ok(()) };
    let target = store::deployments::get(tx, &before.target).await?;
    before.breaker_failures = target.map_or(0, |target| breaker::failures(&service.circuit_breaker, &target));
    before.breaker_threshold = breaker::threshold(&service.circuit_breaker, service.desired_count);
    before.status = ServiceDeploymentStatus::Stopped;
    before.status_reason = before.because(reason);
    before.finished_at = Some(now);
    before.stopped_at = Some(now);
    before.updated_at = now;
    store::service_deployments::update(tx, &before).await?;
    Ok(())
}

fn under_way(service: &Service, deployment: &Deployment, before: &[Deployment], cause: &Cause, now: Timestamp) -> ServiceDeployment {
    let primary = before.iter().find(|before| before.status == DeploymentStatus::Primary);
    ServiceDeployment {
        id: ServiceDeploymentId::from_random(platform::random::bits128()),
        service_id: service.id.clone(),
        target: deployment.id.clone(),
        sources: before.iter().map(|before| before.id.clone()).collect(),
        from: primary.map(|primary| primary.task_definition.clone()),
        to: deployment.task_definition.clone(),
        cause: cause.clone(),
        status: ServiceDeploymentStatus::Pending,
        status_reason: cause.sentence(),
        breaker_status: breaker::watching(&service.circuit_breaker),
        breaker_failures: 0,
        breaker_threshold: breaker::threshold(&service.circuit_breaker, service.desired_count),
        rollback: None,
        created_at: now,
        started_at: None,
        finished_at: None,
        stopped_at: None,
        updated_at: now,
    }
}
