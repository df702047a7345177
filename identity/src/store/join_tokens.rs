//! Table `join_tokens`: single-use secrets of agents that join, by their hash.

use super::parse;
use model::Timestamp;
use model::ids::ClusterName;
use platform::db::{DbError, Tx};
use sqlx::Row;

#[derive(Debug, Clone)]
pub(crate) struct StoredJoinToken {
    pub id: String,
    pub cluster: ClusterName,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

pub(crate) async fn insert(tx: &mut Tx, token: &StoredJoinToken, secret_hash: Vec<u8>) -> Result<(), DbError> {
    sqlx::query("insert into join_tokens (id, secret_hash, cluster, created_at, created_by, expires_at) values ($1, $2, $3, $4, $5, $6)")
        .bind(token.id.clone())
        .bind(secret_hash)
        .bind(token.cluster.to_string())
        .bind(token.created_at.as_micros())
        .bind(token.created_by.clone())
        .bind(token.expires_at.as_micros())
        .execute(tx)
        .await?;
    Ok(())
}

/// Marks the token with this secret as used and returns it, if it is neither used nor expired.
pub(crate) async fn consume(tx: &mut Tx, secret_hash: Vec<u8>, now: Timestamp) -> Result<Option<StoredJoinToken>, DbError> {
    let row = sqlx::query(
        "update join_tokens set used_at = $1 where secret_hash = $2 and used_at is null and expires_at > $1 \
         returning id, cluster, created_at, created_by, expires_at, used_at",
    )
    .bind(now.as_micros())
    .bind(secret_hash)
    .fetch_optional(tx)
    .await?;
    row.as_ref().map(token).transpose()
}

/// By id, after `after`, at most `limit`.
pub(crate) async fn list(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<StoredJoinToken>, DbError> {
    let rows =
        sqlx::query("select id, cluster, created_at, created_by, expires_at, used_at from join_tokens where id > $1 order by id limit $2")
            .bind(after.to_owned())
            .bind(limit)
            .fetch_all(tx)
            .await?;
    rows.iter().map(token).collect()
}

/// Whether there was one to delete.
pub(crate) async fn delete(tx: &mut Tx, id: &str) -> Result<bool, DbError> {
    Ok(sqlx::query("delete from join_tokens where id = $1").bind(id.to_owned()).execute(tx).await?.rows_affected() > 0)
}

/// Forgets tokens that expired before `before`, used or not.
pub(crate) async fn delete_expired(tx: &mut Tx, before: Timestamp) -> Result<(), DbError> {
    sqlx::query("delete from join_tokens where expires_at < $1").bind(before.as_micros()).execute(tx).await?;
    Ok(())
}

fn token(row: &sqlx::any::AnyRow) -> Result<StoredJoinToken, DbError> {
    let cluster: String = row.try_get("cluster")?;
    Ok(StoredJoinToken {
        id: row.try_get("id")?,
        cluster: parse("join_tokens", "cluster", &cluster)?,
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        created_by: row.try_get("created_by")?,
        expires_at: Timestamp::from_micros(row.try_get("expires_at")?),
        used_at: row.try_get::<Option<i64>, _>("used_at")?.map(Timestamp::from_micros),
    })
}
