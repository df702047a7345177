//! UpdateService. A task definition, or force, makes a new deployment; the rest changes the service only.

use super::settings::{self, Settings};
use super::{deployment, require_cluster, view};
use crate::aws::fields::{Field, Rule};
use crate::error::{Code, EcsError};
use crate::operations::call::Call;
use crate::operations::images::{self, Images};
use crate::operations::{references, task_definitions};
use crate::store;
use crate::store::task_definitions::Registered;
use api::aws::{self, UpdateServiceRequest, UpdateServiceResponse};
use model::Timestamp;
use model::access::{Principal, Resource, Role};
use model::ids::{ClusterName, DeploymentId, Partition, ServiceName};
use model::service::{Cause, CauseKind, Service, ServiceStatus};
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};

pub const FIELDS: &[Field] = &[
    ("cluster", Rule::Taken),
    ("service", Rule::Required),
    ("desiredCount", Rule::Taken),
    ("taskDefinition", Rule::Taken),
    ("forceNewDeployment", Rule::Taken),
    ("deploymentController", Rule::Object(settings::DEPLOYMENT_CONTROLLER)),
    ("deploymentConfiguration", Rule::Object(settings::DEPLOYMENT_CONFIGURATION)),
    ("placementStrategy", settings::STRATEGIES),
    ("placementConstraints", settings::CONSTRAINTS),
    ("healthCheckGracePeriodSeconds", Rule::Taken),
    ("enableECSManagedTags", Rule::Taken),
    ("propagateTags", Rule::Only(&["NONE"])),
    ("availabilityZoneRebalancing", Rule::Only(&["DISABLED"])),
];

/// What an update does, worked out before the transaction.
#[derive(Clone)]
struct Change {
    cluster: ClusterName,
    name: ServiceName,
    settings: Settings,
    deployment: Option<NewDeployment>,
    event: NewEvent,
    now: Timestamp,
}

#[derive(Clone)]
struct NewDeployment {
    id: DeploymentId,
    registered: Registered,
    images: Images,
    /// On whose authority images are pulled from now on.
    principal: Principal,
    kind: CauseKind,
}

pub async fn update(call: &Call, request: UpdateServiceRequest) -> Result<UpdateServiceResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let name = references::service(&request.service, &cluster)?;
    let resource = Resource::service(cluster.as_str(), name.as_str());
    call.require(Role::Deploy, &resource)?;
    let event = call.event("service.updated", &resource, said(&name, &request));
    let change = Change {
        deployment: new_deployment(call, &cluster, &name, &request).await?,
        settings: Settings {
            desired_count: request.desired_count,
            deployment_configuration: request.deployment_configuration,
            placement_strategy: request.placement_strategy,
            placement_constraints: request.placement_constraints,
            health_check_grace_period_seconds: request.health_check_grace_period_seconds,
            enable_ecs_managed_tags: request.enable_ecs_managed_tags,
        },
        event,
        cluster,
        name,
        now: call.now,
    };
    let partition = call.context.partition.clone();
    let service = call
        .context
        .db
        .write(move |tx| {
            let (change, partition) = (change.clone(), partition.clone());
            Box::pin(async move { write(tx, change, &partition).await })
        })
        .await?;
    call.context.rollout_wake.wake();
    Ok(UpdateServiceResponse { service })
}

/// What the audit says of an update.
fn said(name: &ServiceName, request: &UpdateServiceRequest) -> String {
    let count = request.desired_count.map(|count| format!("desired count {count}"));
    let definition = request.task_definition.as_deref().map(|text| format!("task definition {}", text.rsplit('/').next().unwrap_or(text)));
    let force = (request.force_new_deployment == Some(true)).then(|| "new deployment by force".to_owned());
    let said: Vec<String> = [Some(format!("service {name} updated")), count, definition, force].into_iter().flatten().collect();
    said.join(", ")
}

/// The deployment that the request asks for, if it does. Whoever asks for one must be allowed to pull its images.
async fn new_deployment(
    call: &Call,
    cluster: &ClusterName,
    name: &ServiceName,
    request: &UpdateServiceRequest,
) -> Result<Option<NewDeployment>, EcsError> {
    let id = DeploymentId::from_random(platform::random::bits64());
    if let Some(text) = request.task_definition.as_deref().filter(|text| !text.is_empty()) {
        let registered = task_definitions::find_active(call, text).await?;
        images::require_pull(call, &registered.images)?;
        images::require_host_access(call, cluster, &registered.definition)?;
        let images = images::resolve(call, &registered.images).await?;
        return Ok(Some(NewDeployment { id, registered, images, principal: call.caller.principal.clone(), kind: CauseKind::Update }));
    }
    if request.force_new_deployment != Some(true) {
        return Ok(None);
    }
    let mut tx = call.context.db.read().await?;
    let service = store::services::get(&mut tx, cluster, name).await?.ok_or_else(EcsError::service_not_found)?;
    let registered = store::task_definitions::get(&mut tx, &service.task_definition).await?;
    drop(tx);
    let registered = registered.ok_or_else(|| EcsError::client("TaskDefinition not found."))?;
    images::require_pull(call, &registered.images)?;
    images::require_host_access(call, cluster, &registered.definition)?;
    let images = images::resolve(call, &registered.images).await?;
    Ok(Some(NewDeployment { id, registered, images, principal: call.caller.principal.clone(), kind: CauseKind::Force }))
}

async fn write(tx: &mut Tx, change: Change, partition: &Partition) -> Result<aws::Service, EcsError> {
    require_cluster(tx, &change.cluster).await?;
    let mut service = store::services::get(tx, &change.cluster, &change.name).await?.ok_or_else(EcsError::service_not_found)?;
    if service.status != ServiceStatus::Active {
        return Err(EcsError::new(Code::ServiceNotActiveException, "Service was not ACTIVE."));
    }
    let (configures, scales) = (change.settings.deployment_configuration.is_some(), change.settings.desired_count.is_some());
    settings::apply(&mut service, change.settings)?;
    if configures || change.deployment.is_some() {
        settings::require_progress(&service)?;
    } else if scales && settings::is_stuck(&service) {
        warn_stuck(tx, &service, change.now).await?;
    }
    if let Some(new) = change.deployment {
        // A forced deployment is of what the service ran when it was looked at; when that changed meanwhile, the caller asks again.
        if new.kind == CauseKind::Force && service.task_definition != new.registered.id {
            return Err(EcsError::invalid("The service was updated at the same time. Ask again."));
        }
        service.task_definition = new.registered.id;
        service.principal = new.principal;
        let deployment = deployment::new(&service, new.id, new.images, change.now);
        let cause = Cause::asked(new.kind, service.principal.clone());
        deployment::begin(tx, &service, &deployment, &cause, change.now).await?;
    }
    save(tx, &mut service).await?;
    events::append(tx, change.now, change.event).await?;
    view::service(tx, partition, &service, true).await
}

/// A scaling is not refused for what the next deployment will meet, but it is said.
async fn warn_stuck(tx: &mut Tx, service: &Service, now: Timestamp) -> Result<(), DbError> {
    let message =
        format!("{}. Update the minimumHealthyPercent or maximumPercent value before the next deployment.", settings::stuck(service));
    let event = NewEvent {
        kind: view::EVENT_KIND,
        principal: None,
        subject: Resource::service(service.cluster.as_str(), service.name.as_str()).to_string(),
        message: format!("(service {}) {message}", service.name),
        detail: serde_json::json!({}),
    };
    events::append(tx, now, event).await?;
    Ok(())
}

/// Writes the row; a change by somebody else meanwhile is a conflict of the database.
pub(super) async fn save(tx: &mut Tx, service: &mut Service) -> Result<(), EcsError> {
    if !store::services::update(tx, service).await? {
        return Err(DbError::Conflict.into());
    }
    service.version += 1;
    Ok(())
}
