//! The `manifests` table (exact bytes per repository) and `manifest_references` (edges to what a manifest needs).

use super::{Sight, bad, blobs};
use crate::manifest::validate::{Kind, Reference as Edge};
use model::{Digest, RepositoryName, Tag, Timestamp};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

// What the garbage collector relies on. `store::tests` looks at how each of these is carried out.

/// The plus keeps SQLite from walking all that is untagged.
pub(super) const ADOPT: &str = "update manifests set untagged_since = null where repository_id = $1 and +untagged_since is not null \
     and digest in (select child from manifest_references where repository_id = $1 and digest = $2)";
pub(super) const UNTAG: &str = "update manifests set untagged_since = $1 where repository_id = $2 and digest = $3 \
     and untagged_since is null \
     and not exists (select 1 from tags t where t.repository_id = $2 and t.digest = $3) \
     and not exists (select 1 from manifest_references e where e.child = $3 and e.repository_id = $2)";
pub(super) const ABANDON: &str = "update manifests set untagged_since = $1 where repository_id = $2 and subject = $3 \
     and untagged_since is null \
     and not exists (select 1 from tags t where t.repository_id = $2 and t.digest = manifests.digest) \
     and not exists (select 1 from manifest_references e where e.child = manifests.digest and e.repository_id = $2)";

/// A manifest as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub digest: Digest,
    pub media_type: String,
    pub body: Vec<u8>,
    /// Whether everybody may pull from its repository.
    pub public: bool,
}

/// A manifest as it is written.
#[derive(Debug, Clone)]
pub struct NewManifest {
    pub digest: Digest,
    pub media_type: &'static str,
    pub artifact_type: Option<String>,
    pub subject: Option<String>,
    /// JSON object
    pub annotations: Option<String>,
    pub body: Vec<u8>,
    pub references: Vec<Edge>,
}

/// An entry of a referrers index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    pub digest: String,
    pub media_type: String,
    pub size: i64,
    pub artifact_type: Option<String>,
    pub annotations: Option<String>,
}

pub async fn by_digest(tx: &mut Tx, repository: &RepositoryName, digest: &Digest, sight: Sight) -> Result<Option<Stored>, DbError> {
    let row = sqlx::query(
        "select m.digest, m.media_type, m.body, r.public from repositories r join manifests m on m.repository_id = r.id
         where r.name = $1 and m.digest = $2 and (r.public = 1 or $3 = 1)",
    )
    .bind(repository.to_string())
    .bind(digest.to_string())
    .bind(sight.as_bigint())
    .fetch_optional(tx)
    .await?;
    row.as_ref().map(stored).transpose()
}

pub async fn by_tag(tx: &mut Tx, repository: &RepositoryName, tag: &Tag, sight: Sight) -> Result<Option<Stored>, DbError> {
    let row = sqlx::query(
        "select m.digest, m.media_type, m.body, r.public from repositories r
         join tags t on t.repository_id = r.id
         join manifests m on m.repository_id = r.id and m.digest = t.digest
         where r.name = $1 and t.name = $2 and (r.public = 1 or $3 = 1)",
    )
    .bind(repository.to_string())
    .bind(tag.to_string())
    .bind(sight.as_bigint())
    .fetch_optional(tx)
    .await?;
    row.as_ref().map(stored).transpose()
}

pub async fn exists(tx: &mut Tx, repository_id: i64, digest: &str) -> Result<bool, DbError> {
    let row = sqlx::query("select digest from manifests where repository_id = $1 and digest = $2")
        .bind(repository_id)
        .bind(digest.to_owned())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// How a manifest is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Under a tag.
    ByTag,
    /// By its digest alone: unless a tag or an index names it later, it counts as untagged from now.
    ByDigest,
}

/// Writes a manifest and its edges. The same bytes again change nothing but the media type they were pushed with.
pub async fn insert(tx: &mut Tx, now: Timestamp, repository_id: i64, manifest: &NewManifest, named: Named) -> Result<(), DbError> {
    sqlx::query(
        "insert into manifests (repository_id, digest, media_type, artifact_type, subject, annotations, body, created_at, untagged_since)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (repository_id, digest) do update set media_type = excluded.media_type,
             artifact_type = excluded.artifact_type, subject = excluded.subject, annotations = excluded.annotations,
             untagged_since = case when manifests.untagged_since is null then null else excluded.untagged_since end",
    )
    .bind(repository_id)
    .bind(manifest.digest.to_string())
    .bind(manifest.media_type)
    .bind(manifest.artifact_type.clone())
    .bind(manifest.subject.clone())
    .bind(manifest.annotations.clone())
    .bind(manifest.body.clone())
    .bind(now.as_micros())
    .bind((named == Named::ByDigest).then(|| now.as_micros()))
    .execute(&mut *tx)
    .await?;
    for edges in manifest.references.chunks(EDGES) {
        insert_edges(tx, repository_id, &manifest.digest, edges).await?;
    }
    Ok(())
}

/// Edges that one statement writes.
const EDGES: usize = 4;

/// At most [`EDGES`]. One text for all numbers of them: what is over writes the last one again, which does nothing.
async fn insert_edges(tx: &mut Tx, repository_id: i64, digest: &Digest, edges: &[Edge]) -> Result<(), DbError> {
    let mut query = sqlx::query(
        "insert into manifest_references (repository_id, digest, child, kind) \
         values ($1, $2, $3, $4), ($1, $2, $5, $6), ($1, $2, $7, $8), ($1, $2, $9, $10) on conflict do nothing",
    )
    .bind(repository_id)
    .bind(digest.to_string());
    for at in 0..EDGES {
        let edge = edges.get(at).or(edges.last());
        query = query.bind(edge.map(|edge| edge.digest.to_string())).bind(edge.map(|edge| edge.kind.as_str()));
    }
    query.execute(tx).await?;
    Ok(())
}

/// Marks the manifests that an index names as needed; called with the index's edges in place.
pub async fn adopt(tx: &mut Tx, repository_id: i64, index: &Digest) -> Result<(), DbError> {
    sqlx::query(ADOPT).bind(repository_id).bind(index.to_string()).execute(tx).await?;
    Ok(())
}

/// Marks a manifest that lost a tag as untagged, if no tag and no index is left that names it.
pub async fn untag(tx: &mut Tx, now: Timestamp, repository_id: i64, digest: &Digest) -> Result<(), DbError> {
    sqlx::query(UNTAG).bind(now.as_micros()).bind(repository_id).bind(digest.to_string()).execute(tx).await?;
    Ok(())
}

/// From when the time of what a deleted manifest kept counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// Of its blobs.
    pub blobs: Timestamp,
    /// Of manifests that it names, and of its referrers.
    pub manifests: Timestamp,
}

/// Removes a manifest, its edges and every tag on it; what only it kept is marked for the garbage collector. False when it was not
/// there.
pub async fn delete(tx: &mut Tx, since: Since, repository_id: i64, digest: &Digest) -> Result<bool, DbError> {
    let edges = sqlx::query("delete from manifest_references where repository_id = $1 and digest = $2 returning child, kind")
        .bind(repository_id)
        .bind(digest.to_string())
        .fetch_all(&mut *tx)
        .await?;
    let mut removed = false;
    for statement in
        ["delete from tags where repository_id = $1 and digest = $2", "delete from manifests where repository_id = $1 and digest = $2"]
    {
        let done = sqlx::query(statement).bind(repository_id).bind(digest.to_string()).execute(&mut *tx).await?;
        removed = done.rows_affected() > 0;
    }
    for edge in &edges {
        let (child, kind): (String, String) = (edge.try_get("child")?, edge.try_get("kind")?);
        let child = child.parse().map_err(|_| bad("manifest_references", "child", &child))?;
        if kind == Kind::Blob.as_str() {
            blobs::release(tx, since.blobs, repository_id, &child).await?;
        }
        // An entry of an index may name a manifest by another media type.
        untag(tx, since.manifests, repository_id, &child).await?;
    }
    sqlx::query(ABANDON).bind(since.manifests.as_micros()).bind(repository_id).bind(digest.to_string()).execute(tx).await?;
    Ok(removed)
}

/// Manifests whose subject is `subject`, after the digest `after`: at most `limit`, and none after the first with which the sizes come
/// to `bytes_max`. Annotations are as large as whoever pushed them liked, so that what is read has to be bounded here.
pub async fn referrers(
    tx: &mut Tx,
    repository: &RepositoryName,
    sight: Sight,
    subject: &Digest,
    after: &str,
    (limit, bytes_max): (i64, i64),
) -> Result<Vec<Referrer>, DbError> {
    let rows = sqlx::query(
        "select m.digest, m.media_type, m.artifact_type, m.annotations, p.size from (
             select repository_id, digest, size, sum(size) over (order by digest) as total from (
                 select m.repository_id, m.digest, cast(length(m.body) as bigint) as size
                 from repositories r join manifests m on m.repository_id = r.id
                 where r.name = $1 and m.subject = $2 and m.digest > $3 and (r.public = 1 or $4 = 1) order by m.digest limit $5
             ) found
         ) p join manifests m on m.repository_id = p.repository_id and m.digest = p.digest
         where p.total - p.size < $6 order by m.digest",
    )
    .bind(repository.to_string())
    .bind(subject.to_string())
    .bind(after.to_owned())
    .bind(sight.as_bigint())
    .bind(limit)
    .bind(bytes_max)
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Referrer {
                digest: row.try_get("digest")?,
                media_type: row.try_get("media_type")?,
                size: row.try_get("size")?,
                artifact_type: row.try_get("artifact_type")?,
                annotations: row.try_get("annotations")?,
            })
        })
        .collect()
}

/// Whether `digest`, as content of `kind`, is `root` or needed by it, directly or through other manifests of the repository.
pub async fn is_reachable(tx: &mut Tx, repository: &RepositoryName, root: &Digest, kind: Kind, digest: &Digest) -> Result<bool, DbError> {
    let row = sqlx::query(
        "with recursive reached (repository_id, digest, kind) as (
             select m.repository_id, m.digest, 'manifest' from repositories r join manifests m on m.repository_id = r.id
             where r.name = $1 and m.digest = $2
             union
             select e.repository_id, e.child, e.kind from reached
             join manifest_references e on e.repository_id = reached.repository_id and e.digest = reached.digest
             where reached.kind = 'manifest'
         )
         select digest from reached where digest = $3 and kind = $4 limit 1",
    )
    .bind(repository.to_string())
    .bind(root.to_string())
    .bind(digest.to_string())
    .bind(kind.as_str())
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some())
}

fn stored(row: &AnyRow) -> Result<Stored, DbError> {
    let digest: String = row.try_get("digest")?;
    Ok(Stored {
        digest: digest.parse().map_err(|_| bad("manifests", "digest", &digest))?,
        media_type: row.try_get("media_type")?,
        body: row.try_get("body")?,
        public: row.try_get::<i64, _>("public")? == 1,
    })
}
