//! What registry and deployer hand each other: push events (registry writes, deployer reads) and pins (deployer writes, the
//! registry's garbage collector reads). No other table is touched by both.

use crate::db::{DbError, Tx};
use crate::events::{Moment, next};
use model::{Digest, RepositoryName, Tag, Timestamp};
use sqlx::Row;

/// Who pushed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pusher {
    /// `user:alice`
    pub principal: String,
    /// JSON of what the token that pushed was narrowed to; absent when it was not.
    pub scope: Option<String>,
    /// What was shown, and from where; for the audit.
    pub credential: Option<String>,
    pub address: Option<String>,
}

/// A tag that was moved, as the audit reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    pub sequence: i64,
    pub at: Timestamp,
    pub repository: String,
    pub tag: String,
    pub digest: String,
    pub pusher: Pusher,
}

/// Which pushes the audit looks at.
#[derive(Debug, Clone, Default)]
pub struct PushesOf {
    /// Exactly this one; anybody when absent.
    pub principal: Option<String>,
    /// Exactly this one; any when absent.
    pub repository: Option<String>,
}

/// Records that `tag` moved, in the transaction that moved it. The sequence is the order in which tags moved.
pub async fn record_push(
    tx: &mut Tx,
    now: Timestamp,
    repository: &RepositoryName,
    tag: &Tag,
    digest: &Digest,
    pusher: &Pusher,
) -> Result<i64, DbError> {
    let sequence = next(tx, "push_events").await?;
    sqlx::query(
        "insert into push_events (sequence, repository, tag, digest, principal, scope, at, credential, address) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(sequence)
    .bind(repository.to_string())
    .bind(tag.to_string())
    .bind(digest.to_string())
    .bind(pusher.principal.clone())
    .bind(pusher.scope.clone())
    .bind(now.as_micros())
    .bind(pusher.credential.clone())
    .bind(pusher.address.clone())
    .execute(tx)
    .await?;
    Ok(sequence)
}

/// Pushes after one moment and before another, the oldest first, at most `limit`.
pub async fn later_pushes(tx: &mut Tx, of: &PushesOf, after: Moment, before: Moment, limit: i64) -> Result<Vec<Pushed>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, repository, tag, digest, principal, scope, credential, address from push_events \
         where (at > $1 or (at = $1 and sequence > $2)) and (at < $3 or (at = $3 and sequence < $4)) \
         and ($5 = '' or principal = $5) and ($6 = '' or repository = $6) order by at, sequence limit $7",
    );
    pushes(tx, rows, of, after, before, limit).await
}

/// The same, the newest first.
pub async fn earlier_pushes(tx: &mut Tx, of: &PushesOf, after: Moment, before: Moment, limit: i64) -> Result<Vec<Pushed>, DbError> {
    let rows = sqlx::query(
        "select sequence, at, repository, tag, digest, principal, scope, credential, address from push_events \
         where (at > $1 or (at = $1 and sequence > $2)) and (at < $3 or (at = $3 and sequence < $4)) \
         and ($5 = '' or principal = $5) and ($6 = '' or repository = $6) order by at desc, sequence desc limit $7",
    );
    pushes(tx, rows, of, after, before, limit).await
}

async fn pushes(
    tx: &mut Tx,
    rows: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>,
    of: &PushesOf,
    after: Moment,
    before: Moment,
    limit: i64,
) -> Result<Vec<Pushed>, DbError> {
    let rows = rows
        .bind(after.0.as_micros())
        .bind(after.1)
        .bind(before.0.as_micros())
        .bind(before.1)
        .bind(of.principal.clone().unwrap_or_default())
        .bind(of.repository.clone().unwrap_or_default())
        .bind(limit)
        .fetch_all(tx)
        .await?;
    rows.iter().map(pushed).collect()
}

fn pushed(row: &sqlx::any::AnyRow) -> Result<Pushed, DbError> {
    Ok(Pushed {
        sequence: row.try_get("sequence")?,
        at: Timestamp::from_micros(row.try_get("at")?),
        repository: row.try_get("repository")?,
        tag: row.try_get("tag")?,
        digest: row.try_get("digest")?,
        pusher: Pusher {
            principal: row.try_get("principal")?,
            scope: row.try_get("scope")?,
            credential: row.try_get("credential")?,
            address: row.try_get("address")?,
        },
    })
}

/// The sequence of the last push; 0 before the first.
pub async fn last_push(tx: &mut Tx) -> Result<i64, DbError> {
    let row = sqlx::query("select value from counters where name = 'push_events'").fetch_one(tx).await?;
    Ok(row.try_get("value")?)
}

/// Keeps `digest` from the garbage collector for as long as `holder` has the pin.
pub async fn pin(tx: &mut Tx, now: Timestamp, repository: &str, digest: &Digest, holder: &str) -> Result<(), DbError> {
    sqlx::query("insert into pins (repository, digest, holder, created_at) values ($1, $2, $3, $4) on conflict do nothing")
        .bind(repository.to_owned())
        .bind(digest.to_string())
        .bind(holder.to_owned())
        .bind(now.as_micros())
        .execute(tx)
        .await?;
    Ok(())
}

/// Gives up every pin of `holder`.
pub async fn unpin(tx: &mut Tx, holder: &str) -> Result<(), DbError> {
    sqlx::query("delete from pins where holder = $1").bind(holder.to_owned()).execute(tx).await?;
    Ok(())
}

/// Who pins `digest` in `repository`: one of the holders, if there is any.
pub async fn pinned_by(tx: &mut Tx, repository: &str, digest: &Digest) -> Result<Option<String>, DbError> {
    let row = sqlx::query("select holder from pins where repository = $1 and digest = $2 order by holder limit 1")
        .bind(repository.to_owned())
        .bind(digest.to_string())
        .fetch_optional(tx)
        .await?;
    Ok(row.map(|row| row.try_get("holder")).transpose()?)
}

/// Holders of pins whose names begin with `prefix` and go on after a colon, each once.
pub async fn holders_below(tx: &mut Tx, prefix: &str) -> Result<Vec<String>, DbError> {
    // `;` is the character after `:`.
    let rows = sqlx::query("select distinct holder from pins where holder > $1 and holder < $2 order by holder")
        .bind(format!("{prefix}:"))
        .bind(format!("{prefix};"))
        .fetch_all(tx)
        .await?;
    rows.iter().map(|row| Ok(row.try_get("holder")?)).collect()
}
