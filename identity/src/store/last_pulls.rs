//! Table `last_pulls`: the last pull of each tag by each principal. An empty reference stands for pulls by digest.

use model::Timestamp;
use platform::db::{DbError, Tx};
use sqlx::Row;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastPull {
    pub repository: String,
    /// A tag, or empty.
    pub reference: String,
    pub principal: String,
    pub at: Timestamp,
    pub digest: String,
    pub credential: String,
    pub address: Option<String>,
}

/// Keeps the later one of this pull and the one that is known.
pub(crate) async fn set(tx: &mut Tx, pull: &LastPull) -> Result<(), DbError> {
    sqlx::query(
        "insert into last_pulls (repository, reference, principal, at, digest, credential, address) values ($1, $2, $3, $4, $5, $6, $7) \
         on conflict (repository, reference, principal) do update set at = excluded.at, digest = excluded.digest, \
         credential = excluded.credential, address = excluded.address where excluded.at > last_pulls.at",
    )
    .bind(pull.repository.clone())
    .bind(pull.reference.clone())
    .bind(pull.principal.clone())
    .bind(pull.at.as_micros())
    .bind(pull.digest.clone())
    .bind(pull.credential.clone())
    .bind(pull.address.clone())
    .execute(tx)
    .await?;
    Ok(())
}

/// Those of a repository, after `after` (reference, principal) in that order.
pub(crate) async fn of_repository(tx: &mut Tx, repository: &str, after: (&str, &str), limit: i64) -> Result<Vec<LastPull>, DbError> {
    let rows = sqlx::query(
        "select repository, reference, principal, at, digest, credential, address from last_pulls \
         where repository = $1 and (reference > $2 or (reference = $2 and principal > $3)) order by reference, principal limit $4",
    )
    .bind(repository.to_owned())
    .bind(after.0.to_owned())
    .bind(after.1.to_owned())
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(last_pull).collect()
}

/// The newest of a principal.
pub(crate) async fn of_principal(tx: &mut Tx, principal: &str, limit: i64) -> Result<Vec<LastPull>, DbError> {
    let rows = sqlx::query(
        "select repository, reference, principal, at, digest, credential, address from last_pulls \
         where principal = $1 order by at desc, repository, reference limit $2",
    )
    .bind(principal.to_owned())
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(last_pull).collect()
}

fn last_pull(row: &sqlx::any::AnyRow) -> Result<LastPull, DbError> {
    Ok(LastPull {
        repository: row.try_get("repository")?,
        reference: row.try_get("reference")?,
        principal: row.try_get("principal")?,
        at: Timestamp::from_micros(row.try_get("at")?),
        digest: row.try_get("digest")?,
        credential: row.try_get("credential")?,
        address: row.try_get("address")?,
    })
}

#[cfg(test)]
pub(crate) async fn delete_all(tx: &mut Tx) -> Result<(), DbError> {
    sqlx::query("delete from last_pulls").execute(tx).await?;
    Ok(())
}
