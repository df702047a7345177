//! `/api/v1/tokens`

use super::convert::{scope_from, token};
use super::{ApiError, ApiJson, ApiPath, ApiQuery, Authenticated, page};
use crate::Identity;
use crate::operations::tokens::{self, Wish};
use api::v1::access::{CreatedToken, NewToken, OwnerQuery, TOKEN_SECS_DEFAULT, TOKEN_SECS_MAX, Token};
use api::v1::{Page, Problem};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use std::time::Duration;

/// Tokens by id: one's own; anybody's for server admins.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", operation_id = "list_tokens", params(OwnerQuery), responses(
    (status = 200, body = Page<Token>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<OwnerQuery>,
) -> Result<Json<Page<Token>>, ApiError> {
    let owner = query.principal.as_ref().unwrap_or(&caller.principal);
    let tokens = tokens::list(&identity, &caller, owner).await?.into_iter().map(token).collect();
    Ok(Json(page(tokens, |token: &Token| &token.id, query.after.as_deref(), query.limit)?))
}

/// Makes a token; its secret is shown this once.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", operation_id = "create_token", request_body = NewToken, responses(
    (status = 201, body = CreatedToken),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiJson(new): ApiJson<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    let life = life(&new)?;
    let owner = new.principal.unwrap_or_else(|| caller.principal.clone());
    let wish = Wish { owner, label: new.label, scope: new.scope.map(scope_from), life };
    let (created, secret) = tokens::create(&identity, &caller, wish).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token: token(created), secret })))
}

/// Revokes a token: it is refused from the next request on.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", operation_id = "revoke_token", params(("id" = String, Path)), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn revoke(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
) -> Result<StatusCode, ApiError> {
    tokens::revoke(&identity, &caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn life(new: &NewToken) -> Result<Option<Duration>, ApiError> {
    match (new.never_expires, new.expires_in_secs) {
        (true, None) => Ok(None),
        (true, Some(_)) => Err(ApiError::invalid("give `expires_in_secs` or `never_expires`, not both")),
        (false, secs) => match secs.unwrap_or(TOKEN_SECS_DEFAULT) {
            secs @ 1..=TOKEN_SECS_MAX => Ok(Some(Duration::from_secs(secs))),
            _ => Err(ApiError::invalid(format!("expires_in_secs must be 1 to {TOKEN_SECS_MAX}"))),
        },
    }
}
