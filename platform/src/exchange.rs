//! What registry and deployer hand each other: push events (registry writes, deployer reads) and pins (deployer writes, the
//! registry's garbage collector reads). No other table is touched by both.

use crate::db::{DbError, Tx};
use crate::events::next;
use model::{Digest, RepositoryName, Tag, Timestamp};
use sqlx::Row;

/// Who pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pusher {
    /// `user:alice`
    pub principal: String,
    /// JSON of what the token that pushed was narrowed to; absent when it was not.
    pub scope: Option<String>,
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
    sqlx::query("insert into push_events (sequence, repository, tag, digest, principal, scope, at) values ($1, $2, $3, $4, $5, $6, $7)")
        .bind(sequence)
        .bind(repository.to_string())
        .bind(tag.to_string())
        .bind(digest.to_string())
        .bind(pusher.principal.clone())
        .bind(pusher.scope.clone())
        .bind(now.as_micros())
        .execute(tx)
        .await?;
    Ok(sequence)
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
