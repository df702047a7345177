//! The `manifests` table (exact bytes per repository) and `manifest_references` (edges to what a manifest needs).

use super::{Sight, bad};
use crate::manifest::validate::{Kind, Reference as Edge};
use model::{Digest, RepositoryName, Tag, Timestamp};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

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

/// Writes a manifest and its edges. The same bytes again change nothing but the media type they were pushed with.
pub async fn insert(tx: &mut Tx, now: Timestamp, repository_id: i64, manifest: &NewManifest) -> Result<(), DbError> {
    sqlx::query(
        "insert into manifests (repository_id, digest, media_type, artifact_type, subject, annotations, body, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (repository_id, digest) do update set media_type = excluded.media_type,
             artifact_type = excluded.artifact_type, subject = excluded.subject, annotations = excluded.annotations",
    )
    .bind(repository_id)
    .bind(manifest.digest.to_string())
    .bind(manifest.media_type)
    .bind(manifest.artifact_type.clone())
    .bind(manifest.subject.clone())
    .bind(manifest.annotations.clone())
    .bind(manifest.body.clone())
    .bind(now.as_micros())
    .execute(&mut *tx)
    .await?;
    for edge in &manifest.references {
        sqlx::query("insert into manifest_references (repository_id, digest, child, kind) values ($1, $2, $3, $4) on conflict do nothing")
            .bind(repository_id)
            .bind(manifest.digest.to_string())
            .bind(edge.digest.to_string())
            .bind(edge.kind.as_str())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// Removes a manifest, its edges and every tag on it. False when it was not there.
pub async fn delete(tx: &mut Tx, repository_id: i64, digest: &Digest) -> Result<bool, DbError> {
    for statement in [
        "delete from tags where repository_id = $1 and digest = $2",
        "delete from manifest_references where repository_id = $1 and digest = $2",
    ] {
        sqlx::query(statement).bind(repository_id).bind(digest.to_string()).execute(&mut *tx).await?;
    }
    let done = sqlx::query("delete from manifests where repository_id = $1 and digest = $2")
        .bind(repository_id)
        .bind(digest.to_string())
        .execute(&mut *tx)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Manifests whose subject is `subject`, after the digest `after`, at most `limit`.
pub async fn referrers(
    tx: &mut Tx,
    repository: &RepositoryName,
    sight: Sight,
    subject: &Digest,
    after: &str,
    limit: i64,
) -> Result<Vec<Referrer>, DbError> {
    let rows = sqlx::query(
        "select m.digest, m.media_type, m.artifact_type, m.annotations, cast(length(m.body) as bigint) as size
         from repositories r join manifests m on m.repository_id = r.id
         where r.name = $1 and m.subject = $2 and m.digest > $3 and (r.public = 1 or $4 = 1) order by m.digest limit $5",
    )
    .bind(repository.to_string())
    .bind(subject.to_string())
    .bind(after.to_owned())
    .bind(sight.as_bigint())
    .bind(limit)
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
