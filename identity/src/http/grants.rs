//! `/api/v1/grants`

use super::convert::grant;
use super::{ApiError, ApiJson, ApiPath, ApiQuery, Authenticated, page};
use crate::Identity;
use crate::operations::grants::{self, Filter, Made, Wish};
use api::v1::access::{Grant, GrantQuery, NewGrant};
use api::v1::{Page, Problem};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

/// Grants by id: one's own and those one could change; all for server admins.
#[utoipa::path(get, path = "/api/v1/grants", tag = "grants", operation_id = "list_grants", params(GrantQuery), responses(
    (status = 200, body = Page<Grant>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<GrantQuery>,
) -> Result<Json<Page<Grant>>, ApiError> {
    let GrantQuery { principal, role, kind, pattern, after, limit } = query;
    let filter = Filter { principal, role, kind, pattern };
    let grants = grants::list(&identity, &caller, &filter).await?.into_iter().map(grant).collect();
    Ok(Json(page(grants, |grant: &Grant| &grant.id, after.as_deref(), limit)?))
}

/// Makes a grant, or returns the one that says the same. Takes admin on a pattern of the same kind that covers it.
#[utoipa::path(post, path = "/api/v1/grants", tag = "grants", operation_id = "create_grant", request_body = NewGrant, responses(
    (status = 201, body = Grant),
    (status = 200, body = Grant, description = "It stood already."),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiJson(new): ApiJson<NewGrant>,
) -> Result<(StatusCode, Json<Grant>), ApiError> {
    let NewGrant { principal, role, kind, pattern } = new;
    Ok(match grants::create(&identity, &caller, Wish { principal, role, kind, pattern }).await? {
        Made::New(new) => (StatusCode::CREATED, Json(grant(new))),
        Made::Stood(stood) => (StatusCode::OK, Json(grant(stood))),
    })
}

/// One grant.
#[utoipa::path(get, path = "/api/v1/grants/{id}", tag = "grants", operation_id = "get_grant", params(("id" = String, Path)), responses(
    (status = 200, body = Grant),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<Grant>, ApiError> {
    Ok(Json(grant(grants::get(&identity, &caller, &id).await?)))
}

/// Revokes a grant. Takes admin on a pattern of the same kind that covers it.
#[utoipa::path(delete, path = "/api/v1/grants/{id}", tag = "grants", operation_id = "revoke_grant", params(("id" = String, Path)), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn revoke(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
) -> Result<StatusCode, ApiError> {
    grants::revoke(&identity, &caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
