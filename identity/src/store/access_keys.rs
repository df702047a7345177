//! Table `access_keys`: SigV4 keys, their secrets sealed. Revoked ones stay, for the audit.

use super::parse;
use crate::snapshot::AccessKeyEntry;
use model::Timestamp;
use model::access::Principal;
use platform::db::{DbError, Tx};
use sqlx::Row;

/// Those not revoked.
pub(crate) async fn all(tx: &mut Tx) -> Result<Vec<AccessKeyEntry>, DbError> {
    let rows =
        sqlx::query("select id, principal_id, secret_sealed, created_at from access_keys where revoked_at is null").fetch_all(tx).await?;
    rows.iter().map(key).collect()
}

pub(crate) async fn insert(tx: &mut Tx, key: &AccessKeyEntry) -> Result<(), DbError> {
    sqlx::query("insert into access_keys (id, principal_id, secret_sealed, created_at) values ($1, $2, $3, $4)")
        .bind(key.id.clone())
        .bind(key.principal.to_string())
        .bind(key.secret_sealed.clone())
        .bind(key.created_at.as_micros())
        .execute(tx)
        .await?;
    Ok(())
}

/// Whether there was one to revoke.
pub(crate) async fn revoke(tx: &mut Tx, id: &str, now: Timestamp) -> Result<bool, DbError> {
    let done = sqlx::query("update access_keys set revoked_at = $1 where id = $2 and revoked_at is null")
        .bind(now.as_micros())
        .bind(id.to_owned())
        .execute(tx)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn delete_of(tx: &mut Tx, principal: &Principal) -> Result<(), DbError> {
    sqlx::query("delete from access_keys where principal_id = $1").bind(principal.to_string()).execute(tx).await?;
    Ok(())
}

fn key(row: &sqlx::any::AnyRow) -> Result<AccessKeyEntry, DbError> {
    let principal: String = row.try_get("principal_id")?;
    Ok(AccessKeyEntry {
        id: row.try_get("id")?,
        principal: parse("access_keys", "principal_id", &principal)?,
        secret_sealed: row.try_get("secret_sealed")?,
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
    })
}
