//! DescribeServiceRevisions: which definition and which images, by digest, a deployment brings.

use super::{is_named, limited};
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::operations::call::Call;
use crate::operations::missing;
use crate::operations::references::{self, OfService};
use crate::store;
use api::aws::{self, DescribeServiceRevisionsRequest, DescribeServiceRevisionsResponse};
use model::access::{Resource, Role};
use model::ids::{DeploymentId, Partition};
use model::service::{Deployment, Service};
use platform::db::Tx;

pub const FIELDS: &[Field] = &[("serviceRevisionArns", Rule::Required)];

/// One that is not there, or of a service that the caller may not see, is a failure MISSING.
pub async fn describe(call: &Call, request: DescribeServiceRevisionsRequest) -> Result<DescribeServiceRevisionsResponse, EcsError> {
    let arns = limited("serviceRevisionArns", request.service_revision_arns)?;
    let mut tx = call.context.db.read().await?;
    let mut response = DescribeServiceRevisionsResponse::default();
    for arn in arns {
        let reference = references::service_revision(&arn)?;
        match find(call, &mut tx, &reference).await? {
            Some((service, deployment)) => response.service_revisions.push(wire(&call.context.partition, &service, &deployment)),
            None => response.failures.push(missing(arn)),
        }
    }
    Ok(response)
}

async fn find(call: &Call, tx: &mut Tx, reference: &OfService<DeploymentId>) -> Result<Option<(Service, Deployment)>, EcsError> {
    if !call.may(Role::View, &Resource::service(reference.cluster.as_str(), reference.service.as_str())) {
        return Ok(None);
    }
    let Some(deployment) = store::deployments::get(tx, &reference.id).await? else { return Ok(None) };
    let service = store::services::by_id(tx, &deployment.service_id).await?;
    Ok(service.filter(|service| is_named(service, reference)).map(|service| (service, deployment)))
}

fn wire(partition: &Partition, service: &Service, deployment: &Deployment) -> aws::ServiceRevision {
    let images = deployment.images.iter().map(|(container, image)| aws::ContainerImage {
        container_name: container.clone(),
        image_digest: image.digest.as_ref().map(ToString::to_string),
        image: image.image.clone(),
    });
    aws::ServiceRevision {
        service_revision_arn: partition.service_revision(&service.cluster, &service.name, &deployment.id),
        service_arn: partition.service(&service.cluster, &service.name),
        cluster_arn: partition.cluster(&service.cluster),
        task_definition: partition.task_definition(&deployment.task_definition),
        launch_type: "EC2".into(),
        container_images: images.collect(),
        created_at: deployment.created_at.as_secs_f64(),
    }
}
