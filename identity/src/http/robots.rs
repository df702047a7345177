//! `/api/v1/robots`

use super::convert::robot;
use super::{ApiError, ApiJson, ApiPath, ApiQuery, Authenticated, page};
use crate::Identity;
use crate::error::Refusal;
use crate::operations::principals;
use api::v1::access::{NewRobot, PrincipalChange, Robot};
use api::v1::{Page, PageQuery, Problem};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::access::{Principal, PrincipalKind};

/// All robots, by name. Server admins only.
#[utoipa::path(get, path = "/api/v1/robots", tag = "robots", operation_id = "list_robots", params(PageQuery), responses(
    (status = 200, body = Page<Robot>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<Robot>>, ApiError> {
    let robots = principals::list(&identity, &caller, PrincipalKind::Robot).await?.into_iter().map(robot).collect();
    Ok(Json(page(robots, |robot: &Robot| &robot.name, query.after.as_deref(), query.limit)?))
}

/// Makes a robot, which may do nothing until granted something. Server admins only.
#[utoipa::path(post, path = "/api/v1/robots", tag = "robots", operation_id = "create_robot", request_body = NewRobot, responses(
    (status = 201, body = Robot),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiJson(new): ApiJson<NewRobot>,
) -> Result<(StatusCode, Json<Robot>), ApiError> {
    let created = principals::create(&identity, &caller, &principal(&new.name)?, None).await?;
    Ok((StatusCode::CREATED, Json(robot(created))))
}

/// Itself, or any for server admins.
#[utoipa::path(get, path = "/api/v1/robots/{name}", tag = "robots", operation_id = "get_robot", params(("name" = String, Path)), responses(
    (status = 200, body = Robot),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(name): ApiPath<String>,
) -> Result<Json<Robot>, ApiError> {
    Ok(Json(robot(principals::get(&identity, &caller, &principal(&name)?).await?)))
}

/// Disables or enables a robot. Server admins only.
#[utoipa::path(patch, path = "/api/v1/robots/{name}", tag = "robots", operation_id = "change_robot", params(("name" = String, Path)),
    request_body = PrincipalChange, responses(
    (status = 200, body = Robot),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn change(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(name): ApiPath<String>,
    ApiJson(change): ApiJson<PrincipalChange>,
) -> Result<Json<Robot>, ApiError> {
    let disabled = change.disabled.ok_or_else(|| ApiError::invalid("nothing to change: give `disabled`"))?;
    Ok(Json(robot(principals::set_disabled(&identity, &caller, &principal(&name)?, disabled).await?)))
}

/// Deletes a robot with its grants, tokens and access keys. Server admins only.
#[utoipa::path(delete, path = "/api/v1/robots/{name}", tag = "robots", operation_id = "delete_robot", params(("name" = String, Path)), responses(
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

fn principal(name: &str) -> Result<Principal, Refusal> {
    Ok(format!("robot:{name}").parse()?)
}
