//! The `tags` table: movable names of manifests.

use super::bad;
use model::{Digest, Tag, Timestamp};
use platform::db::{DbError, Tx};
use sqlx::Row;

/// What `tag` points to.
pub async fn get(tx: &mut Tx, repository_id: i64, tag: &Tag) -> Result<Option<Digest>, DbError> {
    let row = sqlx::query("select digest from tags where repository_id = $1 and name = $2")
        .bind(repository_id)
        .bind(tag.to_string())
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let digest: String = row.try_get("digest")?;
    digest.parse().map(Some).map_err(|_| bad("tags", "digest", &digest))
}

/// Sets or moves `tag`.
pub async fn set(tx: &mut Tx, now: Timestamp, repository_id: i64, tag: &Tag, digest: &Digest) -> Result<(), DbError> {
    sqlx::query(
        "insert into tags (repository_id, name, digest, updated_at) values ($1, $2, $3, $4)
         on conflict (repository_id, name) do update set digest = excluded.digest, updated_at = excluded.updated_at",
    )
    .bind(repository_id)
    .bind(tag.to_string())
    .bind(digest.to_string())
    .bind(now.as_micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// What it pointed to; none when there was no such tag.
pub async fn delete(tx: &mut Tx, repository_id: i64, tag: &Tag) -> Result<Option<Digest>, DbError> {
    let row = sqlx::query("delete from tags where repository_id = $1 and name = $2 returning digest")
        .bind(repository_id)
        .bind(tag.to_string())
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let digest: String = row.try_get("digest")?;
    digest.parse().map(Some).map_err(|_| bad("tags", "digest", &digest))
}

/// At most `limit` tags that sort after `after`, in byte order.
pub async fn after(tx: &mut Tx, repository_id: i64, after: &str, limit: i64) -> Result<Vec<String>, DbError> {
    let rows = sqlx::query("select name from tags where repository_id = $1 and name > $2 order by name limit $3")
        .bind(repository_id)
        .bind(after.to_owned())
        .bind(limit)
        .fetch_all(tx)
        .await?;
    rows.iter().map(|row| Ok(row.try_get("name")?)).collect()
}

/// The tags on `digest`, and those on manifests that need it, directly or through others.
pub async fn needing(tx: &mut Tx, repository_id: i64, digest: &Digest) -> Result<Vec<Tag>, DbError> {
    let rows = sqlx::query(
        "with recursive needing (digest) as (
             select digest from manifest_references where repository_id = $1 and child = $2
             union
             select e.digest from needing join manifest_references e on e.repository_id = $1 and e.child = needing.digest
         )
         select name from tags where repository_id = $1 and (digest = $2 or digest in (select digest from needing))",
    )
    .bind(repository_id)
    .bind(digest.to_string())
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let name: String = row.try_get("name")?;
            name.parse().map_err(|_| bad("tags", "name", &name))
        })
        .collect()
}
