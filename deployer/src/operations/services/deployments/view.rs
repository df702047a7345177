//! A service deployment as ECS describes it.

use crate::operations::services::view::deployment_configuration;
use crate::rollout::breaker;
use crate::store;
use api::aws;
use model::Timestamp;
use model::ids::{DeploymentId, Partition};
use model::service::{BreakerStatus, Deployment, Service, ServiceDeployment, ServiceDeploymentStatus};
use model::task::{DesiredStatus, ServiceTask, TaskStatus};
use platform::db::{DbError, Tx};

pub fn brief(partition: &Partition, service: &Service, of: &ServiceDeployment) -> aws::ServiceDeploymentBrief {
    aws::ServiceDeploymentBrief {
        service_deployment_arn: partition.service_deployment(&service.cluster, &service.name, &of.id),
        service_arn: partition.service(&service.cluster, &service.name),
        cluster_arn: partition.cluster(&service.cluster),
        started_at: secs(of.started_at),
        created_at: of.created_at.as_secs_f64(),
        finished_at: secs(of.finished_at),
        target_service_revision_arn: partition.service_revision(&service.cluster, &service.name, &of.target),
        status: of.status.as_str().into(),
        status_reason: of.status_reason.clone(),
    }
}

pub async fn whole(
    tx: &mut Tx,
    partition: &Partition,
    service: &Service,
    of: &ServiceDeployment,
) -> Result<aws::ServiceDeployment, DbError> {
    let tasks = store::tasks::of_service(tx, &service.id).await?;
    let target = store::deployments::get(tx, &of.target).await?;
    let arn = |id: &DeploymentId| partition.service_revision(&service.cluster, &service.name, id);
    let revision = |id: &DeploymentId| summary(arn(id), id, &tasks);
    let mut wanted = revision(&of.target);
    if matches!(of.status, ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress) {
        // It is to run all of them; what it replaces, what is left of it.
        wanted.requested_task_count = service.desired_count;
    }
    Ok(aws::ServiceDeployment {
        service_deployment_arn: partition.service_deployment(&service.cluster, &service.name, &of.id),
        service_arn: partition.service(&service.cluster, &service.name),
        cluster_arn: partition.cluster(&service.cluster),
        created_at: of.created_at.as_secs_f64(),
        started_at: secs(of.started_at),
        finished_at: secs(of.finished_at),
        stopped_at: secs(of.stopped_at),
        updated_at: of.updated_at.as_secs_f64(),
        source_service_revisions: of.sources.iter().map(revision).collect(),
        target_service_revision: wanted,
        status: of.status.as_str().into(),
        status_reason: of.status_reason.clone(),
        deployment_configuration: deployment_configuration(service),
        rollback: of.rollback.as_ref().map(|rollback| aws::Rollback {
            reason: rollback.reason.clone(),
            started_at: rollback.started_at.as_secs_f64(),
            service_revision_arn: rollback.target.as_ref().map(arn),
        }),
        deployment_circuit_breaker: circuit_breaker(service, of, target.as_ref()),
    })
}

/// While the attempt is under way as it is now, afterwards as it was.
fn circuit_breaker(service: &Service, of: &ServiceDeployment, target: Option<&Deployment>) -> aws::ServiceDeploymentCircuitBreaker {
    let settings = &service.circuit_breaker;
    let going = matches!(
        of.status,
        ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress | ServiceDeploymentStatus::RollbackRequested
    );
    let (status, failures, threshold) = match target.filter(|_| going) {
        Some(target) => {
            (breaker::watching(settings), breaker::failures(settings, target), breaker::threshold(settings, service.desired_count))
        }
        None => (of.breaker_status, of.breaker_failures, of.breaker_threshold),
    };
    let counted = if status == BreakerStatus::Disabled { 0 } else { failures };
    aws::ServiceDeploymentCircuitBreaker { status: status.as_str().into(), failure_count: counted, threshold }
}

fn summary(arn: String, id: &DeploymentId, tasks: &[ServiceTask]) -> aws::ServiceRevisionSummary {
    let of = |wanted: &dyn Fn(&ServiceTask) -> bool| {
        let count = tasks.iter().filter(|task| task.deployment_id.as_ref() == Some(id) && wanted(task)).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    };
    aws::ServiceRevisionSummary {
        arn,
        requested_task_count: of(&|task| task.desired_status == DesiredStatus::Running),
        running_task_count: of(&|task| task.last_status == TaskStatus::Running),
        pending_task_count: of(&|task| task.last_status < TaskStatus::Running),
    }
}

fn secs(at: Option<Timestamp>) -> Option<f64> {
    at.map(Timestamp::as_secs_f64)
}
