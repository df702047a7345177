//! What agents pull through their relay: content that is reachable from images assigned to their instance, and nothing else.
//!
//! The caller (the agents' listener) knows the instance and its images; no grant is asked here.
//!
//! Some engines fetch a layer from the `urls` of its descriptor before they ask their registry. Hosts stand where who pushed does not, so
//! they are given no manifest with such.

use crate::context::Context;
use crate::error::RegistryError;
use crate::handlers::respond_manifest;
use crate::manifest::validate::{Kind, leads_elsewhere};
use crate::store::{Sight, manifests};
use crate::{audit, blob, manifest};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use identity::audit::{Action, Content};
use model::{Digest, Reference, RepositoryName};
use std::net::IpAddr;
use std::sync::Arc;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignedKind {
    Manifest,
    Blob,
}

/// A request for assigned content.
#[derive(Debug, Clone)]
pub struct AssignedRequest {
    pub repository: RepositoryName,
    /// Digests of the images assigned in that repository.
    pub roots: Vec<Digest>,
    pub kind: AssignedKind,
    pub digest: Digest,
    /// GET or HEAD.
    pub method: Method,
    /// `Range` and conditions count.
    pub headers: HeaderMap,
    /// Id of the container instance that asks, and where from.
    pub instance: String,
    pub address: Option<IpAddr>,
}

/// Serves assigned content; anything else is not found.
pub async fn serve(ctx: &Context, request: AssignedRequest) -> Response {
    let served = if is_reachable(ctx, &request).await { content(ctx, &request).await } else { Err(unknown(&request)) };
    served.unwrap_or_else(IntoResponse::into_response)
}

async fn is_reachable(ctx: &Context, request: &AssignedRequest) -> bool {
    if request.kind == AssignedKind::Manifest && request.roots.contains(&request.digest) {
        return true;
    }
    let kind = match request.kind {
        AssignedKind::Manifest => Kind::Manifest,
        AssignedKind::Blob => Kind::Blob,
    };
    let Ok(mut connection) = ctx.db.read().await else { return false };
    for root in &request.roots {
        match manifests::is_reachable(&mut connection, &request.repository, root, kind, &request.digest).await {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => tracing::error!(%error, repo.name = %request.repository, "cannot look up what an image needs"),
        }
    }
    false
}

async fn content(ctx: &Context, request: &AssignedRequest) -> Result<Response, RegistryError> {
    match request.kind {
        AssignedKind::Manifest => {
            let served = manifest::get(ctx, &request.repository, &Reference::Digest(request.digest.clone()), Sight::Granted).await?;
            if leads_elsewhere(&served.body) {
                return Err(RegistryError::LeadsElsewhere(request.digest.clone()));
            }
            let response = respond_manifest(ctx, &served, &request.method, &request.headers);
            sent(ctx, request, response.status(), Action::Pull, &served.content).await;
            Ok(response)
        }
        AssignedKind::Blob => {
            let served = blob::get(ctx, &request.repository, &request.digest, Sight::Granted).await?;
            let response =
                blob::answer(ctx, &served, &request.repository, &request.digest, Sight::Granted, &request.method, &request.headers).await?;
            sent(ctx, request, response.status(), Action::PullBlob, &served.content).await;
            Ok(response)
        }
    }
}

async fn sent(ctx: &Context, request: &AssignedRequest, status: StatusCode, action: Action, content: &Arc<Content>) {
    if request.method == Method::GET && status.is_success() {
        audit::sent_to_instance(ctx, &request.instance, request.address, action, content).await;
    }
}

fn unknown(request: &AssignedRequest) -> RegistryError {
    let (repository, digest) = (request.repository.clone(), request.digest.to_string());
    match request.kind {
        AssignedKind::Manifest => RegistryError::ManifestUnknown { repository, reference: digest },
        AssignedKind::Blob => RegistryError::BlobUnknown { repository, digest },
    }
}
