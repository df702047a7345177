//! A service as ECS describes it: row, deployments that are not history, counts of tasks, events.

use super::circuit_breaker;
use crate::error::EcsError;
use crate::operations::{placement, tags};
use crate::store;
use api::aws;
use model::Timestamp;
use model::access::Resource;
use model::ids::{DeploymentId, Partition};
use model::service::{Deployment, DeploymentStatus, Service, ServiceStatus};
use model::task::{DesiredStatus, ServiceTask, TaskStatus};
use platform::db::Tx;
use platform::events::{self, Event};

/// Kind of the events that ECS shows with a service; other kinds are for the audit.
pub const EVENT_KIND: &str = "service.event";
/// Most events shown with a service.
const EVENTS_MAX: usize = 100;

pub async fn service(tx: &mut Tx, partition: &Partition, service: &Service, with_tags: bool) -> Result<aws::Service, EcsError> {
    let deployments = match service.status {
        ServiceStatus::Inactive => Vec::new(),
        _ => store::deployments::of_service(tx, &service.id).await?,
    };
    let tasks = store::tasks::of_service(tx, &service.id).await?;
    let subject = Resource::service(service.cluster.as_str(), service.name.as_str()).to_string();
    let events = events::of_subject_kind(tx, &subject, EVENT_KIND, i64::try_from(EVENTS_MAX).unwrap_or(i64::MAX)).await?;
    let mut wire = wire(partition, service, &deployments, &tasks);
    wire.events = events.iter().filter(|event| is_shown(event, service.created_at)).take(EVENTS_MAX).map(wire_event).collect();
    wire.tags = with_tags.then(|| tags::wire(&service.tags));
    Ok(wire)
}

/// Events of this service, not of one of the same name before it.
fn is_shown(event: &Event, created_at: Timestamp) -> bool {
    event.kind == EVENT_KIND && event.at >= created_at
}

fn wire_event(event: &Event) -> aws::ServiceEvent {
    aws::ServiceEvent { id: event.sequence.to_string(), created_at: event.at.as_secs_f64(), message: event.message.clone() }
}

fn wire(partition: &Partition, service: &Service, deployments: &[Deployment], tasks: &[ServiceTask]) -> aws::Service {
    let counts = Counts::of(tasks.iter());
    let mut listed: Vec<&Deployment> = deployments.iter().filter(|deployment| deployment.status != DeploymentStatus::Inactive).collect();
    listed.sort_by_key(|deployment| deployment.status != DeploymentStatus::Primary);
    aws::Service {
        service_arn: partition.service(&service.cluster, &service.name),
        service_name: service.name.to_string(),
        cluster_arn: partition.cluster(&service.cluster),
        status: service.status.as_str().into(),
        desired_count: service.desired_count,
        running_count: counts.running,
        pending_count: counts.pending,
        launch_type: "EC2".into(),
        task_definition: partition.task_definition(&service.task_definition),
        deployment_configuration: deployment_configuration(service),
        deployments: listed.into_iter().map(|deployment| wire_deployment(partition, service, deployment, tasks)).collect(),
        events: Vec::new(),
        created_at: service.created_at.as_secs_f64(),
        placement_constraints: placement::wire_constraints(&service.placement_constraints),
        placement_strategy: placement::wire_strategies(&service.placement_strategy),
        health_check_grace_period_seconds: service.health_check_grace_period_secs,
        scheduling_strategy: "REPLICA".into(),
        deployment_controller: aws::DeploymentController { kind: "ECS".into() },
        load_balancers: Vec::new(),
        service_registries: Vec::new(),
        tags: None,
        created_by: None,
        enable_ecs_managed_tags: service.client_settings.enable_ecs_managed_tags,
        propagate_tags: "NONE".into(),
        enable_execute_command: false,
        availability_zone_rebalancing: "DISABLED".into(),
    }
}

pub fn deployment_configuration(service: &Service) -> aws::DeploymentConfiguration {
    aws::DeploymentConfiguration {
        maximum_percent: Some(service.maximum_percent),
        minimum_healthy_percent: Some(service.minimum_healthy_percent),
        strategy: Some("ROLLING".into()),
        deployment_circuit_breaker: Some(circuit_breaker::wire(&service.circuit_breaker)),
    }
}

fn wire_deployment(partition: &Partition, service: &Service, deployment: &Deployment, tasks: &[ServiceTask]) -> aws::Deployment {
    let counts = Counts::of(tasks.iter().filter(|task| is_of(task, &deployment.id)));
    aws::Deployment {
        id: deployment.id.to_string(),
        status: deployment.status.as_str().into(),
        task_definition: partition.task_definition(&deployment.task_definition),
        // The PRIMARY is to run all of them; one that is being replaced, what is left of it.
        desired_count: if deployment.status == DeploymentStatus::Primary { service.desired_count } else { counts.desired },
        pending_count: counts.pending,
        running_count: counts.running,
        failed_tasks: deployment.failed_tasks,
        created_at: deployment.created_at.as_secs_f64(),
        updated_at: deployment.updated_at.as_secs_f64(),
        launch_type: "EC2".into(),
        rollout_state: deployment.rollout_state.as_str().into(),
        rollout_state_reason: deployment.rollout_state_reason.clone(),
    }
}

fn is_of(task: &ServiceTask, deployment: &DeploymentId) -> bool {
    task.deployment_id.as_ref() == Some(deployment)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    running: i64,
    pending: i64,
    desired: i64,
}

impl Counts {
    fn of<'a>(tasks: impl Iterator<Item = &'a ServiceTask>) -> Self {
        tasks.fold(Self::default(), |counts, task| Self {
            running: counts.running + i64::from(task.last_status == TaskStatus::Running),
            pending: counts.pending + i64::from(task.last_status < TaskStatus::Running),
            desired: counts.desired + i64::from(task.desired_status == DesiredStatus::Running),
        })
    }
}
