//! `/api/v1/registry/garbage`: what would be collected and why, and a collection at once.

use super::{Api, fault, require_admin};
use crate::context::GcConfig;
use crate::gc::judge::{Kind, Need, Verdict};
use crate::gc::{self, Collected, Plan};
use api::v1::Problem;
use api::v1::garbage::{GarbageCollected, GarbageItem, GarbagePlan};
use axum::Json;
use axum::extract::State;
use identity::http::{ApiError, Authenticated};
use model::access::Resource;

/// What a collection would take now, and why; nothing is changed. For server admins.
#[utoipa::path(get, path = "/api/v1/registry/garbage", tag = "registry",
    responses((status = 200, description = "What is due", body = GarbagePlan), (status = "default", description = "Refused", body = Problem)))]
pub(super) async fn plan(State(api): State<Api>, Authenticated(caller): Authenticated) -> Result<Json<GarbagePlan>, ApiError> {
    require_admin(&api.0, &caller, &Resource::server()).await?;
    let plan = gc::preview(&api.0).await.map_err(fault)?;
    Ok(Json(wire(&api.0.config.gc, plan)))
}

/// Collects what is due now, rather than within the next minutes. For server admins.
#[utoipa::path(post, path = "/api/v1/registry/garbage/collect", tag = "registry",
    responses((status = 200, description = "What was taken", body = GarbageCollected),
        (status = "default", description = "Refused", body = Problem)))]
pub(super) async fn collect(State(api): State<Api>, Authenticated(caller): Authenticated) -> Result<Json<GarbageCollected>, ApiError> {
    require_admin(&api.0, &caller, &Resource::server()).await?;
    let Collected { manifests, links, blobs, files, bytes, pinned, more, .. } = gc::run(&api.0, &caller).await.map_err(fault)?;
    Ok(Json(GarbageCollected { manifests, links, blobs, files, bytes, pinned, more }))
}

fn wire(config: &GcConfig, plan: Plan) -> GarbagePlan {
    GarbagePlan {
        grace_secs: config.grace.as_secs(),
        untagged_secs: config.untagged.map(|untagged| untagged.as_secs()),
        items: plan.entries.into_iter().filter_map(item).collect(),
        more: plan.more,
        bytes: plan.bytes,
        bytes_later: plan.bytes_later,
        files: plan.files,
        waiting_blobs: plan.waiting_blobs.count,
        waiting_blob_bytes: plan.waiting_blobs.bytes,
        waiting_manifests: plan.waiting_manifests.count,
    }
}

/// None for what stopped being a candidate while it was looked at.
fn item(entry: gc::Entry) -> Option<GarbageItem> {
    let gc::Entry { candidate, verdict, frees } = entry;
    let repository = candidate.place.map(|place| place.repository.to_string());
    let reason = reason(candidate.kind, &verdict, repository.as_deref())?;
    Some(GarbageItem {
        kind: candidate.kind.as_str().to_owned(),
        repository,
        digest: candidate.digest.to_string(),
        bytes: frees,
        goes: verdict == Verdict::Remove,
        reason,
        since: candidate.since.to_rfc3339(),
    })
}

fn reason(kind: Kind, verdict: &Verdict, repository: Option<&str>) -> Option<String> {
    let repository = repository.unwrap_or_default();
    Some(match verdict {
        Verdict::Leave => return None,
        Verdict::Remove => match kind {
            Kind::Manifest => "no tag, no index and no subject needs it".to_owned(),
            Kind::Link => format!("no manifest of {repository} names it"),
            Kind::Blob => "no repository holds it".to_owned(),
        },
        Verdict::Keep(need) => match need {
            Need::Tag => "a tag names it again".to_owned(),
            Need::Index => "an index names it".to_owned(),
            Need::Subject => "it refers to a manifest that is there".to_owned(),
            Need::Manifest => "a manifest names it".to_owned(),
            Need::Repository => "a repository holds it".to_owned(),
        },
        Verdict::Pinned(holder) => format!("pinned by {holder}"),
    })
}
