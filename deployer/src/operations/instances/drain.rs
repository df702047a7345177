//! `UpdateContainerInstancesState`: ACTIVE or DRAINING.
//!
//! Nothing new is placed on a DRAINING instance, and the planner moves the tasks of services away: those that do not run yet at once,
//! the others as minimumHealthyPercent and maximumPercent allow. Tasks without a service are left alone. It stays DRAINING until it
//! is made ACTIVE again or deregistered.

use super::view;
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::operations::call::Call;
use crate::operations::services::require_cluster;
use crate::operations::{missing, references};
use crate::store;
use api::aws::{Failure, UpdateContainerInstancesStateRequest, UpdateContainerInstancesStateResponse};
use model::access::{Resource, Role};
use model::ids::{ClusterName, InstanceId};
use model::instance::{Instance, InstanceStatus};
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};
use std::collections::BTreeSet;

pub const FIELDS: &[Field] = &[("cluster", Rule::Taken), ("containerInstances", Rule::Required), ("status", Rule::Required)];

/// Most instances changed in one call.
const CHANGED_MAX: usize = 10;

pub async fn update_state(
    call: &Call,
    request: UpdateContainerInstancesStateRequest,
) -> Result<UpdateContainerInstancesStateResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let resource = Resource::cluster(cluster.as_str());
    call.require(Role::Operate, &resource)?;
    let status = match request.status.as_str() {
        "ACTIVE" => InstanceStatus::Active,
        "DRAINING" => InstanceStatus::Draining,
        _ => return Err(EcsError::invalid("status can be ACTIVE or DRAINING.")),
    };
    if request.container_instances.is_empty() || request.container_instances.len() > CHANGED_MAX {
        return Err(EcsError::invalid(format!("containerInstances has to name 1 to {CHANGED_MAX} instances.")));
    }
    let ids = request.container_instances.iter().map(|text| references::instance(text, &cluster)).collect::<Result<BTreeSet<_>, _>>()?;
    let (now, partition) = (call.now, call.context.partition.clone());
    let kind = if status == InstanceStatus::Draining { "instance.draining" } else { "instance.activated" };
    let event = call.event(kind, &resource, String::new());
    let response = call
        .context
        .db
        .write(move |tx| {
            let (cluster, ids, event, partition) = (cluster.clone(), ids.clone(), event.clone(), partition.clone());
            Box::pin(async move {
                require_cluster(tx, &cluster).await?;
                let mut response = UpdateContainerInstancesStateResponse::default();
                for id in &ids {
                    let arn = partition.container_instance(&cluster, id);
                    match change(tx, &cluster, id, status).await? {
                        Change::None(instance) => response.container_instances.push(view(tx, &partition, &instance).await?),
                        Change::Made(instance) => {
                            events::append(tx, now, said(&event, &instance)).await?;
                            response.container_instances.push(view(tx, &partition, &instance).await?);
                        }
                        Change::Inactive => {
                            response.failures.push(Failure { arn: Some(arn), reason: Some("INACTIVE".into()), detail: None });
                        }
                        Change::Missing => response.failures.push(missing(arn)),
                    }
                }
                Ok::<_, EcsError>(response)
            })
        })
        .await?;
    call.context.rollout_wake.wake();
    Ok(response)
}

enum Change {
    /// It is so already.
    None(Instance),
    Made(Instance),
    Inactive,
    Missing,
}

async fn change(tx: &mut Tx, cluster: &ClusterName, id: &InstanceId, status: InstanceStatus) -> Result<Change, DbError> {
    let Some(mut instance) = store::instances::get(tx, id).await?.filter(|instance| instance.cluster == *cluster) else {
        return Ok(Change::Missing);
    };
    if instance.status == InstanceStatus::Inactive {
        return Ok(Change::Inactive);
    }
    if instance.status == status {
        return Ok(Change::None(instance));
    }
    instance.status = status;
    if !store::instances::update(tx, &instance).await? {
        return Err(DbError::Conflict);
    }
    instance.version += 1;
    Ok(Change::Made(instance))
}

fn said(event: &NewEvent, instance: &Instance) -> NewEvent {
    let message = format!("instance {} ({}) is {}", instance.id, instance.name, instance.status.as_str());
    NewEvent { message, ..event.clone() }
}
