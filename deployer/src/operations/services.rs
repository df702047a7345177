//! DescribeServices and ListServices; what changes services is in the files below.

pub mod circuit_breaker;
pub mod create;
pub mod delete;
pub mod deployment;
pub mod deployments;
pub mod settings;
pub mod update;
pub mod view;

use super::call::Call;
use super::{missing, paging, references, tags};
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::store;
use api::aws::{DescribeServicesRequest, DescribeServicesResponse, ListServicesRequest, ListServicesResponse};
use model::access::{Resource, Role};
use model::cluster::ClusterStatus;
use model::ids::ClusterName;
use platform::db::Tx;

pub const DESCRIBE: &[Field] = &[("cluster", Rule::Taken), ("services", Rule::Required), ("include", Rule::Taken)];
pub const LIST: &[Field] = &[
    ("cluster", Rule::Taken),
    ("nextToken", Rule::Taken),
    ("maxResults", Rule::Taken),
    ("launchType", Rule::Taken),
    ("schedulingStrategy", Rule::Taken),
];

/// Most services described in one call.
const DESCRIBED_MAX: usize = 10;

/// A service that is not there, or that the caller may not see, is a failure MISSING: waiters depend on it.
pub async fn describe(call: &Call, request: DescribeServicesRequest) -> Result<DescribeServicesResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let with_tags = tags::included(request.include.as_ref(), "TAGS", &["TAGS"])?;
    if request.services.is_empty() || request.services.len() > DESCRIBED_MAX {
        return Err(EcsError::invalid(format!("services has to name 1 to {DESCRIBED_MAX} services.")));
    }
    let mut tx = call.context.db.read().await?;
    require_cluster(&mut tx, &cluster).await?;
    let mut response = DescribeServicesResponse::default();
    for text in &request.services {
        let name = references::service(text, &cluster)?;
        let visible = call.may(Role::View, &Resource::service(cluster.as_str(), name.as_str()));
        let found = if visible { store::services::get(&mut tx, &cluster, &name).await? } else { None };
        if let Some(service) = found {
            response.services.push(view::service(&mut tx, &call.context.partition, &service, with_tags).await?);
        } else {
            response.failures.push(missing(call.context.partition.service(&cluster, &name)));
        }
    }
    Ok(response)
}

pub async fn list(call: &Call, request: ListServicesRequest) -> Result<ListServicesResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let every = among("launchType", request.launch_type.as_deref(), &["EC2"], &["FARGATE", "EXTERNAL", "MANAGED_INSTANCES"])?
        && among("schedulingStrategy", request.scheduling_strategy.as_deref(), &["REPLICA"], &["DAEMON"])?;
    let mut tx = call.context.db.read().await?;
    require_cluster(&mut tx, &cluster).await?;
    let services = if every { store::services::list(&mut tx, &cluster).await? } else { Vec::new() };
    let visible = services.into_iter().filter(|service| call.may(Role::View, &Resource::service(cluster.as_str(), service.name.as_str())));
    let arns = visible.map(|service| (service.name.to_string(), call.context.partition.service(&cluster, &service.name))).collect();
    let page = paging::page(arns, request.next_token.as_deref(), request.max_results, paging::SERVICES)?;
    Ok(ListServicesResponse { service_arns: page.items, next_token: page.next_token })
}

/// Whether a filter lets through what there is here; a value that ECS does not know is refused.
pub(crate) fn among(name: &str, value: Option<&str>, here: &[&str], elsewhere: &[&str]) -> Result<bool, EcsError> {
    match value {
        None | Some("") => Ok(true),
        Some(value) if here.contains(&value) => Ok(true),
        Some(value) if elsewhere.contains(&value) => Ok(false),
        Some(_) => Err(EcsError::invalid(format!("{name} can be {} or {}.", here.join(", "), elsewhere.join(", ")))),
    }
}

/// The cluster has to be there and active.
pub(crate) async fn require_cluster(tx: &mut Tx, cluster: &ClusterName) -> Result<(), EcsError> {
    match store::clusters::get(tx, cluster).await? {
        Some(cluster) if cluster.status == ClusterStatus::Active => Ok(()),
        _ => Err(EcsError::cluster_not_found()),
    }
}
