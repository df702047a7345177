//! `/api/v1/audit`

use super::convert::{actor, audit_record, last_pull};
use super::extract::page_limit;
use super::{ApiError, ApiQuery, Authenticated};
use crate::Identity;
use crate::audit::query::{Direction, Filter, Place};
use crate::operations::audit::{self, LastPullsOf, Question};
use api::v1::audit::{AuditOutcome, AuditPage, AuditQuery, LastPull, LastPullQuery};
use api::v1::{Page, Problem};
use axum::Json;
use axum::extract::State;
use model::Timestamp;

/// Longest filter, in bytes.
const FILTER_BYTES_MAX: usize = 600;
/// Separates tag and principal in the place of a last pull; neither holds one.
const SEPARATOR: char = ' ';

/// Who did what, from where, with which credential. Server admins read everything, everybody what they did themselves (`principal`),
/// and who has admin on a resource what was done to it (`target`). Pulls are those that this server served.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", operation_id = "list_audit", params(AuditQuery), responses(
    (status = 200, body = AuditPage),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<AuditQuery>,
) -> Result<Json<AuditPage>, ApiError> {
    let question = question(query)?;
    let (direction, from) = (question.direction, question.from);
    let merged = audit::find(&identity, &caller, question).await?;
    let (more, first, last) = (merged.stopped_at.is_some(), merged.found.first(), merged.found.last());
    let (next, previous) = match direction {
        Direction::Forward => {
            let next = merged.stopped_at.or(last.map(|found| found.place)).unwrap_or(from);
            (next, Some(first.map_or(from, |found| found.place)))
        }
        Direction::Back => (first.map_or(from, |found| found.place), merged.stopped_at),
    };
    let mut items: Vec<_> = merged.found.into_iter().map(audit_record).collect();
    if direction == Direction::Back {
        items.reverse();
    }
    Ok(Json(AuditPage { items, next: next.to_string(), previous: previous.map(|place| place.to_string()), more }))
}

/// When tags of a repository were last pulled, and by whom; or what a principal last pulled.
#[utoipa::path(get, path = "/api/v1/audit/last-pulls", tag = "audit", operation_id = "last_pulls", params(LastPullQuery), responses(
    (status = 200, body = Page<LastPull>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn last_pulls(
    State(identity): State<Identity>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<LastPullQuery>,
) -> Result<Json<Page<LastPull>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let after = query.after.as_deref().and_then(|text| text.split_once(SEPARATOR)).unwrap_or_default();
    let of = match (query.repository, query.principal) {
        (Some(repository), None) => LastPullsOf::Repository(repository, (after.0.to_owned(), after.1.to_owned())),
        (None, Some(principal)) => LastPullsOf::Principal(principal),
        (None, None) => LastPullsOf::Principal(caller.principal.to_string()),
        (Some(_), Some(_)) => return Err(ApiError::invalid("give `repository` or `principal`, not both")),
    };
    let pulls = audit::last_pulls(&identity, &caller, &of, limit).await?;
    let goes_on = pulls.len() == limit && matches!(of, LastPullsOf::Repository(..));
    let next = pulls.last().filter(|_| goes_on).map(|last| format!("{}{SEPARATOR}{}", last.reference, last.principal));
    Ok(Json(Page { items: pulls.into_iter().map(last_pull).collect(), next }))
}

fn question(query: AuditQuery) -> Result<Question, ApiError> {
    let texts = [&query.principal, &query.action, &query.target, &query.reference, &query.address];
    if texts.into_iter().flatten().any(|text| text.len() > FILTER_BYTES_MAX) {
        return Err(ApiError::invalid(format!("a filter has at most {FILTER_BYTES_MAX} bytes")));
    }
    let (direction, from) = match (&query.after, &query.before) {
        (Some(_), Some(_)) => return Err(ApiError::invalid("give `after` or `before`, not both")),
        (Some(after), None) => (Direction::Forward, place("after", after)?),
        (None, Some(before)) => (Direction::Back, place("before", before)?),
        (None, None) => (Direction::Back, Place::LAST),
    };
    Ok(Question {
        since: time("since", query.since.as_deref())?.unwrap_or(Timestamp(0)),
        until: time("until", query.until.as_deref())?.unwrap_or(Timestamp(i64::MAX - 1)),
        direction,
        from,
        limit: page_limit(query.limit)?,
        filter: Filter {
            principal: query.principal,
            actor: query.actor.map(actor),
            action: query.action,
            target: query.target,
            reference: query.reference,
            address: query.address,
            outcome: query.outcome.map(|outcome| word(outcome).to_owned()),
        },
    })
}

fn place(name: &str, text: &str) -> Result<Place, ApiError> {
    text.parse().map_err(|()| ApiError::invalid(format!("`{name}` is the id of a record, or what the page before gave")))
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let at = Timestamp::parse_rfc3339(text).filter(|at| at.0 > 0);
    at.map(Some).ok_or_else(|| ApiError::invalid(format!("`{name}` is a time like 2026-11-26T12:00:00Z")))
}

fn word(outcome: AuditOutcome) -> &'static str {
    match outcome {
        AuditOutcome::Done => "done",
        AuditOutcome::Denied => "denied",
        AuditOutcome::Refused => "refused",
        AuditOutcome::Failed => "failed",
    }
}
