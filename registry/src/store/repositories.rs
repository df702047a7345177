//! The `repositories` table. A repository is a name under which blobs are linked and manifests and tags stand.

use super::{Sight, bad};
use model::repository::RepositorySettings;
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
    pub settings: RepositorySettings,
    /// Whether everybody may pull.
    pub public: bool,
}

/// A repository as the transaction of a push finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub id: i64,
    pub settings: RepositorySettings,
}

pub async fn standing(tx: &mut Tx, name: &RepositoryName) -> Result<Option<Standing>, DbError> {
    let row = sqlx::query("select id, settings from repositories where name = $1").bind(name.to_string()).fetch_optional(tx).await?;
    row.map(|row| Ok(Standing { id: row.try_get("id")?, settings: settings(&row)? })).transpose()
}

/// The id of `name`, where a read may look at it.
pub async fn visible(tx: &mut Tx, name: &RepositoryName, sight: Sight) -> Result<Option<i64>, DbError> {
    let row = sqlx::query("select id from repositories where name = $1 and (public = 1 or $2 = 1)")
        .bind(name.to_string())
        .bind(sight.as_bigint())
        .fetch_optional(tx)
        .await?;
    Ok(row.map(|row| row.try_get("id")).transpose()?)
}

/// The repository `name`, which is made when it does not exist.
pub async fn ensure(tx: &mut Tx, now: Timestamp, name: &RepositoryName, created_by: &str) -> Result<Standing, DbError> {
    if let Some(standing) = standing(tx, name).await? {
        return Ok(standing);
    }
    let id = insert(tx, now, name, created_by, "[]").await?;
    Ok(Standing { id, settings: RepositorySettings::default() })
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
    let row = sqlx::query("select id, name, created_at, created_by, tags, settings, public from repositories where name = $1")
        .bind(name.to_string())
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(repository).transpose()
}

/// At most `limit` repositories whose names sort after `after`, in byte order.
pub async fn after(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<Repository>, DbError> {
    let rows = sqlx::query(
        "select id, name, created_at, created_by, tags, settings, public from repositories where name > $1 order by name limit $2",
    )
    .bind(after.to_owned())
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(repository).collect()
}

/// Repositories whose settings are not the usual ones.
pub async fn unusual(tx: &mut Tx) -> Result<Vec<(RepositoryName, RepositorySettings)>, DbError> {
    let rows = sqlx::query("select name, settings from repositories where settings <> '{}'").fetch_all(tx).await?;
    rows.iter()
        .map(|row| {
            let name: String = row.try_get("name")?;
            Ok((name.parse().map_err(|_| bad("repositories", "name", &name))?, settings(row)?))
        })
        .collect()
}

pub async fn set_settings(tx: &mut Tx, id: i64, settings: &RepositorySettings, public: bool) -> Result<(), DbError> {
    sqlx::query("update repositories set settings = $1, public = $2 where id = $3")
        .bind(serde_json::to_string(settings).unwrap_or_default())
        .bind(i64::from(public))
        .bind(id)
        .execute(tx)
        .await?;
    Ok(())
}

/// Bytes of the blobs that a repository links and of its manifests. Costs by how many there are.
pub async fn used_bytes(tx: &mut Tx, id: i64) -> Result<u64, DbError> {
    let row = sqlx::query(
        "select cast(
             coalesce((select sum(b.size) from repository_blobs l join blobs b on b.digest = l.digest where l.repository_id = $1), 0)
             + coalesce((select sum(length(m.body)) from manifests m where m.repository_id = $1), 0) as bigint) as used",
    )
    .bind(id)
    .fetch_one(tx)
    .await?;
    let used: i64 = row.try_get("used")?;
    u64::try_from(used).map_err(|_| bad("blobs", "size", &used.to_string()))
}

fn repository(row: &AnyRow) -> Result<Repository, DbError> {
    let name: String = row.try_get("name")?;
    Ok(Repository {
        id: row.try_get("id")?,
        name: name.parse().map_err(|_| bad("repositories", "name", &name))?,
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        created_by: row.try_get("created_by")?,
        tags: row.try_get("tags")?,
        settings: settings(row)?,
        public: row.try_get::<i64, _>("public")? == 1,
    })
}

fn settings(row: &AnyRow) -> Result<RepositorySettings, DbError> {
    let text: String = row.try_get("settings")?;
    if text == "{}" {
        return Ok(RepositorySettings::default());
    }
    serde_json::from_str(&text).map_err(|_| bad("repositories", "settings", &text))
}
