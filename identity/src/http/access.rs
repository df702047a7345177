//! `/api/v1/whoami` and `/api/v1/access`: questions.

use super::convert::{able, answer, grant, scope};
use super::{ApiError, ApiJson, ApiQuery, Authenticated};
use crate::Identity;
use crate::error::Refusal;
use crate::operations::{is_server_admin, questions};
use api::v1::Problem;
use api::v1::access::{AccessAnswer, AccessQuestion, WhoAmI, WhoCan, WhoCanQuery};
use axum::Json;
use axum::extract::State;
use model::access::Resource;

/// Who the caller is, and its grants.
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
