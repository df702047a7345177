//! `/api/v1/whoami` and `/api/v1/access`: questions.

use super::convert::{able, answer, difference, grant, scope, wishes};
use super::{ApiError, ApiJson, ApiQuery, Authenticated};
use crate::Identity;
use crate::error::Refusal;
use crate::operations::{is_server_admin, preview, questions};
use crate::preview::Effect;
use api::v1::Problem;
use api::v1::access::{AccessAnswer, AccessQuestion, WhoAmI, WhoCan, WhoCanQuery};
use api::v1::teams::{Preview, PreviewQuestion, WhatCan, WhatCanQuery};
use axum::Json;
use axum::extract::State;
use model::access::Resource;

/// Who the caller is, and its grants with those of its teams.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "access", operation_id = "whoami", responses(
    (status = 200, body = WhoAmI),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn whoami(State(identity): State<Identity>, Authenticated(caller): Authenticated) -> Result<Json<WhoAmI>, ApiError> {
    let snapshot = identity.snapshot().await?;
    let mut grants: Vec<_> =
        snapshot.principal(&caller.principal).into_iter().flat_map(|entry| entry.grants().cloned()).map(grant).collect();
    grants.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Json(WhoAmI {
        server_admin: is_server_admin(&snapshot, &caller),
        credential: caller.credential.to_string(),
        scope: caller.scope.map(scope),
        principal: caller.principal,
        grants,
    }))
}

/// May somebody act in a role on a resource, through which grant, and what comes close?
#[utoipa::path(post, path = "/api/v1/access/check", tag = "access", operation_id = "check_access", request_body = AccessQuestion, responses(
    (status = 200, body = AccessAnswer),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn check(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiJson(question): ApiJson<AccessQuestion>,
) -> Result<Json<AccessAnswer>, ApiError> {
    let resource: Resource = question.resource.parse().map_err(Refusal::from)?;
    let given = questions::check(&identity, &caller, question.principal.as_ref(), question.role, &resource).await?;
    Ok(Json(answer(given, question.role, &resource)))
}

/// Everybody who can, each with every grant that says so. Takes admin on the resource or on the server.
#[utoipa::path(get, path = "/api/v1/access/who-can", tag = "access", operation_id = "who_can", params(WhoCanQuery), responses(
    (status = 200, body = WhoCan),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn who_can(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<WhoCanQuery>,
) -> Result<Json<WhoCan>, ApiError> {
    let resource: Resource = query.resource.parse().map_err(Refusal::from)?;
    let principals = questions::who(&identity, &caller, query.role, &resource).await?.into_iter().map(able).collect();
    Ok(Json(WhoCan { role: query.role.to_string(), resource: query.resource, principals }))
}

/// Everything the caller can, or somebody else for server admins: each grant that reaches it, its own and those of its teams.
#[utoipa::path(get, path = "/api/v1/access/what-can", tag = "access", operation_id = "what_can", params(WhatCanQuery), responses(
    (status = 200, body = WhatCan),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn what_can(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<WhatCanQuery>,
) -> Result<Json<WhatCan>, ApiError> {
    let questions::Access { principal, disabled, teams, grants } = questions::what(&identity, &caller, query.principal.as_ref()).await?;
    Ok(Json(WhatCan { principal, disabled, teams, grants: grants.into_iter().map(grant).collect() }))
}

/// Who would gain and who would lose what by changes of grants and memberships. Nothing is changed; takes what the changes take.
#[utoipa::path(post, path = "/api/v1/access/preview", tag = "access", operation_id = "preview_access", request_body = PreviewQuestion, responses(
    (status = 200, body = Preview),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn preview(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiJson(question): ApiJson<PreviewQuestion>,
) -> Result<Json<Preview>, ApiError> {
    let differences = preview::preview(&identity, &caller, wishes(question)).await?;
    let (gains, loses): (Vec<_>, Vec<_>) = differences.into_iter().partition(|difference| difference.effect == Effect::Gains);
    let lines = |list: Vec<_>| list.into_iter().map(difference).collect();
    Ok(Json(Preview { gains: lines(gains), loses: lines(loses) }))
}
