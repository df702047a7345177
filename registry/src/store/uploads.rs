//! The `uploads` table: open sessions that a restarted server takes up again. How many bytes are held is the length of the file.

use super::bad;
use crate::route::UploadId;
use crate::storage::StorageKey;
use model::{RepositoryName, Timestamp};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

/// A session as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUpload {
    pub id: UploadId,
    pub repository: RepositoryName,
    pub principal: String,
    pub key: StorageKey,
    pub created_at: Timestamp,
}

pub async fn insert(tx: &mut Tx, upload: &StoredUpload) -> Result<(), DbError> {
    sqlx::query(
        "insert into uploads (id, repository, principal, storage_key, created_at) values ($1, $2, $3, $4, $5) on conflict do nothing",
    )
    .bind(upload.id.to_string())
    .bind(upload.repository.to_string())
    .bind(upload.principal.clone())
    .bind(upload.key.as_str().to_owned())
    .bind(upload.created_at.as_micros())
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn get(tx: &mut Tx, id: &UploadId) -> Result<Option<StoredUpload>, DbError> {
    let row = sqlx::query("select id, repository, principal, storage_key, created_at from uploads where id = $1")
        .bind(id.to_string())
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(upload).transpose()
}

pub async fn delete(tx: &mut Tx, id: &UploadId) -> Result<(), DbError> {
    sqlx::query("delete from uploads where id = $1").bind(id.to_string()).execute(tx).await?;
    Ok(())
}

/// Sessions begun before `before`, oldest first, at most `limit`.
pub async fn begun_before(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<Vec<StoredUpload>, DbError> {
    let rows = sqlx::query(
        "select id, repository, principal, storage_key, created_at from uploads where created_at < $1 order by created_at limit $2",
    )
    .bind(before.as_micros())
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(upload).collect()
}

fn upload(row: &AnyRow) -> Result<StoredUpload, DbError> {
    let id: String = row.try_get("id")?;
    let repository: String = row.try_get("repository")?;
    let key: String = row.try_get("storage_key")?;
    Ok(StoredUpload {
        id: id.parse().map_err(|()| bad("uploads", "id", &id))?,
        repository: repository.parse().map_err(|_| bad("uploads", "repository", &repository))?,
        principal: row.try_get("principal")?,
        key: StorageKey::parse(&key).ok_or_else(|| bad("uploads", "storage_key", &key))?,
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
    })
}
