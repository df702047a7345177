//! The `blobs` table (bytes on storage, once for all repositories) and `repository_blobs` (who may read them). A blob is only ever
//! read through the repository that links it.

use super::{Sight, bad};
use crate::storage::StorageKey;
use model::{Digest, RepositoryName, Timestamp};
use platform::db::{DbError, Tx};
use sqlx::Row;

/// A blob that a repository links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    pub size: u64,
    pub key: StorageKey,
    /// Whether everybody may pull from that repository.
    pub public: bool,
}

/// The blob `digest` as `repository` links it.
pub async fn linked(tx: &mut Tx, repository: &RepositoryName, digest: &Digest, sight: Sight) -> Result<Option<Linked>, DbError> {
    let row = sqlx::query(
        "select b.size, b.storage_key, r.public from repositories r
         join repository_blobs l on l.repository_id = r.id
         join blobs b on b.digest = l.digest
         where r.name = $1 and l.digest = $2 and (r.public = 1 or $3 = 1)",
    )
    .bind(repository.to_string())
    .bind(digest.to_string())
    .bind(sight.as_bigint())
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let size: i64 = row.try_get("size")?;
    let key: String = row.try_get("storage_key")?;
    Ok(Some(Linked {
        size: u64::try_from(size).map_err(|_| bad("blobs", "size", &size.to_string()))?,
        key: StorageKey::parse(&key).ok_or_else(|| bad("blobs", "storage_key", &key))?,
        public: row.try_get::<i64, _>("public")? == 1,
    }))
}

pub async fn is_linked(tx: &mut Tx, repository_id: i64, digest: &str) -> Result<bool, DbError> {
    let row = sqlx::query("select digest from repository_blobs where repository_id = $1 and digest = $2")
        .bind(repository_id)
        .bind(digest.to_owned())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// Records that the bytes of `digest` are at `key`, unless they are somewhere already. Returns where they are.
pub async fn insert(tx: &mut Tx, now: Timestamp, digest: &Digest, size: u64, key: &StorageKey) -> Result<StorageKey, DbError> {
    let row = sqlx::query(
        "insert into blobs (digest, size, storage_key, created_at, touched_at) values ($1, $2, $3, $4, $4)
         on conflict (digest) do update set touched_at = excluded.touched_at returning storage_key",
    )
    .bind(digest.to_string())
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .bind(key.as_str().to_owned())
    .bind(now.as_micros())
    .fetch_one(tx)
    .await?;
    let key: String = row.try_get("storage_key")?;
    StorageKey::parse(&key).ok_or_else(|| bad("blobs", "storage_key", &key))
}

/// Marks a blob as in use now, so that a collector leaves it its grace time.
pub async fn touch(tx: &mut Tx, now: Timestamp, digest: &Digest) -> Result<(), DbError> {
    sqlx::query("update blobs set touched_at = $1 where digest = $2").bind(now.as_micros()).bind(digest.to_string()).execute(tx).await?;
    Ok(())
}

pub async fn link(tx: &mut Tx, now: Timestamp, repository_id: i64, digest: &Digest) -> Result<(), DbError> {
    sqlx::query(
        "insert into repository_blobs (repository_id, digest, linked_at) values ($1, $2, $3)
         on conflict (repository_id, digest) do update set linked_at = excluded.linked_at",
    )
    .bind(repository_id)
    .bind(digest.to_string())
    .bind(now.as_micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes a blob out of one repository; other repositories keep it. False when it was not in.
pub async fn unlink(tx: &mut Tx, repository_id: i64, digest: &Digest) -> Result<bool, DbError> {
    let done = sqlx::query("delete from repository_blobs where repository_id = $1 and digest = $2")
        .bind(repository_id)
        .bind(digest.to_string())
        .execute(tx)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Names of repositories that link `digest`, after `after` in byte order, at most `limit`.
pub async fn repositories_with(tx: &mut Tx, digest: &Digest, after: &str, limit: i64) -> Result<Vec<RepositoryName>, DbError> {
    let rows = sqlx::query(
        "select r.name from repository_blobs l join repositories r on r.id = l.repository_id
         where l.digest = $1 and r.name > $2 order by r.name limit $3",
    )
    .bind(digest.to_string())
    .bind(after.to_owned())
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let name: String = row.try_get("name")?;
            name.parse().map_err(|_| bad("repositories", "name", &name))
        })
        .collect()
}
