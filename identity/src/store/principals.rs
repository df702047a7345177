//! Table `principals`: users, robots and teams.

use super::parse;
use crate::snapshot::PrincipalEntry;
use model::Timestamp;
use model::access::Principal;
use platform::db::{DbError, Tx};
use sqlx::Row;

pub(crate) async fn all(tx: &mut Tx) -> Result<Vec<PrincipalEntry>, DbError> {
    let rows = sqlx::query("select id, disabled, password_hash, created_at, created_by from principals").fetch_all(tx).await?;
    rows.iter().map(entry).collect()
}

/// Whether it exists, and whether it is disabled.
pub(crate) async fn is_disabled(tx: &mut Tx, principal: &Principal) -> Result<Option<bool>, DbError> {
    let row = sqlx::query("select disabled from principals where id = $1").bind(principal.to_string()).fetch_optional(tx).await?;
    row.map(|row| Ok(row.try_get::<i64, _>("disabled")? != 0)).transpose()
}

pub(crate) async fn any_exists(tx: &mut Tx) -> Result<bool, DbError> {
    Ok(sqlx::query("select id from principals limit 1").fetch_optional(tx).await?.is_some())
}

pub(crate) async fn insert(
    tx: &mut Tx,
    principal: &Principal,
    password_hash: Option<String>,
    now: Timestamp,
    by: &str,
) -> Result<(), DbError> {
    sqlx::query("insert into principals (id, disabled, password_hash, created_at, created_by) values ($1, 0, $2, $3, $4)")
        .bind(principal.to_string())
        .bind(password_hash)
        .bind(now.as_micros())
        .bind(by.to_owned())
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn set_disabled(tx: &mut Tx, principal: &Principal, disabled: bool) -> Result<(), DbError> {
    sqlx::query("update principals set disabled = $1 where id = $2")
        .bind(i64::from(disabled))
        .bind(principal.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn set_password(tx: &mut Tx, principal: &Principal, password_hash: String) -> Result<(), DbError> {
    sqlx::query("update principals set password_hash = $1 where id = $2")
        .bind(password_hash)
        .bind(principal.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn delete(tx: &mut Tx, principal: &Principal) -> Result<(), DbError> {
    sqlx::query("delete from principals where id = $1").bind(principal.to_string()).execute(tx).await?;
    Ok(())
}

fn entry(row: &sqlx::any::AnyRow) -> Result<PrincipalEntry, DbError> {
    let id: String = row.try_get("id")?;
    Ok(PrincipalEntry::new(
        parse("principals", "id", &id)?,
        row.try_get::<i64, _>("disabled")? != 0,
        row.try_get("password_hash")?,
        Timestamp::from_micros(row.try_get("created_at")?),
        row.try_get("created_by")?,
    ))
}
