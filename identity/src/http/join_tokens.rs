//! `/api/v1/join-tokens`: for server admins. Whether the cluster exists is the deployer's to know; it looks when the agent joins.

use super::convert::join_token;
use super::extract::page_limit;
use super::{ApiError, ApiJson, ApiPath, ApiQuery, Authenticated, page};
use crate::Identity;
use crate::join_tokens;
use crate::operations::require_server_admin;
use api::v1::access::{CreatedJoinToken, JOIN_TOKEN_SECS_DEFAULT, JOIN_TOKEN_SECS_MAX, JoinToken, NewJoinToken};
use api::v1::{Page, PageQuery, Problem};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::ids::ClusterName;
use std::time::Duration;

/// Join tokens by id, used ones too.
#[utoipa::path(get, path = "/api/v1/join-tokens", tag = "join-tokens", operation_id = "list_join_tokens", params(PageQuery), responses(
    (status = 200, body = Page<JoinToken>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<JoinToken>>, ApiError> {
    require_server_admin(&*identity.snapshot().await?, &caller)?;
    // One more than the page, to know whether there is a next one.
    let limit = i64::try_from(page_limit(query.limit)? + 1).map_err(|_| ApiError::internal())?;
    let tokens = join_tokens::list(&identity, query.after.as_deref().unwrap_or_default(), limit).await?;
    let tokens = tokens.into_iter().map(join_token).collect();
    Ok(Json(page(tokens, |token: &JoinToken| &token.id, None, query.limit)?))
}

/// Makes a join token: one agent can join the cluster with it, once.
#[utoipa::path(post, path = "/api/v1/join-tokens", tag = "join-tokens", operation_id = "create_join_token", request_body = NewJoinToken,
    responses(
    (status = 201, body = CreatedJoinToken),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiJson(new): ApiJson<NewJoinToken>,
) -> Result<(StatusCode, Json<CreatedJoinToken>), ApiError> {
    require_server_admin(&*identity.snapshot().await?, &caller)?;
    let cluster = match new.cluster {
        Some(name) => name.parse().map_err(|error: model::ids::IdError| ApiError::invalid(error.to_string()))?,
        None => ClusterName::default_cluster(),
    };
    let secs = new.expires_in_secs.unwrap_or(JOIN_TOKEN_SECS_DEFAULT);
    if !(1..=JOIN_TOKEN_SECS_MAX).contains(&secs) {
        return Err(ApiError::invalid(format!("expires_in_secs must be 1 to {JOIN_TOKEN_SECS_MAX}")));
    }
    let by = caller.principal.to_string();
    let (token, secret) = join_tokens::create(&identity, &cluster, Duration::from_secs(secs), &by).await?;
    Ok((StatusCode::CREATED, Json(CreatedJoinToken { join_token: join_token(token), secret })))
}

/// Removes a join token.
#[utoipa::path(delete, path = "/api/v1/join-tokens/{id}", tag = "join-tokens", operation_id = "delete_join_token",
    params(("id" = String, Path)), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
) -> Result<StatusCode, ApiError> {
    require_server_admin(&*identity.snapshot().await?, &caller)?;
    join_tokens::delete(&identity, &id, &caller.principal.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}
