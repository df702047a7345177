//! The append-only `events` table: service events, changes for the audit, what the live stream reads.
//!
//! Written in the transaction that makes the change; numbered from a counter row, so that the sequence is the order of commits.

use crate::db::{DbError, Tx};
use model::Timestamp;
use sqlx::Row;
use std::cmp::Reverse;

/// What stands between messages that are read in one row: the unit separator. A space stands for it where a message has one.
const BETWEEN: &str = "\u{1f}";

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
    of_subject_kind(tx, subject, "", limit).await
}

/// Newest events of `subject` first whose kind begins with `kind`, at most `limit`.
pub async fn of_subject_kind(tx: &mut Tx, subject: &str, kind: &str, limit: i64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, kind, principal, subject, message, detail from events where subject = $1 and kind like $2 \
         order by sequence desc limit $3",
    )
    .bind(subject.to_owned())
    .bind(beginning(kind))
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(event).collect()
}

/// What the newest events of `subject` say whose kind is `kind`, newest first, at most `limit`: in one row, since each row of an answer
/// costs the driver a turn of two threads.
pub async fn messages(tx: &mut Tx, subject: &str, kind: &str, limit: i64) -> Result<Vec<String>, DbError> {
    let lines: Option<String> = sqlx::query_scalar(
        "select string_agg(cast(sequence as text) || ' ' || replace(message, $4, ' '), $4) from (select sequence, message from events \
         where subject = $1 and kind = $2 order by sequence desc limit $3) as newest",
    )
    .bind(subject.to_owned())
    .bind(kind.to_owned())
    .bind(limit)
    .bind(BETWEEN)
    .fetch_one(tx)
    .await?;
    let lines = lines.unwrap_or_default();
    let numbered = |line: &str| line.split_once(' ').and_then(|(sequence, message)| Some((sequence.parse().ok()?, message.to_owned())));
    let mut messages: Vec<(i64, String)> = lines.split(BETWEEN).filter_map(numbered).collect();
    messages.sort_by_key(|(sequence, _)| Reverse(*sequence));
    Ok(messages.into_iter().map(|(_, message)| message).collect())
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

/// Events after `sequence` in order whose kind begins with `kind`, at most `limit`.
pub async fn of_kind_after(tx: &mut Tx, kind: &str, sequence: i64, limit: i64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, kind, principal, subject, message, detail from events where sequence > $1 and kind like $2 \
         order by sequence limit $3",
    )
    .bind(sequence)
    .bind(beginning(kind))
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(event).collect()
}

/// Events of `subject` after `sequence` in order whose kind begins with `kind`, at most `limit`.
pub async fn of_subject_after(tx: &mut Tx, subject: &str, kind: &str, sequence: i64, limit: i64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, kind, principal, subject, message, detail from events where subject = $1 and sequence > $2 \
         and kind like $3 order by sequence limit $4",
    )
    .bind(subject.to_owned())
    .bind(sequence)
    .bind(beginning(kind))
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(event).collect()
}

/// Newest events of all subjects first whose kind begins with `kind`, at most `limit`.
pub async fn newest(tx: &mut Tx, kind: &str, limit: i64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, kind, principal, subject, message, detail from events where kind like $1 order by sequence desc limit $2",
    )
    .bind(beginning(kind))
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(event).collect()
}

/// A moment among events, or among pushes: those of one time are told apart by their sequence.
pub type Moment = (Timestamp, i64);

/// What somebody did, for the audit.
#[derive(Debug, Clone, Default)]
pub struct OfSomebody {
    /// Exactly this one; anybody when absent.
    pub principal: Option<String>,
    /// The beginning of the kind; may be empty.
    pub kind: String,
    /// Exactly this one; any when absent.
    pub subject: Option<String>,
}

/// Events of somebody after one moment and before another, the oldest first, at most `limit`.
pub async fn later_of_somebody(tx: &mut Tx, of: &OfSomebody, after: Moment, before: Moment, limit: i64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, kind, principal, subject, message, detail from events where principal is not null \
         and (at > $1 or (at = $1 and sequence > $2)) and (at < $3 or (at = $3 and sequence < $4)) and kind like $5 \
         and ($6 = '' or principal = $6) and ($7 = '' or subject = $7) order by at, sequence limit $8",
    );
    somebody(tx, rows, of, after, before, limit).await
}

/// The same, the newest first.
pub async fn earlier_of_somebody(tx: &mut Tx, of: &OfSomebody, after: Moment, before: Moment, limit: i64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, kind, principal, subject, message, detail from events where principal is not null \
         and (at > $1 or (at = $1 and sequence > $2)) and (at < $3 or (at = $3 and sequence < $4)) and kind like $5 \
         and ($6 = '' or principal = $6) and ($7 = '' or subject = $7) order by at desc, sequence desc limit $8",
    );
    somebody(tx, rows, of, after, before, limit).await
}

async fn somebody(
    tx: &mut Tx,
    rows: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>,
    of: &OfSomebody,
    after: Moment,
    before: Moment,
    limit: i64,
) -> Result<Vec<Event>, DbError> {
    let rows = rows
        .bind(after.0.as_micros())
        .bind(after.1)
        .bind(before.0.as_micros())
        .bind(before.1)
        .bind(beginning(&of.kind))
        .bind(of.principal.clone().unwrap_or_default())
        .bind(of.subject.clone().unwrap_or_default())
        .bind(limit)
        .fetch_all(tx)
        .await?;
    rows.iter().map(event).collect()
}

/// The sequence of the event that was committed last; 0 when there is none.
pub async fn latest(tx: &mut Tx) -> Result<i64, DbError> {
    let row = sqlx::query("select value from counters where name = 'events'").fetch_one(tx).await?;
    Ok(row.try_get("value")?)
}

/// Removes the oldest events about tasks from before `cutoff`, at most `limit`, and returns how many. What the audit needs stays.
pub async fn remove_of_tasks(tx: &mut Tx, cutoff: Timestamp, limit: i64) -> Result<u64, DbError> {
    // The kind is written out, so that the index of these events alone is used.
    let done = sqlx::query(
        "delete from events where sequence in (select sequence from events where kind = 'task.changed' and at < $1 \
         order by sequence limit $2)",
    )
    .bind(cutoff.as_micros())
    .bind(limit)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// The pattern of everything that begins with `kind`. Kinds are of letters, digits, dots and hyphens: none is a wildcard.
fn beginning(kind: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    kind.chars().filter(plain).chain(['%']).collect()
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
