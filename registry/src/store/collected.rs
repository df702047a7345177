//! The `collected` table: what the garbage collector took out of repositories lately. Where incomplete manifests are taken, it tells
//! what is elsewhere from what a push counted on and came too late for.

use super::{ASKED, bind_asked};
use model::{Digest, Timestamp};
use platform::db::{DbError, Tx};
use sqlx::Row;

pub(super) const FORGET: &str = "delete from collected where collected_at < $1";

pub async fn insert(tx: &mut Tx, now: Timestamp, repository_id: i64, digest: &Digest) -> Result<(), DbError> {
    sqlx::query(
        "insert into collected (repository_id, digest, collected_at) values ($1, $2, $3)
         on conflict (repository_id, digest) do update set collected_at = excluded.collected_at",
    )
    .bind(repository_id)
    .bind(digest.to_string())
    .bind(now.as_micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Those of `digests` that were taken; some of them may have come back since.
pub async fn among(tx: &mut Tx, repository_id: i64, digests: &[&str]) -> Result<Vec<String>, DbError> {
    let mut found = Vec::new();
    for asked in digests.chunks(ASKED) {
        let query = sqlx::query(
            "select digest from collected where repository_id = $1 and digest in ($2, $3, $4, $5, $6, $7, $8, $9) order by digest",
        )
        .bind(repository_id);
        for row in bind_asked(query, asked).fetch_all(&mut *tx).await? {
            found.push(row.try_get("digest")?);
        }
    }
    Ok(found)
}

/// Forgets what was taken before `before`.
pub async fn forget(tx: &mut Tx, before: Timestamp) -> Result<(), DbError> {
    sqlx::query(FORGET).bind(before.as_micros()).execute(tx).await?;
    Ok(())
}
