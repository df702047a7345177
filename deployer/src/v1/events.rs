//! `GET /api/v1/events`: what happened, in order, as far as the caller may see it.

use super::{Api, fault};
use api::v1::deployer::{Event, EventPage, EventQuery};
use api::v1::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, Problem};
use axum::Json;
use axum::extract::State;
use identity::http::{ApiError, ApiQuery, Authenticated};
use identity::{Caller, Snapshot, decide};
use model::access::{Resource, ResourceKind, Role};
use platform::db::{DbError, Tx};
use platform::events;

/// Longest subject asked for, in bytes.
const SUBJECT_BYTES_MAX: usize = 600;

/// Events, oldest first. Those of a resource are seen by who may view it, all by server admins.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(EventQuery),
    responses((status = 200, description = "What the caller may see", body = EventPage),
        (status = "default", description = "Refused", body = Problem)))]
pub(super) async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<EventQuery>,
) -> Result<Json<EventPage>, ApiError> {
    let limit = query.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    if limit == 0 || limit > PAGE_ITEMS_MAX {
        return Err(ApiError::invalid(format!("limit is 1 to {PAGE_ITEMS_MAX}")));
    }
    if query.subject.as_ref().is_some_and(|subject| subject.len() > SUBJECT_BYTES_MAX) {
        return Err(ApiError::invalid("subject is too long"));
    }
    let snapshot = api.0.identity.snapshot().await?;
    let mut connection = api.0.db.read().await.map_err(fault)?;
    let found = read(&mut connection, &query, i64::try_from(limit).unwrap_or(i64::MAX)).await.map_err(fault)?;
    let next = found.last().map_or(query.after.unwrap_or(0), |event| event.sequence);
    let items = found.into_iter().filter(|event| may_see(&snapshot, &caller, &event.subject)).map(wire).collect();
    Ok(Json(EventPage { items, next }))
}

async fn read(tx: &mut Tx, query: &EventQuery, limit: i64) -> Result<Vec<events::Event>, DbError> {
    match (&query.subject, query.after) {
        (None, Some(after)) => events::after(tx, after, limit).await,
        (Some(subject), Some(after)) => events::of_subject_after(tx, subject, after, limit).await,
        (subject, None) => {
            let mut newest = match subject {
                Some(subject) => events::of_subject(tx, subject, limit).await?,
                None => events::newest(tx, limit).await?,
            };
            newest.reverse();
            Ok(newest)
        }
    }
}

/// Subjects that are no resource (a user, a token) are for server admins.
fn may_see(snapshot: &Snapshot, caller: &Caller, subject: &str) -> bool {
    let may = |role, resource: &Resource| decide(snapshot, caller, role, resource).allowed;
    let resource = subject.parse::<Resource>().ok();
    let by_resource = resource.is_some_and(|resource| match resource.kind {
        ResourceKind::Repository => may(Role::Pull, &resource),
        ResourceKind::Service => service_or_cluster(&resource).into_iter().any(|resource| may(Role::View, &resource)),
        ResourceKind::Cluster | ResourceKind::Family => may(Role::View, &resource),
        ResourceKind::Server => false,
    });
    by_resource || may(Role::Admin, &Resource::server())
}

/// A service is seen by who may view it or its cluster.
fn service_or_cluster(service: &Resource) -> Vec<Resource> {
    let cluster = service.name.split_once('/').map(|(cluster, _)| Resource::cluster(cluster));
    [Some(service.clone()), cluster].into_iter().flatten().collect()
}

fn wire(event: events::Event) -> Event {
    Event {
        sequence: event.sequence,
        at: event.at.to_rfc3339(),
        kind: event.kind,
        principal: event.principal,
        subject: event.subject,
        message: event.message,
        detail: event.detail,
    }
}
