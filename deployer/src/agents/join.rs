//! How an agent gets its certificate: the first for a join token, the next ones for the one it has.

use super::certificate::Peer;
use super::error::Refusal;
use crate::context::Context;
use crate::store;
use api::agent::{AgentErrorCode, JoinRequest, JoinResponse, RenewRequest, RenewResponse};
use axum::Json;
use axum::extract::State;
use identity::authority::AgentCertificate;
use identity::{Authority, authority, join_tokens};
use model::Timestamp;
use model::access::Resource;
use model::cluster::ClusterStatus;
use model::ids::{ClusterName, InstanceId};
use model::instance::{DEFAULT_ZONE, Instance, InstanceStatus, Protocol, RESERVED_PORTS, Resources, ZONE_ATTRIBUTE};
use platform::db::Tx;
use platform::events::{self, NewEvent};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest name of a host, zone, attribute or value, in bytes.
pub const TEXT_BYTES_MAX: usize = 255;
/// Most attributes of one instance.
pub const ATTRIBUTES_MAX: usize = 100;

/// `POST /agent/v1/join`: the one route without a certificate.
pub async fn join(State(context): State<Arc<Context>>, Json(request): Json<JoinRequest>) -> Result<Json<JoinResponse>, Refusal> {
    check(&request)?;
    let authority = Authority::open(&context.identity).await?;
    let id = InstanceId::from_random(platform::random::bits128());
    let certificate = authority.sign_agent(&request.certificate_request, &id)?;
    let (pem, now, request) = (certificate.pem.clone(), context.clock.now(), Arc::new(request));
    let cluster = context
        .db
        .write(move |tx| {
            let (request, certificate) = (request.clone(), certificate.clone());
            Box::pin(async move { write_join(tx, &request, &certificate, now).await })
        })
        .await?;
    tracing::info!(instance.id = %id, cluster = %cluster, "instance {id} joined");
    Ok(Json(JoinResponse {
        instance_id: id,
        cluster: cluster.to_string(),
        certificate: pem,
        authority: authority.authority_pem().to_owned(),
        control_plane_id: context.config.control_plane_id.clone(),
    }))
}

/// `POST /agent/v1/renew`
pub async fn renew(
    State(context): State<Arc<Context>>,
    Peer(instance): Peer,
    Json(request): Json<RenewRequest>,
) -> Result<Json<RenewResponse>, Refusal> {
    let authority = Authority::open(&context.identity).await?;
    let certificate = authority.issue_agent(&request.certificate_request, &instance.id).await?;
    Ok(Json(RenewResponse { certificate: certificate.pem, authority: authority.authority_pem().to_owned() }))
}

/// Uses up the token, makes the instance and records its certificate: all or nothing.
async fn write_join(tx: &mut Tx, request: &JoinRequest, certificate: &AgentCertificate, now: Timestamp) -> Result<ClusterName, Refusal> {
    let refuse = |message: &str| Refusal::new(AgentErrorCode::JoinToken, message);
    let cluster = join_tokens::consume(tx, &request.token, now).await?;
    let cluster = cluster.ok_or_else(|| refuse("the join token is wrong, used or expired"))?;
    if request.cluster.as_ref().is_some_and(|expected| *expected != cluster.as_str()) {
        return Err(refuse(&format!("the join token is for cluster {cluster}")));
    }
    let there = store::clusters::get(tx, &cluster).await?.is_some_and(|cluster| cluster.status == ClusterStatus::Active);
    if !there {
        return Err(refuse("the cluster of the join token does not exist any more"));
    }
    let instance = new_instance(request, &certificate.instance, cluster.clone(), now);
    store::instances::insert(tx, &instance).await?;
    authority::record(tx, certificate).await?;
    events::append(tx, now, event(&instance, "instance.joined", format!("instance {} ({}) joined", instance.id, instance.name))).await?;
    Ok(cluster)
}

/// An event about an instance; seen by those who may see its cluster.
pub(super) fn event(instance: &Instance, kind: &'static str, message: String) -> NewEvent {
    NewEvent {
        kind,
        principal: None,
        subject: Resource::cluster(instance.cluster.as_str()).to_string(),
        message,
        detail: serde_json::json!({ "instance": instance.id.as_str(), "name": instance.name }),
    }
}

/// Refuses names and attributes without measure.
pub(super) fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let long = |text: &String| text.len() > TEXT_BYTES_MAX;
    if attributes.len() > ATTRIBUTES_MAX || attributes.iter().any(|(name, value)| name.is_empty() || long(name) || long(value)) {
        return Err(Refusal::invalid(format!("at most {ATTRIBUTES_MAX} attributes of at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check(request: &JoinRequest) -> Result<(), Refusal> {
    let zone = request.zone.as_deref().unwrap_or(DEFAULT_ZONE);
    if request.name.is_empty() || request.name.len() > TEXT_BYTES_MAX || zone.is_empty() || zone.len() > TEXT_BYTES_MAX {
        return Err(Refusal::invalid(format!("name and zone have 1 to {TEXT_BYTES_MAX} bytes")));
    }
    check_attributes(&request.attributes)
}

/// Without size until it registers.
fn new_instance(request: &JoinRequest, id: &InstanceId, cluster: ClusterName, now: Timestamp) -> Instance {
    let mut attributes = request.attributes.clone();
    attributes.insert(ZONE_ATTRIBUTE.to_owned(), request.zone.clone().unwrap_or_else(|| DEFAULT_ZONE.to_owned()));
    let ports = RESERVED_PORTS.into_iter().map(|port| (Protocol::Tcp, port)).collect();
    Instance {
        id: id.clone(),
        cluster,
        name: request.name.clone(),
        status: InstanceStatus::Active,
        agent_connected: false,
        registered: Resources { cpu: 0, memory: 0, ports },
        attributes,
        agent_version: String::new(),
        docker_version: String::new(),
        address: String::new(),
        version: 1,
        registered_at: now,
    }
}
