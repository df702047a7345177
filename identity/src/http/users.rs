//! `/api/v1/users`

use super::convert::user;
use super::{ApiError, ApiJson, ApiPath, ApiQuery, Authenticated, page};
use crate::Identity;
use crate::error::Refusal;
use crate::operations::principals;
use api::v1::access::{NewUser, PasswordChange, PrincipalChange, User};
use api::v1::{Page, PageQuery, Problem};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::access::{Principal, PrincipalKind};

/// All users, by name. Server admins only.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", operation_id = "list_users", params(PageQuery), responses(
    (status = 200, body = Page<User>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<User>>, ApiError> {
    let users = principals::list(&identity, &caller, PrincipalKind::User).await?.into_iter().map(user).collect();
    Ok(Json(page(users, |user: &User| &user.name, query.after.as_deref(), query.limit)?))
}

/// Makes a user, who may do nothing until granted something. Server admins only.
#[utoipa::path(post, path = "/api/v1/users", tag = "users", operation_id = "create_user", request_body = NewUser, responses(
    (status = 201, body = User),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiJson(new): ApiJson<NewUser>,
) -> Result<(StatusCode, Json<User>), ApiError> {
    let created = principals::create(&identity, &caller, &principal(&new.name)?, new.password.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(user(created))))
}

/// Oneself, or anybody for server admins.
#[utoipa::path(get, path = "/api/v1/users/{name}", tag = "users", operation_id = "get_user", params(("name" = String, Path)), responses(
    (status = 200, body = User),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(name): ApiPath<String>,
) -> Result<Json<User>, ApiError> {
    Ok(Json(user(principals::get(&identity, &caller, &principal(&name)?).await?)))
}

/// Disables or enables a user. Server admins only.
#[utoipa::path(patch, path = "/api/v1/users/{name}", tag = "users", operation_id = "change_user", params(("name" = String, Path)),
    request_body = PrincipalChange, responses(
    (status = 200, body = User),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn change(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(name): ApiPath<String>,
    ApiJson(change): ApiJson<PrincipalChange>,
) -> Result<Json<User>, ApiError> {
    let disabled = change.disabled.ok_or_else(|| ApiError::invalid("nothing to change: give `disabled`"))?;
    Ok(Json(user(principals::set_disabled(&identity, &caller, &principal(&name)?, disabled).await?)))
}

/// Deletes a user with its grants, tokens and access keys. Server admins only.
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "users", operation_id = "delete_user", params(("name" = String, Path)), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(name): ApiPath<String>,
) -> Result<StatusCode, ApiError> {
    principals::delete(&identity, &caller, &principal(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One's own password, with the current one; anybody's for server admins.
#[utoipa::path(put, path = "/api/v1/users/{name}/password", tag = "users", operation_id = "set_password", params(("name" = String, Path)),
    request_body = PasswordChange, responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn set_password(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(name): ApiPath<String>,
    ApiJson(change): ApiJson<PasswordChange>,
) -> Result<StatusCode, ApiError> {
    let current = change.current_password.as_deref();
    principals::set_password(&identity, &caller, &principal(&name)?, &change.password, current).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn principal(name: &str) -> Result<Principal, Refusal> {
    Ok(format!("user:{name}").parse()?)
}
