//! What the control plane needs of the registry, as functions: neither crate knows the other.

use deployer::{RegistryFunctions, RepositoryEntry};
use futures_util::FutureExt;
use registry::{AssignedKind, AssignedRequest, Filter, Registry, RegistryError, Repository, SettingsChange};
use std::sync::Arc;

pub fn of(registry: &Registry) -> RegistryFunctions {
    let (resolving, serving, creating, listing) = (registry.clone(), registry.clone(), registry.clone(), registry.clone());
    let changing = registry.clone();
    RegistryFunctions {
        resolve: Arc::new(move |repository, reference| {
            let registry = resolving.clone();
            async move { registry::resolve(&registry, &repository, &reference).await.map_err(|error| error.to_string()) }.boxed()
        }),
        serve_assigned: Arc::new(move |request| {
            let registry = serving.clone();
            async move { registry::serve_assigned(&registry, assigned(request)).await }.boxed()
        }),
        create_repository: Arc::new(move |name, principal, tags| {
            let registry = creating.clone();
            let tags = serde_json::to_string(&tags).unwrap_or_default();
            async move {
                match registry::create_repository(&registry, &name, &principal, &tags).await {
                    Ok(made) => Ok(Some(entry(made))),
                    Err(RegistryError::RepositoryExists(_)) => Ok(None),
                    Err(error) => Err(error.to_string()),
                }
            }
            .boxed()
        }),
        list_repositories: Arc::new(move |names, after, limit| {
            let registry = listing.clone();
            let filter = names.map_or(Filter::After(after), Filter::Names);
            let limit = usize::try_from(limit).unwrap_or(0);
            async move {
                let found = registry::list_repositories(&registry, &filter, limit).await.map_err(|error| error.to_string())?;
                Ok(found.into_iter().map(entry).collect())
            }
            .boxed()
        }),
        set_tag_mutability: Arc::new(move |name, caller, (tag_overwrite, tag_exceptions)| {
            let registry = changing.clone();
            let change =
                SettingsChange { tag_overwrite: Some(tag_overwrite), tag_exceptions: Some(tag_exceptions), ..SettingsChange::default() };
            async move {
                let changed = registry::change_settings(&registry, &name, &caller, change).await;
                changed.map(|repository| repository.map(entry)).map_err(|error| error.to_string())
            }
            .boxed()
        }),
    }
}

fn entry(repository: Repository) -> RepositoryEntry {
    RepositoryEntry { name: repository.name, created_at: repository.created_at, settings: repository.settings }
}

fn assigned(request: deployer::AssignedRequest) -> AssignedRequest {
    AssignedRequest {
        repository: request.repository,
        roots: request.roots,
        kind: if request.is_manifest { AssignedKind::Manifest } else { AssignedKind::Blob },
        digest: request.digest,
        method: request.method,
        headers: request.headers,
        instance: request.instance.to_string(),
        address: request.address,
    }
}
