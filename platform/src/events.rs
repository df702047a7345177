//! The append-only `events` table: service events, changes for the audit, what the live stream reads.
//!
//! Written in the transaction that makes the change; numbered from a counter row, so that the sequence is the order of commits.

use crate::db::{DbError, Tx};
use model::Timestamp;
use sqlx::Row;

/// An event as it is written. `kind` is a dotted word (`service.event`, `grant.created`), `subject` a resource
/// (`service:default/web`), `detail` JSON without secrets.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub kind: &'static str,
    pub principal: Option<String>,
    pub subject: String,
    pub message: String,
    pub detail: serde_json::Value,
}

/// An event as it is read.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Event {
    pub sequence: i64,
    pub at: Timestamp,
    pub kind: String,
    pub principal: Option<String>,
    pub subject: String,
    pub message: String,
    pub detail: serde_json::Value,
}

/// Appends `event`; its sequence is the order of commit.
pub async fn append(tx: &mut Tx, now: Timestamp, event: NewEvent) -> Result<i64, DbError> {
    let sequence = next(tx, "events").await?;
    sqlx::query("insert into events (sequence, at, kind, principal, subject, message, detail) values ($1, $2, $3, $4, $5, $6, $7)")
        .bind(sequence)
        .bind(now.as_micros())
        .bind(event.kind)
        .bind(event.principal)
        .bind(event.subject)
        .bind(event.message)
        .bind(event.detail.to_string())
        .execute(tx)
        .await?;
    Ok(sequence)
}

/// Newest events of `subject` first, at most `limit`.
pub async fn of_subject(tx: &mut Tx, subject: &str, limit: i64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, kind, principal, subject, message, detail from events where subject = $1 order by sequence desc limit $2",
    )
    .bind(subject.to_owned())
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(event).collect()
}

/// Events after `sequence` in order, at most `limit`.
pub async fn after(tx: &mut Tx, sequence: i64, limit: i64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, kind, principal, subject, message, detail from events where sequence > $1 order by sequence limit $2",
    )
    .bind(sequence)
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(event).collect()
}

/// Events of `subject` after `sequence` in order, at most `limit`.
pub async fn of_subject_after(tx: &mut Tx, subject: &str, sequence: i64, limit: i64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, kind, principal, subject, message, detail from events where subject = $1 and sequence > $2 \
         order by sequence limit $3",
    )
    .bind(subject.to_owned())
    .bind(sequence)
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(event).collect()
}

/// Newest events of all subjects first, at most `limit`.
pub async fn newest(tx: &mut Tx, limit: i64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query("select sequence, at, kind, principal, subject, message, detail from events order by sequence desc limit $1")
        .bind(limit)
        .fetch_all(tx)
        .await?;
    rows.iter().map(event).collect()
}

/// Raises the counter `name` and returns its new value. The row stays locked until the transaction ends.
pub(crate) async fn next(tx: &mut Tx, name: &'static str) -> Result<i64, DbError> {
    let row = sqlx::query("update counters set value = value + 1 where name = $1 returning value").bind(name).fetch_one(tx).await?;
    Ok(row.try_get("value")?)
}

fn event(row: &sqlx::any::AnyRow) -> Result<Event, DbError> {
    let detail: String = row.try_get("detail")?;
    Ok(Event {
        sequence: row.try_get("sequence")?,
        at: Timestamp::from_micros(row.try_get("at")?),
        kind: row.try_get("kind")?,
        principal: row.try_get("principal")?,
        subject: row.try_get("subject")?,
        message: row.try_get("message")?,
        detail: serde_json::from_str(&detail).unwrap_or_default(),
    })
}
