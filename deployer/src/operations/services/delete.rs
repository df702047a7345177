//! DeleteService: DRAINING with nothing desired; the planner stops the tasks and makes it INACTIVE.

use super::{deployment, require_cluster, update, view};
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::operations::call::Call;
use crate::operations::references;
use crate::pins;
use crate::store;
use crate::triggers::manage;
use api::aws::{DeleteServiceRequest, DeleteServiceResponse};
use model::access::{Resource, Role};
use model::service::ServiceStatus;
use platform::events;

pub const FIELDS: &[Field] = &[("cluster", Rule::Taken), ("service", Rule::Required), ("force", Rule::Taken)];

pub async fn delete(call: &Call, request: DeleteServiceRequest) -> Result<DeleteServiceResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let name = references::service(&request.service, &cluster)?;
    let resource = Resource::service(cluster.as_str(), name.as_str());
    call.require(Role::Operate, &resource)?;
    let force = request.force == Some(true);
    let (now, event) = (call.now, call.event("service.deleted", &resource, format!("service {name} deleted")));
    let (partition, by) = (call.context.partition.clone(), call.caller.principal.clone());
    let service = call
        .context
        .db
        .write(move |tx| {
            let (cluster, name, event, partition, by) = (cluster.clone(), name.clone(), event.clone(), partition.clone(), by.clone());
            Box::pin(async move {
                require_cluster(tx, &cluster).await?;
                let mut service = store::services::get(tx, &cluster, &name).await?.ok_or_else(EcsError::service_not_found)?;
                if service.status == ServiceStatus::Inactive {
                    return Err(EcsError::service_not_found());
                }
                if service.desired_count > 0 && !force {
                    return Err(EcsError::invalid("The service cannot be stopped while it is scaled above 0."));
                }
                if service.status == ServiceStatus::Active {
                    service.status = ServiceStatus::Draining;
                    service.desired_count = 0;
                    deployment::supersede(tx, &service, "The service was deleted.", now).await?;
                    manage::forget_service(tx, &service, &by, now).await?;
                    pins::release_service(tx, &service.id).await?;
                    update::save(tx, &mut service).await?;
                    events::append(tx, now, event).await?;
                }
                view::service(tx, &partition, &service, true).await
            })
        })
        .await?;
    call.context.rollout_wake.wake();
    Ok(DeleteServiceResponse { service })
}
