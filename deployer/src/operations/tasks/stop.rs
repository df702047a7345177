//! StopTask: asks for the stop; the agent does it and says when it is done.

use super::{service_name, view};
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::operations::call::Call;
use crate::operations::references;
use crate::operations::services::require_cluster;
use crate::{store, task_events};
use api::aws::{StopTaskRequest, StopTaskResponse};
use model::access::{Resource, Role};
use model::task::{StopCode, Task};
use platform::events;

pub const FIELDS: &[Field] = &[("cluster", Rule::Taken), ("task", Rule::Required), ("reason", Rule::Taken)];

/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 1024;
const REASON_DEFAULT: &str = "Task stopped by user";

pub async fn stop(call: &Call, request: StopTaskRequest) -> Result<StopTaskResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let id = references::task(&request.task, &cluster)?;
    let reason = request.reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| REASON_DEFAULT.to_owned());
    if reason.chars().count() > REASON_CHARS_MAX {
        return Err(EcsError::invalid(format!("reason has at most {REASON_CHARS_MAX} characters.")));
    }
    let mut tx = call.context.db.read().await?;
    require_cluster(&mut tx, &cluster).await?;
    let found = store::tasks::get(&mut tx, &id).await?.filter(|task| task.cluster == cluster);
    drop(tx);
    // Who may not stop anything of the cluster learns nothing about which tasks there are.
    let Some(task) = found else {
        call.require(Role::Deploy, &Resource::cluster(cluster.as_str()))?;
        return Err(missing());
    };
    let resource = stopped_by(&task);
    call.require(Role::Deploy, &resource)?;
    let (now, event) = (call.now, call.event("task.stopped", &resource, format!("task {id} stopped")));
    let partition = call.context.partition.clone();
    let task = call
        .context
        .db
        .write(move |tx| {
            let (id, reason, event, partition) = (id.clone(), reason.clone(), event.clone(), partition.clone());
            Box::pin(async move {
                let ordered = store::tasks::order_stop(tx, &id, StopCode::UserInitiated, reason, now).await?;
                if let Some(task) = &ordered {
                    events::append(tx, now, event).await?;
                    task_events::append(tx, now, [task]).await?;
                }
                let task = match ordered {
                    Some(task) => task,
                    None => store::tasks::get(tx, &id).await?.ok_or_else(missing)?,
                };
                view::View::new(&partition).task(tx, &task, true).await
            })
        })
        .await?;
    call.context.orders_wake.wake();
    call.context.rollout_wake.wake();
    Ok(StopTaskResponse { task })
}

/// What `deploy` is needed on: the task's service, or its cluster when it has none.
fn stopped_by(task: &Task) -> Resource {
    match service_name(task) {
        Some(name) => Resource::service(task.cluster.as_str(), name),
        None => Resource::cluster(task.cluster.as_str()),
    }
}

fn missing() -> EcsError {
    EcsError::invalid("The referenced task was not found.")
}
