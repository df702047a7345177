//! ListServiceDeployments and DescribeServiceDeployments: each attempt to bring a service to a revision, who asked and how it went.
//! `stop` asks for the way back, `revisions` describes what the attempts bring.

pub mod revisions;
pub mod stop;
mod view;

use super::require_cluster;
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::operations::call::Call;
use crate::operations::references::{self, OfService};
use crate::operations::{missing, paging};
use crate::store;
use api::aws::{
    CreatedAt, DescribeServiceDeploymentsRequest, DescribeServiceDeploymentsResponse, ListServiceDeploymentsRequest,
    ListServiceDeploymentsResponse,
};
use model::access::{Resource, Role};
use model::ids::ServiceDeploymentId;
use model::service::{Service, ServiceDeployment, ServiceDeploymentStatus};
use platform::db::Tx;

pub const LIST: &[Field] = &[
    ("service", Rule::Required),
    ("cluster", Rule::Taken),
    ("status", Rule::Taken),
    ("createdAt", Rule::Object(&[("before", Rule::Taken), ("after", Rule::Taken)])),
    ("nextToken", Rule::Taken),
    ("maxResults", Rule::Taken),
];
pub const DESCRIBE: &[Field] = &[("serviceDeploymentArns", Rule::Required)];

/// Most that are described in one call.
const DESCRIBED_MAX: usize = 20;
/// How many of a service are looked through, newest first; older ones are history that no list shows.
const LISTED_MAX: i64 = 1_000;

pub async fn list(call: &Call, request: ListServiceDeploymentsRequest) -> Result<ListServiceDeploymentsResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let name = references::service(&request.service, &cluster)?;
    call.require(Role::View, &Resource::service(cluster.as_str(), name.as_str()))?;
    let statuses = statuses(&request.status.unwrap_or_default())?;
    let created = request.created_at.unwrap_or_default();
    let mut tx = call.context.db.read().await?;
    require_cluster(&mut tx, &cluster).await?;
    let service = store::services::get(&mut tx, &cluster, &name).await?.ok_or_else(EcsError::service_not_found)?;
    let all = store::service_deployments::of_service(&mut tx, &service.id, LISTED_MAX).await?;
    let wanted = |of: &ServiceDeployment| (statuses.is_empty() || statuses.contains(&of.status)) && is_within(&created, of);
    let found = all.iter().filter(|of| wanted(of)).map(|of| (newest_first(of), view::brief(&call.context.partition, &service, of)));
    let page = paging::page(found.collect(), request.next_token.as_deref(), request.max_results, paging::SERVICE_DEPLOYMENTS)?;
    Ok(ListServiceDeploymentsResponse { service_deployments: page.items, next_token: page.next_token })
}

/// One that is not there, or of a service that the caller may not see, is a failure MISSING.
pub async fn describe(call: &Call, request: DescribeServiceDeploymentsRequest) -> Result<DescribeServiceDeploymentsResponse, EcsError> {
    let arns = limited("serviceDeploymentArns", request.service_deployment_arns)?;
    let mut tx = call.context.db.read().await?;
    let mut response = DescribeServiceDeploymentsResponse::default();
    for arn in arns {
        let reference = references::service_deployment(&arn)?;
        match find(call, &mut tx, &reference).await? {
            Some((service, of)) => {
                response.service_deployments.push(view::whole(&mut tx, &call.context.partition, &service, &of).await?);
            }
            None => response.failures.push(missing(arn)),
        }
    }
    Ok(response)
}

/// The service deployment and its service, if both are there and the caller may see them.
async fn find(
    call: &Call,
    tx: &mut Tx,
    reference: &OfService<ServiceDeploymentId>,
) -> Result<Option<(Service, ServiceDeployment)>, EcsError> {
    if !call.may(Role::View, &Resource::service(reference.cluster.as_str(), reference.service.as_str())) {
        return Ok(None);
    }
    let Some(of) = store::service_deployments::get(tx, &reference.id).await? else { return Ok(None) };
    let service = store::services::by_id(tx, &of.service_id).await?;
    Ok(service.filter(|service| is_named(service, reference)).map(|service| (service, of)))
}

/// Whether the names in an ARN are those of the service that its id belongs to.
fn is_named<T>(service: &Service, reference: &OfService<T>) -> bool {
    service.cluster == reference.cluster && service.name == reference.service
}

fn limited(name: &str, arns: Vec<String>) -> Result<Vec<String>, EcsError> {
    if arns.is_empty() || arns.len() > DESCRIBED_MAX {
        return Err(EcsError::invalid(format!("{name} has to name 1 to {DESCRIBED_MAX} ARNs.")));
    }
    Ok(arns)
}

fn statuses(texts: &[String]) -> Result<Vec<ServiceDeploymentStatus>, EcsError> {
    let status = |text: &String| {
        let known = || ServiceDeploymentStatus::ALL.map(ServiceDeploymentStatus::as_str).join(", ");
        ServiceDeploymentStatus::parse(text).ok_or_else(|| EcsError::invalid(format!("status can be {}.", known())))
    };
    texts.iter().map(status).collect()
}

fn is_within(created: &CreatedAt, of: &ServiceDeployment) -> bool {
    let at = of.created_at.as_secs_f64();
    created.after.is_none_or(|after| at > after) && created.before.is_none_or(|before| at < before)
}

/// A key that sorts the newest first.
fn newest_first(of: &ServiceDeployment) -> String {
    format!("{:020}-{}", i64::MAX - of.created_at.as_micros(), of.id)
}
