//! Table `tokens`: personal and robot tokens, by the hash of their secret. Revoked ones stay, for the audit.

use super::parse;
use crate::snapshot::TokenEntry;
use model::Timestamp;
use model::access::Principal;
use platform::db::{DbError, Tx};
use sqlx::Row;

/// Those not revoked, expired ones included.
pub(crate) async fn all(tx: &mut Tx) -> Result<Vec<TokenEntry>, DbError> {
    let rows =
        sqlx::query("select id, principal_id, secret_hash, label, scope, created_at, expires_at from tokens where revoked_at is null")
            .fetch_all(tx)
            .await?;
    rows.iter().map(token).collect()
}

pub(crate) async fn insert(tx: &mut Tx, token: &TokenEntry) -> Result<(), DbError> {
    let scope = token.scope.as_ref().map(|rules| serde_json::to_string(rules).expect("rules are plain values"));
    sqlx::query(
        "insert into tokens (id, principal_id, secret_hash, label, scope, created_at, expires_at) values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(token.id.clone())
    .bind(token.principal.to_string())
    .bind(token.secret_hash.to_vec())
    .bind(token.label.clone())
    .bind(scope)
    .bind(token.created_at.as_micros())
    .bind(token.expires_at.map(Timestamp::as_micros))
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether there was one to revoke.
pub(crate) async fn revoke(tx: &mut Tx, id: &str, now: Timestamp) -> Result<bool, DbError> {
    let done = sqlx::query("update tokens set revoked_at = $1 where id = $2 and revoked_at is null")
        .bind(now.as_micros())
        .bind(id.to_owned())
        .execute(tx)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn delete_of(tx: &mut Tx, principal: &Principal) -> Result<(), DbError> {
    sqlx::query("delete from tokens where principal_id = $1").bind(principal.to_string()).execute(tx).await?;
    Ok(())
}

fn token(row: &sqlx::any::AnyRow) -> Result<TokenEntry, DbError> {
    let inconsistent = |column, value| DbError::Inconsistent { table: "tokens", column, value };
    let id: String = row.try_get("id")?;
    let principal: String = row.try_get("principal_id")?;
    let hash: Vec<u8> = row.try_get("secret_hash")?;
    let scope: Option<String> = row.try_get("scope")?;
    Ok(TokenEntry {
        principal: parse("tokens", "principal_id", &principal)?,
        secret_hash: hash.try_into().map_err(|_| inconsistent("secret_hash", id.clone()))?,
        label: row.try_get("label")?,
        scope: scope.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| inconsistent("scope", id.clone()))?,
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(Timestamp::from_micros),
        id,
    })
}
