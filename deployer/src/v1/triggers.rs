//! `/api/v1/triggers`

use super::Api;
use super::services::{self, clip};
use crate::store;
use crate::triggers::filter::Answer;
use crate::triggers::manage::{self, Which, Wish};
use crate::triggers::{Actor, TriggerError};
use api::v1::triggers::{self as wire, HoldTriggers, NewTrigger, ResumeTriggers, TagTest, TestQuery, TriggerList, TriggerQuery};
use api::v1::{Page, Problem};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use identity::http::{ApiError, ApiJson, ApiPath, ApiQuery, Authenticated};
use model::trigger::{Hold, Trigger};

/// Makes a trigger: takes `deploy` on the service and `pull` on the repository.
#[utoipa::path(post, path = "/api/v1/triggers", tag = "triggers", operation_id = "create_trigger", request_body = NewTrigger, responses(
    (status = 201, body = wire::Trigger),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiJson(new): ApiJson<NewTrigger>,
) -> Result<(StatusCode, Json<wire::Trigger>), ApiError> {
    let (cluster, service) = services::parse(&new.service)?;
    let repository = new.repository.parse().map_err(|error: model::name::NameError| ApiError::invalid(error.to_string()))?;
    let NewTrigger { container, tag, kind, exclude, .. } = new;
    let wish = Wish { cluster, service, container, repository, tag, kind, exclude };
    let actor = Actor::new(api.0, caller).await?;
    Ok((StatusCode::CREATED, Json(trigger(manage::create(&actor, wish).await?))))
}

/// Triggers by id, of services that the caller may see.
#[utoipa::path(get, path = "/api/v1/triggers", tag = "triggers", operation_id = "list_triggers", params(TriggerQuery), responses(
    (status = 200, body = Page<wire::Trigger>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<TriggerQuery>,
) -> Result<Json<Page<wire::Trigger>>, ApiError> {
    let limit = services::limit(query.limit)?;
    let service = query.service.as_deref().map(services::parse).transpose()?;
    let filter = store::triggers::Filter { service, repository: query.repository.as_deref().map(clip) };
    let actor = Actor::new(api.0, caller).await?;
    let after = query.after.as_deref().map(clip).unwrap_or_default();
    let mut connection = actor.context.db.read().await.map_err(TriggerError::from)?;
    let found = store::triggers::list(&mut connection, &filter, &after, limit).await.map_err(TriggerError::from)?;
    let next = services::next(&found, limit).map(|last| last.id.clone());
    let seen = found.into_iter().filter(|trigger| manage::sees(&actor, &trigger.cluster, &trigger.service));
    Ok(Json(Page { items: seen.map(trigger).collect(), next }))
}

/// One trigger.
#[utoipa::path(get, path = "/api/v1/triggers/{id}", tag = "triggers", operation_id = "get_trigger", params(("id" = String, Path)), responses(
    (status = 200, body = wire::Trigger),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<wire::Trigger>, ApiError> {
    let actor = Actor::new(api.0, caller).await?;
    Ok(Json(trigger(manage::get(&actor, &id).await?)))
}

/// Removes a trigger; what waits for approval because of it is rejected. Takes `deploy` on the service.
#[utoipa::path(delete, path = "/api/v1/triggers/{id}", tag = "triggers", operation_id = "remove_trigger", params(("id" = String, Path)),
    responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn remove(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
) -> Result<StatusCode, ApiError> {
    let actor = Actor::new(api.0, caller).await?;
    manage::remove(&actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a trigger follows a tag, or why not.
#[utoipa::path(get, path = "/api/v1/triggers/{id}/test", tag = "triggers", operation_id = "test_trigger",
    params(("id" = String, Path), TestQuery), responses(
    (status = 200, body = TagTest),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn test(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
    ApiQuery(query): ApiQuery<TestQuery>,
) -> Result<Json<TagTest>, ApiError> {
    let tag = query.tag.parse().map_err(|error: model::name::NameError| ApiError::invalid(error.to_string()))?;
    let actor = Actor::new(api.0, caller).await?;
    Ok(Json(match manage::test(&actor, &id, &tag).await? {
        Answer::Match(_) => TagTest { matches: true, reason: None },
        Answer::No(why) => TagTest { matches: false, reason: Some(why) },
    }))
}

/// Keeps triggers from deploying. Takes `deploy` on the service. Gives those that were not held before.
#[utoipa::path(post, path = "/api/v1/triggers/hold", tag = "triggers", operation_id = "hold_triggers", request_body = HoldTriggers, responses(
    (status = 200, body = TriggerList),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn hold(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiJson(wish): ApiJson<HoldTriggers>,
) -> Result<Json<TriggerList>, ApiError> {
    let which = which(wish.service, wish.trigger)?;
    let actor = Actor::new(api.0, caller).await?;
    Ok(Json(listed(manage::hold(&actor, which, &wish.reason).await?)))
}

/// Lets triggers deploy again. Takes `deploy` on the service. Gives those that were held.
#[utoipa::path(post, path = "/api/v1/triggers/resume", tag = "triggers", operation_id = "resume_triggers", request_body = ResumeTriggers,
    responses(
    (status = 200, body = TriggerList),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn resume(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiJson(wish): ApiJson<ResumeTriggers>,
) -> Result<Json<TriggerList>, ApiError> {
    let which = which(wish.service, wish.trigger)?;
    let actor = Actor::new(api.0, caller).await?;
    Ok(Json(listed(manage::resume(&actor, which).await?)))
}

fn which(service: Option<String>, trigger: Option<String>) -> Result<Which, ApiError> {
    match (service, trigger) {
        (Some(service), None) => services::parse(&service).map(|(cluster, name)| Which::Service(cluster, name)),
        (None, Some(trigger)) => Ok(Which::Trigger(clip(&trigger))),
        _ => Err(ApiError::invalid("name a service or a trigger")),
    }
}

fn listed(triggers: Vec<Trigger>) -> TriggerList {
    TriggerList { items: triggers.into_iter().map(trigger).collect() }
}

fn trigger(trigger: Trigger) -> wire::Trigger {
    let held = |Hold { reason, by, at, .. }| wire::Held { reason, by: by.to_string(), at: at.to_rfc3339() };
    // A regular expression is shown as it can be typed.
    let shown = |rule: model::trigger::TagRule| match rule.kind {
        wire::TagKind::Regex => format!("/{}/", rule.pattern),
        _ => rule.pattern,
    };
    wire::Trigger {
        id: trigger.id,
        service: format!("{}/{}", trigger.cluster, trigger.service),
        container: trigger.container,
        repository: trigger.repository.to_string(),
        kind: trigger.tag.kind,
        tag: shown(trigger.tag),
        exclude: trigger.exclude.into_iter().map(shown).collect(),
        held: trigger.held.map(held),
        created_by: trigger.created_by.to_string(),
        created_at: trigger.created_at.to_rfc3339(),
    }
}
