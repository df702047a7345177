//! The image gate: an agent's relay gets what its instance's tasks need, and nothing else.
//!
//! Roots are the digests of the instance's tasks that are to run and whose principal still may pull; the registry serves what is
//! reachable from them.

use super::certificate::Peer;
use super::error::Refusal;
use crate::context::{AssignedRequest, Context};
use crate::rollout::observe::missing_grant;
use crate::store;
use api::agent::AgentErrorCode;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, Method};
use identity::http::ClientAddress;
use model::ids::InstanceId;
use model::task::{DesiredStatus, Task};
use model::{Digest, RepositoryName};
use std::collections::BTreeSet;
use std::sync::Arc;

/// `GET` and `HEAD /agent/v1/images/{repository}/manifests/{digest}`, `…/blobs/{digest}`
pub async fn image(
    State(context): State<Arc<Context>>,
    Peer(instance): Peer,
    ClientAddress(address): ClientAddress,
    method: Method,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if method != Method::GET && method != Method::HEAD {
        return Err(Refusal::invalid("images are read with GET and HEAD"));
    }
    let (repository, is_manifest, digest) = parse(&path).ok_or_else(|| Refusal::invalid("not the path of an image"))?;
    let roots = roots(&context, &instance.id, &repository).await?;
    let request = AssignedRequest { repository, roots, is_manifest, digest, method, headers, instance: instance.id, address };
    Ok((context.registry.serve_assigned)(request).await)
}

/// `acme/web/manifests/sha256:…`: the repository may contain the words, so the last ones count.
fn parse(path: &str) -> Option<(RepositoryName, bool, Digest)> {
    let (rest, digest) = path.rsplit_once('/')?;
    let (repository, kind) = rest.rsplit_once('/')?;
    let is_manifest = match kind {
        "manifests" => true,
        "blobs" => false,
        _ => return None,
    };
    Some((repository.parse().ok()?, is_manifest, digest.parse().ok()?))
}

async fn roots(context: &Context, instance: &InstanceId, repository: &RepositoryName) -> Result<Vec<Digest>, Refusal> {
    let snapshot = context.identity.snapshot().await?;
    let mut connection = context.db.read().await?;
    let tasks = store::tasks::of_instance_unsettled(&mut connection, instance).await?;
    drop(connection);
    let (mut roots, mut denied) = (BTreeSet::new(), None);
    for task in tasks.iter().filter(|task| task.desired_status == DesiredStatus::Running) {
        let digests: Vec<_> = digests(task, repository).collect();
        if digests.is_empty() {
            continue;
        }
        match missing_grant(&snapshot, &task.principal, &task.images) {
            None => roots.extend(digests),
            Some(reason) => denied = Some(reason),
        }
    }
    if roots.is_empty() {
        let reason = denied.unwrap_or_else(|| format!("no task of this instance runs an image of {repository}"));
        return Err(Refusal::new(AgentErrorCode::NotAssigned, reason));
    }
    Ok(roots.into_iter().collect())
}

fn digests<'a>(task: &'a Task, repository: &'a RepositoryName) -> impl Iterator<Item = Digest> + 'a {
    let of_repository = task.images.values().filter(|image| image.repository.as_deref() == Some(repository.as_str()));
    of_repository.filter_map(|image| image.digest.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let (repository, is_manifest, _) = parse(&format!("acme/blobs/web/manifests/{digest}")).unwrap();
        assert_eq!((repository.as_str(), is_manifest), ("acme/blobs/web", true));
        assert!(!parse(&format!("web/blobs/{digest}")).unwrap().1);
        for bad in ["", "web", "web/manifests/latest", &format!("manifests/{digest}"), &format!("../x/blobs/{digest}")] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
