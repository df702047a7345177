//! `/api/v1/teams`

use super::convert::team;
use super::{ApiError, ApiJson, ApiPath, ApiQuery, Authenticated, page};
use crate::Identity;
use crate::error::Refusal;
use crate::operations::teams;
use api::v1::teams::{Member, NewTeam, Team};
use api::v1::{Page, PageQuery, Problem};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::access::{Membership, Principal};

/// Teams by name: all for server admins, one's own for everybody else.
#[utoipa::path(get, path = "/api/v1/teams", tag = "teams", operation_id = "list_teams", params(PageQuery), responses(
    (status = 200, body = Page<Team>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<Team>>, ApiError> {
    let teams = teams::list(&identity, &caller).await?.into_iter().map(team).collect();
    Ok(Json(page(teams, |team: &Team| &team.name, query.after.as_deref(), query.limit)?))
}

/// Makes a team, nobody in it and nothing granted. Server admins only.
#[utoipa::path(post, path = "/api/v1/teams", tag = "teams", operation_id = "create_team", request_body = NewTeam, responses(
    (status = 201, body = Team),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiJson(new): ApiJson<NewTeam>,
) -> Result<(StatusCode, Json<Team>), ApiError> {
    let created = teams::create(&identity, &caller, &principal(&new.name)?).await?;
    Ok((StatusCode::CREATED, Json(team(created))))
}

/// One team, for server admins and for who is in it.
#[utoipa::path(get, path = "/api/v1/teams/{name}", tag = "teams", operation_id = "get_team", params(("name" = String, Path)), responses(
    (status = 200, body = Team),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(name): ApiPath<String>,
) -> Result<Json<Team>, ApiError> {
    Ok(Json(team(teams::get(&identity, &caller, &principal(&name)?).await?)))
}

/// Deletes a team with its grants: its members lose what they had through it. Server admins only.
#[utoipa::path(delete, path = "/api/v1/teams/{name}", tag = "teams", operation_id = "delete_team", params(("name" = String, Path)), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(name): ApiPath<String>,
) -> Result<StatusCode, ApiError> {
    teams::delete(&identity, &caller, &principal(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is in a team, by name; for server admins and for who is in it.
#[utoipa::path(get, path = "/api/v1/teams/{name}/members", tag = "teams", operation_id = "list_members",
    params(("name" = String, Path), PageQuery), responses(
    (status = 200, body = Page<Member>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn members(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath(name): ApiPath<String>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<Member>>, ApiError> {
    let team = teams::get(&identity, &caller, &principal(&name)?).await?;
    let mut names: Vec<String> = team.members().iter().map(ToString::to_string).collect();
    names.sort();
    let Page { items, next } = page(names, |name: &String| name, query.after.as_deref(), query.limit)?;
    let items = items.into_iter().filter_map(|name| name.parse().ok()).map(|principal| Member { principal }).collect();
    Ok(Json(Page { items, next }))
}

/// Puts a user or robot into a team; it may what the team may from the next request on. Server admins only.
#[utoipa::path(put, path = "/api/v1/teams/{name}/members/{principal}", tag = "teams", operation_id = "add_member",
    params(("name" = String, Path), ("principal" = String, Path)), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn add(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath((name, member)): ApiPath<(String, String)>,
) -> Result<StatusCode, ApiError> {
    teams::add(&identity, &caller, membership(&name, &member)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a user or robot out of a team, from the next request on. Server admins only.
#[utoipa::path(delete, path = "/api/v1/teams/{name}/members/{principal}", tag = "teams", operation_id = "remove_member",
    params(("name" = String, Path), ("principal" = String, Path)), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn remove(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiPath((name, member)): ApiPath<(String, String)>,
) -> Result<StatusCode, ApiError> {
    teams::remove(&identity, &caller, membership(&name, &member)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn principal(name: &str) -> Result<Principal, Refusal> {
    Ok(format!("team:{name}").parse()?)
}

fn membership(team: &str, member: &str) -> Result<Membership, Refusal> {
    Ok(Membership { team: principal(team)?, member: member.parse()? })
}
