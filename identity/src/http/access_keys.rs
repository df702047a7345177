//! `/api/v1/access-keys`

use super::convert::access_key;
use super::{ApiError, ApiJson, ApiPath, ApiQuery, Authenticated, page};
use crate::Identity;
use crate::operations::access_keys;
use api::v1::access::{AccessKey, CreatedAccessKey, NewAccessKey, OwnerQuery};
use api::v1::{Page, Problem};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

/// Access keys by id: one's own; anybody's for server admins.
#[utoipa::path(get, path = "/api/v1/access-keys", tag = "access-keys", operation_id = "list_access_keys", params(OwnerQuery), responses(
    (status = 200, body = Page<AccessKey>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<OwnerQuery>,
) -> Result<Json<Page<AccessKey>>, ApiError> {
    let owner = query.principal.as_ref().unwrap_or(&caller.principal);
    let keys = access_keys::list(&identity, &caller, owner).await?.into_iter().map(access_key).collect();
    Ok(Json(page(keys, |key: &AccessKey| &key.id, query.after.as_deref(), query.limit)?))
}

/// Makes an access key for the AWS API; its secret is shown this once.
#[utoipa::path(post, path = "/api/v1/access-keys", tag = "access-keys", operation_id = "create_access_key", request_body = NewAccessKey,
    responses(
    (status = 201, body = CreatedAccessKey),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiJson(new): ApiJson<NewAccessKey>,
) -> Result<(StatusCode, Json<CreatedAccessKey>), ApiError> {
    let owner = new.principal.as_ref().unwrap_or(&caller.principal);
    let (key, secret_access_key) = access_keys::create(&identity, &caller, owner).await?;
    Ok((StatusCode::CREATED, Json(CreatedAccessKey { access_key: access_key(key), secret_access_key })))
}

/// Revokes an access key: it is refused from the next request on.
#[utoipa::path(delete, path = "/api/v1/access-keys/{id}", tag = "access-keys", operation_id = "revoke_access_key",
    params(("id" = String, Path)), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn revoke(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
) -> Result<StatusCode, ApiError> {
    access_keys::revoke(&identity, &caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
