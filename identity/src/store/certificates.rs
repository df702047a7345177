//! Table `agent_certificates`: what was issued to whom, and what is revoked.

use model::Timestamp;
use model::ids::InstanceId;
use platform::db::{DbError, Tx};

pub(crate) async fn insert(tx: &mut Tx, serial: &str, instance: &InstanceId, now: Timestamp, expires_at: Timestamp) -> Result<(), DbError> {
    sqlx::query("insert into agent_certificates (serial, instance_id, created_at, expires_at) values ($1, $2, $3, $4)")
        .bind(serial.to_owned())
        .bind(instance.to_string())
        .bind(now.as_micros())
        .bind(expires_at.as_micros())
        .execute(tx)
        .await?;
    Ok(())
}

/// Revokes every certificate of `instance`; returns how many were good until now.
pub(crate) async fn revoke_of(tx: &mut Tx, instance: &InstanceId, now: Timestamp) -> Result<u64, DbError> {
    let done = sqlx::query("update agent_certificates set revoked_at = $1 where instance_id = $2 and revoked_at is null")
        .bind(now.as_micros())
        .bind(instance.to_string())
        .execute(tx)
        .await?;
    Ok(done.rows_affected())
}

pub(crate) async fn is_revoked(tx: &mut Tx, serial: &str) -> Result<bool, DbError> {
    let row = sqlx::query("select serial from agent_certificates where serial = $1 and revoked_at is not null")
        .bind(serial.to_owned())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}
