//! `/api/v1/trigger-decisions` and `/api/v1/pushes/last`: what became of pushes, and what waits for approval.

use super::Api;
use super::services::{self, clip};
use crate::context::Context;
use crate::store;
use crate::triggers::filter::{Answer, TagFilter};
use crate::triggers::{Actor, TriggerError, approval, manage};
use api::v1::triggers::{self as wire, DecisionQuery, PushQuery, PushStatus, Reject};
use api::v1::{Page, Problem};
use axum::Json;
use axum::extract::State;
use identity::http::{ApiError, ApiJson, ApiPath, ApiQuery, Authenticated};
use model::access::{Resource, Role};
use model::trigger::{DecisionStatus, Push, Trigger, TriggerDecision};
use model::{Digest, Reference, RepositoryName, Tag};
use std::sync::Arc;

/// Decisions, the newest pushes first, of services that the caller may see.
#[utoipa::path(get, path = "/api/v1/trigger-decisions", tag = "triggers", operation_id = "list_trigger_decisions", params(DecisionQuery),
    responses(
    (status = 200, body = Page<wire::Decision>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<DecisionQuery>,
) -> Result<Json<Page<wire::Decision>>, ApiError> {
    let limit = services::limit(query.limit)?;
    let filter = store::decisions::Filter {
        trigger: query.trigger.as_deref().map(clip),
        service: query.service.as_deref().map(services::parse).transpose()?,
        repository: query.repository.as_deref().map(clip),
        tag: query.tag.as_deref().map(clip),
        digest: query.digest.as_deref().map(clip),
        status: query.status,
    };
    let before = query.after.as_deref().map(position).transpose()?;
    let before = before.as_ref().map(|(push, id)| (*push, id.as_str()));
    let actor = Actor::new(api.0, caller).await?;
    let mut connection = actor.context.db.read().await.map_err(TriggerError::from)?;
    let found = store::decisions::list(&mut connection, &filter, before, limit).await.map_err(TriggerError::from)?;
    let next = services::next(&found, limit).map(|last| format!("{}/{}", last.push.sequence, last.id));
    let seen = found.into_iter().filter(|decision| manage::sees(&actor, &decision.cluster, &decision.service));
    Ok(Json(Page { items: seen.map(|row| decision(&actor.context, row)).collect(), next }))
}

/// `next` of a page: `PUSH/ID`.
fn position(text: &str) -> Result<(i64, String), ApiError> {
    let parts = text.split_once('/').and_then(|(push, id)| Some((push.parse().ok()?, clip(id))));
    parts.ok_or_else(|| ApiError::invalid("after is the `next` of a page"))
}

/// Deploys a push that waits. Takes of the caller what deploying it by hand would take.
#[utoipa::path(post, path = "/api/v1/trigger-decisions/{id}/approve", tag = "triggers", operation_id = "approve_push",
    params(("id" = String, Path)), responses(
    (status = 200, body = wire::Decision),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn approve(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<wire::Decision>, ApiError> {
    let actor = Actor::new(api.0, caller).await?;
    let approved = approval::approve(&actor, &id).await?;
    Ok(Json(decision(&actor.context, approved)))
}

/// Puts away a push that waits. Takes `deploy` on the service.
#[utoipa::path(post, path = "/api/v1/trigger-decisions/{id}/reject", tag = "triggers", operation_id = "reject_push",
    params(("id" = String, Path)), request_body = Reject, responses(
    (status = 200, body = wire::Decision),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn reject(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
    ApiJson(wish): ApiJson<Reject>,
) -> Result<Json<wire::Decision>, ApiError> {
    let actor = Actor::new(api.0, caller).await?;
    let rejected = approval::reject(&actor, &id, &wish.reason).await?;
    Ok(Json(decision(&actor.context, rejected)))
}

/// The last push of a tag or digest, and what became of it. Takes `pull` on the repository; shows what the caller may see.
#[utoipa::path(get, path = "/api/v1/pushes/last", tag = "triggers", operation_id = "last_push", params(PushQuery), responses(
    (status = 200, body = PushStatus),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn last_push(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<PushQuery>,
) -> Result<Json<PushStatus>, ApiError> {
    let invalid = |error: model::name::NameError| ApiError::invalid(error.to_string());
    let repository: RepositoryName = query.repository.parse().map_err(invalid)?;
    let tag: Option<Tag> = query.tag.as_deref().map(str::parse).transpose().map_err(invalid)?;
    let digest: Option<Digest> = query.digest.as_deref().map(str::parse).transpose().map_err(invalid)?;
    let actor = Actor::new(api.0, caller).await?;
    actor.require(Role::Pull, &Resource::repository(repository.as_str()))?;
    let push = find(&actor.context, &repository, tag, digest).await?;
    Ok(Json(status(&actor, push).await?))
}

/// The push that is asked for; of a tag without a digest, the one that brought what it names now.
async fn find(context: &Context, repository: &RepositoryName, tag: Option<Tag>, digest: Option<Digest>) -> Result<Push, TriggerError> {
    let tag = if digest.is_none() { Some(tag.unwrap_or_else(|| "latest".parse().expect("a tag"))) } else { tag };
    let image = tag.as_ref().map_or_else(|| repository.to_string(), |tag| format!("{repository}:{tag}"));
    let missing = || TriggerError::NotFound(format!("{image} is not in the registry, or was pushed before pushes were recorded"));
    let digest = match (digest, &tag) {
        (Some(digest), _) => digest,
        (None, Some(tag)) => {
            let found = (context.registry.resolve)(repository.clone(), Reference::Tag(tag.clone())).await;
            found.map_err(TriggerError::Registry)?.ok_or_else(missing)?
        }
        (None, None) => return Err(missing()),
    };
    let tag = tag.as_ref().map_or("", Tag::as_str);
    let mut connection = context.db.read().await?;
    let found = store::decisions::last_push(&mut connection, repository.as_str(), tag, digest.as_str()).await?;
    found.ok_or_else(missing)
}

async fn status(actor: &Actor, push: Push) -> Result<PushStatus, TriggerError> {
    let mut connection = actor.context.db.read().await?;
    let (mut decisions, mut undecided) = (Vec::new(), Vec::new());
    for trigger in store::triggers::of_repository(&mut connection, push.repository.as_str()).await? {
        if !follows(&trigger, &push)? || !manage::sees(actor, &trigger.cluster, &trigger.service) {
            continue;
        }
        match store::decisions::of_pair(&mut connection, &trigger.id, push.sequence).await? {
            // Resumed a moment ago: it is decided again.
            Some(found) if found.status == DecisionStatus::Held && trigger.held.is_none() => undecided.push(trigger.id),
            Some(found) => decisions.push(decision(&actor.context, found)),
            None => undecided.push(trigger.id),
        }
    }
    Ok(PushStatus { push: wire_push(&push), decisions, undecided })
}

fn follows(trigger: &Trigger, push: &Push) -> Result<bool, TriggerError> {
    let filter = TagFilter::new(&trigger.tag, &trigger.exclude)?;
    Ok(push.sequence > trigger.after_push && matches!(filter.test(&push.tag), Answer::Match(_)))
}

fn decision(context: &Arc<Context>, decision: TriggerDecision) -> wire::Decision {
    let TriggerDecision { cluster, service, .. } = &decision;
    let attempt = |id| context.partition.service_deployment(cluster, service, id);
    wire::Decision {
        service: format!("{cluster}/{service}"),
        service_deployment: decision.service_deployment.as_ref().map(attempt),
        push: wire_push(&decision.push),
        id: decision.id,
        trigger: decision.trigger_id,
        container: decision.container,
        status: decision.status,
        reason: decision.reason,
        superseded_by: decision.superseded_by,
        decided_by: decision.decided_by.map(|by| by.to_string()),
        decided_at: decision.decided_at.to_rfc3339(),
        deployment: decision.deployment.map(|id| id.to_string()),
        task_definition: decision.task_definition.map(|id| id.to_string()),
    }
}

fn wire_push(push: &Push) -> wire::Push {
    wire::Push {
        sequence: push.sequence,
        repository: push.repository.to_string(),
        tag: push.tag.to_string(),
        digest: push.digest.to_string(),
        principal: push.principal.to_string(),
        at: push.at.to_rfc3339(),
    }
}
