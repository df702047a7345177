//! `DeregisterContainerInstance`: takes a host out of its cluster. Its certificates are revoked and it is INACTIVE for good.
//!
//! With `force` also while tasks run there: they count as STOPPED, services make up for them elsewhere, and their containers, which
//! nobody here can reach any more, run on as orphans.

use super::view;
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::operations::call::Call;
use crate::operations::references;
use crate::operations::services::require_cluster;
use crate::store;
use api::aws::{ContainerInstance, DeregisterContainerInstanceRequest, DeregisterContainerInstanceResponse};
use model::Timestamp;
use model::access::{Resource, Role};
use model::ids::{ClusterName, InstanceId, Partition};
use model::instance::{Instance, InstanceStatus};
use model::task::{DesiredStatus, HealthStatus, StopCode, Task, TaskStatus};
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};

pub const FIELDS: &[Field] = &[("cluster", Rule::Taken), ("containerInstance", Rule::Required), ("force", Rule::Taken)];

const ABANDONED: &str = "The container instance was deregistered while the task was there; its containers were not stopped.";

pub async fn deregister(call: &Call, request: DeregisterContainerInstanceRequest) -> Result<DeregisterContainerInstanceResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let resource = Resource::cluster(cluster.as_str());
    call.require(Role::Admin, &resource)?;
    let id = references::instance(&request.container_instance, &cluster)?;
    let force = request.force.unwrap_or(false);
    let (now, event, partition) = (call.now, call.event("instance.deregistered", &resource, String::new()), call.context.partition.clone());
    let gone = id.clone();
    let container_instance = call
        .context
        .db
        .write(move |tx| {
            let work =
                Deregistration { cluster: cluster.clone(), id: id.clone(), force, now, event: event.clone(), partition: partition.clone() };
            Box::pin(async move { work.write(tx).await })
        })
        .await?;
    call.context.agents.remove(&gone);
    call.context.rollout_wake.wake();
    Ok(DeregisterContainerInstanceResponse { container_instance })
}

struct Deregistration {
    cluster: ClusterName,
    id: InstanceId,
    force: bool,
    now: Timestamp,
    event: NewEvent,
    partition: Partition,
}

impl Deregistration {
    async fn write(&self, tx: &mut Tx) -> Result<ContainerInstance, EcsError> {
        require_cluster(tx, &self.cluster).await?;
        let found = store::instances::get(tx, &self.id).await?.filter(|instance| instance.cluster == self.cluster);
        let mut instance = found.ok_or_else(|| EcsError::invalid("Container instance not found."))?;
        if instance.status == InstanceStatus::Inactive {
            return Ok(view(tx, &self.partition, &instance).await?);
        }
        let tasks = store::tasks::of_instance_unsettled(tx, &self.id).await?;
        if !tasks.is_empty() && !self.force {
            return Err(EcsError::invalid("Found running tasks on the instance."));
        }
        for task in &tasks {
            if !store::tasks::update_observed(tx, &abandoned(task, self.now)).await? {
                return Err(DbError::Conflict.into());
            }
        }
        instance.status = InstanceStatus::Inactive;
        instance.agent_connected = false;
        if !store::instances::update(tx, &instance).await? {
            return Err(DbError::Conflict.into());
        }
        instance.version += 1;
        identity::authority::revoke(tx, &self.id, self.now).await?;
        store::unknown::replace(tx, &self.id, &[]).await?;
        events::append(tx, self.now, self.said(&instance, tasks.len())).await?;
        Ok(view(tx, &self.partition, &instance).await?)
    }

    fn said(&self, instance: &Instance, tasks: usize) -> NewEvent {
        let abandoned = if tasks == 0 { String::new() } else { format!("; {tasks} tasks there count as stopped, their containers run on") };
        let message = format!("instance {} ({}) was deregistered{abandoned}", instance.id, instance.name);
        NewEvent { message, ..self.event.clone() }
    }
}

/// The last word of a task on whose instance nobody will report again. Pure.
fn abandoned(task: &Task, now: Timestamp) -> Task {
    let mut last = task.clone();
    last.desired_status = DesiredStatus::Stopped;
    last.last_status = TaskStatus::Stopped;
    last.health_status = HealthStatus::Unknown;
    last.stop_code.get_or_insert(StopCode::UserInitiated);
    last.stopped_reason.get_or_insert_with(|| ABANDONED.to_owned());
    last.stopping_at.get_or_insert(now);
    last.stopped_at = Some(now);
    for container in &mut last.containers {
        container.last_status = TaskStatus::Stopped;
        container.health_status = HealthStatus::Unknown;
    }
    last
}
