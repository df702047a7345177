//! `GET /api/v1/unknown-containers`: containers that agents keep and no task here explains.

use super::{Api, fault, require};
use crate::store;
use crate::store::unknown::UnknownRow;
use api::v1::deployer::UnknownContainer;
use api::v1::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, Page, PageQuery, Problem};
use axum::Json;
use axum::extract::State;
use identity::http::{ApiError, ApiQuery, Authenticated};
use model::access::{Resource, Role};

/// By instance and container. For server admins.
#[utoipa::path(get, path = "/api/v1/unknown-containers", tag = "instances", params(PageQuery),
    responses((status = 200, description = "One page", body = Page<UnknownContainer>),
        (status = "default", description = "Refused", body = Problem)))]
pub(super) async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<UnknownContainer>>, ApiError> {
    let snapshot = api.0.identity.snapshot().await?;
    require(&snapshot, &caller, Role::Admin, &Resource::server())?;
    let limit = query.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    if limit == 0 || limit > PAGE_ITEMS_MAX {
        return Err(ApiError::invalid(format!("limit is 1 to {PAGE_ITEMS_MAX}")));
    }
    let after = query.after.unwrap_or_default();
    let after = after.split_once('/').unwrap_or((&after, ""));
    let mut connection = api.0.db.read().await.map_err(fault)?;
    let one_more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut rows = store::unknown::list(&mut connection, after, one_more).await.map_err(fault)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| format!("{}/{}", row.instance_id, row.runtime_id));
    Ok(Json(Page { items: rows.into_iter().map(wire).collect(), next }))
}

fn wire(row: UnknownRow) -> UnknownContainer {
    UnknownContainer {
        instance_id: row.instance_id.to_string(),
        runtime_id: row.runtime_id,
        name: row.name,
        task_id: row.task_id.map(|id| id.to_string()),
        image: row.image,
        status: row.status,
        seen_at: row.seen_at.to_rfc3339(),
    }
}
