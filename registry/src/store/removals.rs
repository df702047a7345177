//! The `removals` table: files that nothing refers to any more. A row is written by the transaction that takes the last reference to
//! a file away, and goes after the file, so that a crash in between leaves nothing behind.

use super::bad;
use crate::storage::StorageKey;
use model::Timestamp;
use platform::db::{DbError, Tx};
use sqlx::Row;

/// A file that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub key: StorageKey,
    /// Bytes as far as they were known.
    pub size: u64,
}

pub async fn insert(tx: &mut Tx, now: Timestamp, key: &StorageKey, size: u64) -> Result<(), DbError> {
    sqlx::query("insert into removals (storage_key, size, queued_at) values ($1, $2, $3) on conflict do nothing")
        .bind(key.as_str().to_owned())
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(now.as_micros())
        .execute(tx)
        .await?;
    Ok(())
}

/// At most `limit` of them.
pub async fn some(tx: &mut Tx, limit: i64) -> Result<Vec<Removal>, DbError> {
    let rows = sqlx::query("select storage_key, size from removals order by storage_key limit $1").bind(limit).fetch_all(tx).await?;
    rows.iter()
        .map(|row| {
            let (key, size): (String, i64) = (row.try_get("storage_key")?, row.try_get("size")?);
            Ok(Removal {
                key: StorageKey::parse(&key).ok_or_else(|| bad("removals", "storage_key", &key))?,
                size: u64::try_from(size).map_err(|_| bad("removals", "size", &size.to_string()))?,
            })
        })
        .collect()
}

pub async fn delete(tx: &mut Tx, key: &StorageKey) -> Result<(), DbError> {
    sqlx::query("delete from removals where storage_key = $1").bind(key.as_str().to_owned()).execute(tx).await?;
    Ok(())
}
