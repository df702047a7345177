//! The counter that every change of identity raises: how servers know that what they hold in memory is current.

use platform::db::{DbError, Tx};
use sqlx::Row;

pub(crate) async fn current(tx: &mut Tx) -> Result<i64, DbError> {
    let row = sqlx::query("select value from counters where name = 'identity_version'").fetch_one(tx).await?;
    Ok(row.try_get("value")?)
}

pub(crate) async fn raise(tx: &mut Tx) -> Result<i64, DbError> {
    let row = sqlx::query("update counters set value = value + 1 where name = 'identity_version' returning value").fetch_one(tx).await?;
    Ok(row.try_get("value")?)
}
