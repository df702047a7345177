//! CreateService.

use super::settings::{self, Settings};
use super::{deployment, require_cluster, view};
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::operations::call::Call;
use crate::operations::{images, references, tags, task_definitions};
use crate::store;
use api::aws::{CreateServiceRequest, CreateServiceResponse};
use model::access::{Resource, Role};
use model::ids::{ClusterName, DeploymentId, TaskDefinitionId};
use model::service::{Cause, CauseKind, CircuitBreaker, Deployment, Service, ServiceSettings, ServiceStatus};
use platform::db::Tx;
use platform::events::{self, NewEvent};

pub const FIELDS: &[Field] = &[
    ("cluster", Rule::Taken),
    ("serviceName", Rule::Required),
    ("taskDefinition", Rule::Required),
    ("desiredCount", Rule::Taken),
    ("clientToken", Rule::Taken),
    ("launchType", Rule::Only(&["EC2"])),
    ("schedulingStrategy", Rule::Only(&["REPLICA"])),
    ("deploymentController", Rule::Object(settings::DEPLOYMENT_CONTROLLER)),
    ("deploymentConfiguration", Rule::Object(settings::DEPLOYMENT_CONFIGURATION)),
    ("placementStrategy", settings::STRATEGIES),
    ("placementConstraints", settings::CONSTRAINTS),
    ("healthCheckGracePeriodSeconds", Rule::Taken),
    ("tags", Rule::Taken),
    ("enableECSManagedTags", Rule::Taken),
    ("propagateTags", Rule::Only(&["NONE"])),
    ("availabilityZoneRebalancing", Rule::Only(&["DISABLED"])),
];

/// ECS's limit of a client token, in characters.
const CLIENT_TOKEN_CHARS_MAX: usize = 36;
const MINIMUM_HEALTHY_PERCENT_DEFAULT: i64 = 100;
const MAXIMUM_PERCENT_DEFAULT: i64 = 200;

pub async fn create(call: &Call, request: CreateServiceRequest) -> Result<CreateServiceResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let name = references::service(&request.service_name, &cluster)?;
    let resource = Resource::service(cluster.as_str(), name.as_str());
    call.require(Role::Operate, &resource)?;
    let registered = task_definitions::find_active(call, request.task_definition.as_deref().unwrap_or_default()).await?;
    images::require_pull(call, &registered.images)?;
    images::require_host_access(call, &cluster, &registered.definition)?;
    let service = new_service(call, &cluster, request, registered.id)?;
    let images = images::resolve(call, &registered.images).await?;
    let deployment = deployment::new(&service, DeploymentId::from_random(platform::random::bits64()), images, call.now);
    let event = call.event("service.created", &resource, format!("service {name} created"));
    let partition = call.context.partition.clone();
    let service = call
        .context
        .db
        .write(move |tx| {
            let (service, deployment, event, partition) = (service.clone(), deployment.clone(), event.clone(), partition.clone());
            Box::pin(async move {
                let service = insert(tx, service, deployment, event).await?;
                view::service(tx, &partition, &service, true).await
            })
        })
        .await?;
    call.context.rollout_wake.wake();
    Ok(CreateServiceResponse { service })
}

fn new_service(
    call: &Call,
    cluster: &ClusterName,
    request: CreateServiceRequest,
    task_definition: TaskDefinitionId,
) -> Result<Service, EcsError> {
    let client_token = request.client_token.filter(|token| !token.is_empty());
    if client_token.as_ref().is_some_and(|token| token.chars().count() > CLIENT_TOKEN_CHARS_MAX) {
        return Err(EcsError::invalid(format!("clientToken has at most {CLIENT_TOKEN_CHARS_MAX} characters.")));
    }
    let mut service = Service {
        id: platform::random::short_id("s"),
        cluster: cluster.clone(),
        name: references::service(&request.service_name, cluster)?,
        status: ServiceStatus::Active,
        desired_count: 0,
        task_definition,
        minimum_healthy_percent: MINIMUM_HEALTHY_PERCENT_DEFAULT,
        maximum_percent: MAXIMUM_PERCENT_DEFAULT,
        placement_strategy: Vec::new(),
        placement_constraints: Vec::new(),
        health_check_grace_period_secs: 0,
        circuit_breaker: CircuitBreaker::default(),
        principal: call.caller.principal.clone(),
        client_token,
        tags: tags::checked(request.tags)?,
        client_settings: ServiceSettings::default(),
        version: 1,
        created_at: call.now,
    };
    let desired_count = request.desired_count.ok_or_else(|| EcsError::invalid("desiredCount is missing"))?;
    let settings = Settings {
        desired_count: Some(desired_count),
        deployment_configuration: request.deployment_configuration,
        placement_strategy: request.placement_strategy,
        placement_constraints: request.placement_constraints,
        health_check_grace_period_seconds: request.health_check_grace_period_seconds,
        enable_ecs_managed_tags: request.enable_ecs_managed_tags,
    };
    settings::apply(&mut service, settings)?;
    settings::require_progress(&service)?;
    Ok(service)
}

/// Inserts the service, or finds the one that an earlier call with the same client token made.
async fn insert(tx: &mut Tx, service: Service, deployment: Deployment, event: NewEvent) -> Result<Service, EcsError> {
    require_cluster(tx, &service.cluster).await?;
    match store::services::get(tx, &service.cluster, &service.name).await? {
        Some(found) if found.status == ServiceStatus::Draining => {
            return Err(EcsError::invalid("Unable to Start a service that is still Draining."));
        }
        Some(found) if found.status == ServiceStatus::Active && is_repeated(&found, &service) => return Ok(found),
        Some(found) if found.status == ServiceStatus::Active => {
            return Err(EcsError::invalid("Creation of service was not idempotent."));
        }
        _ => {}
    }
    let now = service.created_at;
    store::services::insert(tx, &service).await?;
    let cause = Cause::asked(CauseKind::Create, service.principal.clone());
    deployment::begin(tx, &service, &deployment, &cause, now).await?;
    events::append(tx, now, event).await?;
    Ok(service)
}

/// Whether `again` asks for what `found` was made by.
fn is_repeated(found: &Service, again: &Service) -> bool {
    found.client_token.is_some() && found.client_token == again.client_token && found.principal == again.principal
}
