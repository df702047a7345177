//! The `blobs` table (bytes on storage, once for all repositories) and `repository_blobs` (who may read them). A blob is only ever
//! read through the repository that links it.

use super::removals::Removal;
use super::{ASKED, Sight, bad, bind_asked};
use crate::storage::StorageKey;
use model::{Digest, RepositoryName, Timestamp};
use platform::db::{DbError, Tx};
use sqlx::Row;

// What the garbage collector relies on. `store::tests` looks at how each of these is carried out.

/// The plus keeps SQLite from walking all that is unused.
pub(super) const USE_BY: &str = "update repository_blobs set unused_since = null where repository_id = $1 and +unused_since is not null \
     and digest in (select child from manifest_references where repository_id = $1 and digest = $2)";
pub(super) const UNUSED: &str = "update repository_blobs set unused_since = $1 where repository_id = $2 and digest = $3 \
     and unused_since is null \
     and not exists (select 1 from manifest_references e where e.child = $3 and e.repository_id = $2)";
pub(super) const UNLINKED: &str = "update blobs set unlinked_since = $1 where digest = $2 and unlinked_since is null \
     and not exists (select 1 from repository_blobs l where l.digest = $2) \
     and not exists (select 1 from manifest_references e where e.child = $2)";

/// A blob that a repository links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    pub size: u64,
    pub key: StorageKey,
    /// Whether everybody may pull from that repository.
    pub public: bool,
    /// None while a manifest of the repository names it; else the moment from which its grace time counts.
    pub unused_since: Option<Timestamp>,
}

/// The blob `digest` as `repository` links it.
pub async fn linked(tx: &mut Tx, repository: &RepositoryName, digest: &Digest, sight: Sight) -> Result<Option<Linked>, DbError> {
    let row = sqlx::query(
        "select b.size, b.storage_key, l.unused_since, r.public from repositories r
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
    let (key, unused_since): (String, Option<i64>) = (row.try_get("storage_key")?, row.try_get("unused_since")?);
    Ok(Some(Linked {
        size: u64::try_from(size).map_err(|_| bad("blobs", "size", &size.to_string()))?,
        key: StorageKey::parse(&key).ok_or_else(|| bad("blobs", "storage_key", &key))?,
        public: row.try_get::<i64, _>("public")? == 1,
        unused_since: unused_since.map(Timestamp::from_micros),
    }))
}

/// How a repository holds a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// A manifest names it.
    Used,
    /// No manifest names it yet, or any more.
    Unused,
}

pub async fn link_of(tx: &mut Tx, repository_id: i64, digest: &str) -> Result<Option<Link>, DbError> {
    let row = sqlx::query("select unused_since from repository_blobs where repository_id = $1 and digest = $2")
        .bind(repository_id)
        .bind(digest.to_owned())
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let unused_since: Option<i64> = row.try_get("unused_since")?;
    Ok(Some(unused_since.map_or(Link::Used, |_| Link::Unused)))
}

/// Of `digests`, each named once: how many the repository links, and how many of those no manifest names. Answered by numbers alone,
/// since every row of an answer costs.
pub async fn links_among(tx: &mut Tx, repository_id: i64, digests: &[&str]) -> Result<(usize, usize), DbError> {
    let (mut linked, mut unused) = (0, 0);
    for asked in digests.chunks(ASKED) {
        let query = sqlx::query(
            "select count(*) as linked, count(unused_since) as unused from repository_blobs \
             where repository_id = $1 and digest in ($2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(repository_id);
        let row = bind_asked(query, asked).fetch_one(&mut *tx).await?;
        linked += row.try_get::<i64, _>("linked")?;
        unused += row.try_get::<i64, _>("unused")?;
    }
    let number = |count: i64| usize::try_from(count).map_err(|_| bad("repository_blobs", "digest", &count.to_string()));
    Ok((number(linked)?, number(unused)?))
}

/// Records that the bytes of `digest` are at `key`, unless they are somewhere already. Returns where they are.
pub async fn insert(tx: &mut Tx, now: Timestamp, digest: &Digest, size: u64, key: &StorageKey) -> Result<StorageKey, DbError> {
    let row = sqlx::query(
        "insert into blobs (digest, size, storage_key, created_at, touched_at) values ($1, $2, $3, $4, $4)
         on conflict (digest) do update set touched_at = excluded.touched_at, unlinked_since = null returning storage_key",
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

/// Where the bytes of `digest` are.
pub async fn place_of(tx: &mut Tx, digest: &Digest) -> Result<Option<StorageKey>, DbError> {
    let row = sqlx::query("select storage_key from blobs where digest = $1").bind(digest.to_string()).fetch_optional(tx).await?;
    let Some(row) = row else { return Ok(None) };
    let key: String = row.try_get("storage_key")?;
    StorageKey::parse(&key).map(Some).ok_or_else(|| bad("blobs", "storage_key", &key))
}

/// Marks a blob as about to be linked.
pub async fn touch(tx: &mut Tx, now: Timestamp, digest: &Digest) -> Result<(), DbError> {
    sqlx::query("update blobs set touched_at = $1, unlinked_since = null where digest = $2")
        .bind(now.as_micros())
        .bind(digest.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// Links a blob. Until a manifest names it, its grace time counts from now.
pub async fn link(tx: &mut Tx, now: Timestamp, repository_id: i64, digest: &Digest) -> Result<(), DbError> {
    sqlx::query(
        "insert into repository_blobs (repository_id, digest, linked_at, unused_since) values ($1, $2, $3, $3)
         on conflict (repository_id, digest) do update set linked_at = excluded.linked_at,
             unused_since = case when repository_blobs.unused_since is null then null else excluded.unused_since end",
    )
    .bind(repository_id)
    .bind(digest.to_string())
    .bind(now.as_micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Lets the grace time of an unused blob begin anew, for somebody who was told that it is there. False when the repository does not
/// link it.
pub async fn keep(tx: &mut Tx, now: Timestamp, repository: &RepositoryName, digest: &Digest) -> Result<bool, DbError> {
    let done = sqlx::query(
        "update repository_blobs set unused_since = case when unused_since is null then null else $1 end
         where repository_id = (select id from repositories where name = $2) and digest = $3",
    )
    .bind(now.as_micros())
    .bind(repository.to_string())
    .bind(digest.to_string())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Marks as used what a manifest of the repository names; called with the manifest's edges in place.
pub async fn use_by(tx: &mut Tx, repository_id: i64, manifest: &Digest) -> Result<(), DbError> {
    sqlx::query(USE_BY).bind(repository_id).bind(manifest.to_string()).execute(tx).await?;
    Ok(())
}

/// Marks a blob that lost a manifest as unused, if no manifest of the repository is left that names it. Where the repository does not
/// link it (a foreign layer, or one that was deleted), it may be that nobody needs its bytes any more.
pub async fn release(tx: &mut Tx, now: Timestamp, repository_id: i64, digest: &Digest) -> Result<(), DbError> {
    let unused = sqlx::query(UNUSED).bind(now.as_micros()).bind(repository_id).bind(digest.to_string()).execute(&mut *tx).await?;
    if unused.rows_affected() == 0 {
        let_go(tx, now, digest).await?;
    }
    Ok(())
}

/// Marks a blob as garbage since `since`, if no repository links it and no manifest names it.
async fn let_go(tx: &mut Tx, since: Timestamp, digest: &Digest) -> Result<(), DbError> {
    sqlx::query(UNLINKED).bind(since.as_micros()).bind(digest.to_string()).execute(tx).await?;
    Ok(())
}

/// Takes a blob out of one repository; other repositories keep it. False when it was not in. When nobody is left who needs it, its
/// time as garbage counts from `since`.
pub async fn unlink(tx: &mut Tx, since: Timestamp, repository_id: i64, digest: &Digest) -> Result<bool, DbError> {
    let done = sqlx::query("delete from repository_blobs where repository_id = $1 and digest = $2")
        .bind(repository_id)
        .bind(digest.to_string())
        .execute(&mut *tx)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let_go(tx, since, digest).await?;
    Ok(true)
}

/// Forgets a blob that nobody links. Returns where its bytes are, which are then the caller's to remove.
pub async fn delete(tx: &mut Tx, digest: &Digest) -> Result<Option<Removal>, DbError> {
    let row =
        sqlx::query("delete from blobs where digest = $1 returning storage_key, size").bind(digest.to_string()).fetch_optional(tx).await?;
    let Some(row) = row else { return Ok(None) };
    let (key, size): (String, i64) = (row.try_get("storage_key")?, row.try_get("size")?);
    let key = StorageKey::parse(&key).ok_or_else(|| bad("blobs", "storage_key", &key))?;
    Ok(Some(Removal { key, size: u64::try_from(size).map_err(|_| bad("blobs", "size", &size.to_string()))? }))
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
