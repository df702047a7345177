//! The `repositories` table. A repository is a name under which blobs are linked and manifests and tags stand.

use super::bad;
use model::{RepositoryName, Timestamp};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

/// A repository as it is shown. `tags` are its resource tags, JSON (not its image tags).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub id: i64,
    pub name: RepositoryName,
    pub created_at: Timestamp,
    pub created_by: String,
    pub tags: String,
}

pub async fn id(tx: &mut Tx, name: &RepositoryName) -> Result<Option<i64>, DbError> {
    let row = sqlx::query("select id from repositories where name = $1").bind(name.to_string()).fetch_optional(tx).await?;
    Ok(row.map(|row| row.try_get("id")).transpose()?)
}

/// The id of `name`, which is made when it does not exist; true when it was made now.
pub async fn ensure(tx: &mut Tx, now: Timestamp, name: &RepositoryName, created_by: &str) -> Result<(i64, bool), DbError> {
    if let Some(id) = id(tx, name).await? {
        return Ok((id, false));
    }
    Ok((insert(tx, now, name, created_by, "[]").await?, true))
}

/// Makes `name`, which the caller has looked for in this transaction.
pub async fn insert(tx: &mut Tx, now: Timestamp, name: &RepositoryName, created_by: &str, tags: &str) -> Result<i64, DbError> {
    let row = sqlx::query(
        "insert into repositories (id, name, created_at, created_by, tags)
         select coalesce(max(id), 0) + 1, $1, $2, $3, $4 from repositories returning id",
    )
    .bind(name.to_string())
    .bind(now.as_micros())
    .bind(created_by.to_owned())
    .bind(tags.to_owned())
    .fetch_one(tx)
    .await?;
    Ok(row.try_get("id")?)
}

pub async fn get(tx: &mut Tx, name: &RepositoryName) -> Result<Option<Repository>, DbError> {
    let row = sqlx::query("select id, name, created_at, created_by, tags from repositories where name = $1")
        .bind(name.to_string())
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(repository).transpose()
}

/// At most `limit` repositories whose names sort after `after`, in byte order.
pub async fn after(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<Repository>, DbError> {
    let rows = sqlx::query("select id, name, created_at, created_by, tags from repositories where name > $1 order by name limit $2")
        .bind(after.to_owned())
        .bind(limit)
        .fetch_all(tx)
        .await?;
    rows.iter().map(repository).collect()
}

fn repository(row: &AnyRow) -> Result<Repository, DbError> {
    let name: String = row.try_get("name")?;
    Ok(Repository {
        id: row.try_get("id")?,
        name: name.parse().map_err(|_| bad("repositories", "name", &name))?,
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        created_by: row.try_get("created_by")?,
        tags: row.try_get("tags")?,
    })
}
