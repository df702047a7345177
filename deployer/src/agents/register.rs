//! An agent tells what its host offers: at its start, and after the server's.

use super::certificate::Peer;
use super::error::Refusal;
use super::join::{TEXT_BYTES_MAX, check_attributes, event};
use crate::context::Context;
use crate::{store, task_events};
use api::agent::{RegisterRequest, RegisterResponse};
use axum::Json;
use axum::extract::State;
use model::Timestamp;
use model::ids::InstanceId;
use model::instance::{Instance, Protocol, RESERVED_PORTS};
use platform::db::{DbError, Tx};
use platform::events;
use std::sync::Arc;

/// Most CPU units and MiB believed of one host.
const SIZE_MAX: i64 = 1 << 32;
/// Most host ports that an agent may name as taken.
const RESERVED_PORTS_MAX: usize = 65_536;

/// `POST /agent/v1/register`
pub async fn register(
    State(context): State<Arc<Context>>,
    Peer(instance): Peer,
    Json(request): Json<RegisterRequest>,
) -> Result<Json<RegisterResponse>, Refusal> {
    check(&request)?;
    let (id, now, request) = (instance.id.clone(), context.clock.now(), Arc::new(request));
    context
        .db
        .write(move |tx| {
            let (id, request) = (id.clone(), request.clone());
            Box::pin(async move { write(tx, &id, &request, now).await })
        })
        .await?;
    context.agents.registered(&instance.id, now);
    context.rollout_wake.wake();
    Ok(Json(RegisterResponse {
        epoch: context.config.epoch,
        control_plane_id: context.config.control_plane_id.clone(),
        instance_arn: context.partition.container_instance(&instance.cluster, &instance.id),
        cluster: instance.cluster.to_string(),
        image_host: context.config.image_host.clone(),
    }))
}

fn check(request: &RegisterRequest) -> Result<(), Refusal> {
    let long = [&request.agent_version, &request.docker_version, &request.address].into_iter().any(|text| text.len() > TEXT_BYTES_MAX);
    let size = [request.cpu, request.memory].into_iter().all(|size| (0..=SIZE_MAX).contains(&size));
    if long || !size || request.reserved_ports.len() > RESERVED_PORTS_MAX {
        return Err(Refusal::invalid("versions, address, sizes or ports are out of bounds"));
    }
    check_attributes(&request.attributes)
}

async fn write(tx: &mut Tx, id: &InstanceId, request: &RegisterRequest, now: Timestamp) -> Result<(), DbError> {
    let Some(before) = store::instances::get(tx, id).await? else { return Ok(()) };
    let after = registered(&before, request);
    if after != before && !store::instances::update(tx, &after).await? {
        return Err(DbError::Conflict);
    }
    store::tasks::set_connected(tx, id, true).await?;
    if !before.agent_connected {
        let tasks = store::tasks::of_instance_unsettled(tx, id).await?;
        task_events::append(tx, now, &tasks).await?;
        events::append(tx, now, event(&after, "instance.connected", format!("instance {id} ({}) connected", after.name))).await?;
    }
    Ok(())
}

/// The instance as its agent describes it. Attributes given at join stay unless the agent says otherwise.
fn registered(before: &Instance, request: &RegisterRequest) -> Instance {
    let mut after = before.clone();
    after.agent_connected = true;
    after.registered.cpu = request.cpu;
    after.registered.memory = request.memory;
    let reserved = RESERVED_PORTS.into_iter().map(|port| (Protocol::Tcp, port));
    let reported = request.reserved_ports.iter().map(|port| (Protocol::Tcp, *port));
    after.registered.ports = reserved.chain(reported).collect();
    after.attributes.extend(request.attributes.clone());
    after.agent_version.clone_from(&request.agent_version);
    after.docker_version.clone_from(&request.docker_version);
    after.address.clone_from(&request.address);
    after
}
