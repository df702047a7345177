//! `GET /api/v1/events`: what happened, in order, as far as the caller may see it; as a page, or as a stream that stays open.

mod stream;

use super::{Api, fault};
use api::v1::events::{Event, EventPage, EventQuery};
use api::v1::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, Problem};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use identity::http::{ApiError, ApiQuery, Authenticated};
use identity::{Caller, Snapshot, decide};
use model::access::{Resource, ResourceKind, Role};
use platform::db::{DbError, Tx};
use platform::events;

/// Longest subject asked for, in bytes.
const SUBJECT_BYTES_MAX: usize = 600;
/// Longest beginning of a kind, in bytes.
const KIND_BYTES_MAX: usize = 60;

/// Events, oldest first. Those of a resource are seen by who may view it, all by server admins. With `Accept: text/event-stream` the
/// answer stays open and brings what happens; it goes on after `Last-Event-ID`, or after `after`.
#[utoipa::path(get, path = "/api/v1/events", tag = "events",
    params(EventQuery, ("Last-Event-ID" = Option<i64>, Header, description = "Of a stream: the last id that was seen")),
    responses((status = 200, description = "What the caller may see", content((EventPage = "application/json"), (String = "text/event-stream"))),
        (status = "default", description = "Refused", body = Problem)))]
pub(super) async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    ApiQuery(query): ApiQuery<EventQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    let mut filter = Filter::from_query(query)?;
    if stream::is_asked(&headers) {
        filter.after = last_event_id(&headers)?.or(filter.after);
        return stream::open(&api.0, &caller, &headers, filter);
    }
    if limit == 0 || limit > PAGE_ITEMS_MAX {
        return Err(ApiError::invalid(format!("limit is 1 to {PAGE_ITEMS_MAX}")));
    }
    let snapshot = api.0.identity.snapshot().await?;
    let mut connection = api.0.db.read().await.map_err(fault)?;
    let latest = events::latest(&mut connection).await.map_err(fault)?;
    let found = read(&mut connection, &filter, i64::try_from(limit).unwrap_or(i64::MAX)).await.map_err(fault)?;
    let next = found.last().map_or(filter.after.unwrap_or(latest), |event| event.sequence);
    let items = found.into_iter().filter(|event| may_see(&snapshot, &caller, &event.subject)).map(wire).collect();
    Ok(Json(EventPage { items, next }).into_response())
}

/// Which events are wanted, checked.
#[derive(Debug, Clone, Default)]
struct Filter {
    after: Option<i64>,
    subject: Option<String>,
    /// The beginning of a kind.
    kind: Option<String>,
}

impl Filter {
    fn from_query(query: EventQuery) -> Result<Self, ApiError> {
        if query.subject.as_ref().is_some_and(|subject| subject.len() > SUBJECT_BYTES_MAX) {
            return Err(ApiError::invalid("subject is too long"));
        }
        let plain = |kind: &String| kind.len() <= KIND_BYTES_MAX && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        if query.kind.as_ref().is_some_and(|kind| !plain(kind)) {
            return Err(ApiError::invalid("kind is the beginning of a kind: letters, digits, dots and hyphens"));
        }
        Ok(Self { after: query.after, subject: query.subject, kind: query.kind })
    }

    /// Events after `position`, oldest first, at most `limit`.
    async fn page(&self, tx: &mut Tx, position: i64, limit: i64) -> Result<Vec<events::Event>, DbError> {
        let kind = self.kind.as_deref().unwrap_or_default();
        match &self.subject {
            Some(subject) => events::of_subject_after(tx, subject, kind, position, limit).await,
            None => events::of_kind_after(tx, kind, position, limit).await,
        }
    }

    fn takes(&self, event: &events::Event) -> bool {
        self.subject.as_ref().is_none_or(|subject| *subject == event.subject)
            && self.kind.as_ref().is_none_or(|kind| event.kind.starts_with(kind.as_str()))
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let id = id.to_str().ok().and_then(|id| id.parse().ok());
    id.map(Some).ok_or_else(|| ApiError::invalid("Last-Event-ID is the sequence of an event"))
}

async fn read(tx: &mut Tx, filter: &Filter, limit: i64) -> Result<Vec<events::Event>, DbError> {
    if let Some(after) = filter.after {
        return filter.page(tx, after, limit).await;
    }
    let kind = filter.kind.as_deref().unwrap_or_default();
    let mut newest = match &filter.subject {
        Some(subject) => events::of_subject_kind(tx, subject, kind, limit).await?,
        None => events::newest(tx, kind, limit).await?,
    };
    newest.reverse();
    Ok(newest)
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

/// From where somebody acted is for readers of the audit only.
fn wire(mut event: events::Event) -> Event {
    if let Some(detail) = event.detail.as_object_mut() {
        detail.remove("address");
    }
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
