//! Images of a task definition against this registry: which are ours, which digest their tags mean now, and who may pull them.

use super::call::Call;
use crate::error::EcsError;
use crate::task_definition::images::{Origin, origin, reference};
use model::access::{Resource, Role};
use model::ids::ClusterName;
use model::task::ResolvedImage;
use model::task_definition::TaskDefinition;
use model::{ImageReference, Reference, RepositoryName};
use std::collections::BTreeMap;

pub type Images = BTreeMap<String, ResolvedImage>;

/// Container name to image, as registered: own images with their repository, and with their digest when one is written.
pub async fn classify(call: &Call, definition: &TaskDefinition) -> Result<Images, EcsError> {
    let mut images = Images::new();
    for container in &definition.container_definitions {
        let invalid = |why: String| EcsError::client(format!("The image of container {} is not valid: {why}.", container.name));
        let image: ImageReference = container.image.parse().map_err(|error: model::image::ImageError| invalid(error.to_string()))?;
        let repository = match origin(&image, &call.context.config.own_hosts).map_err(|error| invalid(error.to_string()))? {
            Origin::Own(name) => Some(name),
            Origin::Unhosted(name) => exists(call, &name).await?.then_some(name),
            Origin::Foreign => None,
        };
        let digest = image.digest.filter(|_| repository.is_some());
        let repository = repository.map(|name| name.to_string());
        images.insert(container.name.clone(), ResolvedImage { repository, digest, image: container.image.clone() });
    }
    Ok(images)
}

/// The same images with a digest for each own one: what the tags mean now. An image that is not there is refused by name.
pub async fn resolve(call: &Call, images: &Images) -> Result<Images, EcsError> {
    let mut resolved = images.clone();
    for (container, image) in &mut resolved {
        let Some(repository) = &image.repository else { continue };
        let missing = || {
            EcsError::client(format!(
                "CannotPullContainerError: container {container}: image {} does not exist in this registry; push it, or name one that does.",
                image.image
            ))
        };
        let repository: RepositoryName = repository.parse().map_err(|_| missing())?;
        let wanted = match &image.digest {
            Some(digest) => Reference::Digest(digest.clone()),
            None => reference(&image.image.parse().map_err(|_| missing())?),
        };
        let digest = (call.context.registry.resolve)(repository, wanted).await.map_err(EcsError::Internal)?;
        image.digest = Some(digest.ok_or_else(missing)?);
    }
    Ok(resolved)
}

/// Deploying does not bypass pulling: the caller holds `pull` on every own image.
pub fn require_pull(call: &Call, images: &Images) -> Result<(), EcsError> {
    images
        .values()
        .filter_map(|image| image.repository.as_deref())
        .try_for_each(|name| call.require(Role::Pull, &Resource::repository(name)))
}

/// Folders and the network of a host are for admins of the cluster.
pub fn require_host_access(call: &Call, cluster: &ClusterName, definition: &TaskDefinition) -> Result<(), EcsError> {
    match crate::task_definition::wants_cluster_admin(definition) {
        Some(what) => call.require(Role::Admin, &Resource::cluster(cluster.as_str())).map_err(|error| match error {
            EcsError::Refused { code, message } => EcsError::new(code, format!("{message} (needed for {what})")),
            other => other,
        }),
        None => Ok(()),
    }
}

async fn exists(call: &Call, name: &RepositoryName) -> Result<bool, EcsError> {
    let found = (call.context.registry.list_repositories)(Some(vec![name.clone()]), None, 1).await.map_err(EcsError::Internal)?;
    Ok(!found.is_empty())
}
