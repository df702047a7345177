//! The `settings` table: what is set at first start and never changes, and the epoch of the control plane.

use crate::db::{Db, DbError, Tx};
use model::Timestamp;
use sqlx::Row;

pub async fn get(tx: &mut Tx, name: &'static str) -> Result<Option<String>, DbError> {
    let row = sqlx::query("select value from settings where name = $1").bind(name).fetch_optional(tx).await?;
    Ok(row.map(|row| row.try_get("value")).transpose()?)
}

/// Sets `name` unless it is set already; returns what stands then.
pub async fn get_or_set(db: &Db, name: &'static str, value: String) -> Result<String, DbError> {
    db.write(move |tx| {
        let value = value.clone();
        Box::pin(async move {
            sqlx::query("insert into settings (name, value) values ($1, $2) on conflict do nothing")
                .bind(name)
                .bind(value.clone())
                .execute(&mut *tx)
                .await?;
            Ok::<_, DbError>(get(tx, name).await?.unwrap_or(value))
        })
    })
    .await
}

/// A new epoch for a server that starts: max(previous + 1, unix time in seconds). Every order carries it; agents refuse a lower one.
pub async fn next_epoch(db: &Db, now: Timestamp) -> Result<i64, DbError> {
    db.write(move |tx| {
        Box::pin(async move {
            let previous = get(tx, "epoch").await?.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
            let epoch = now.as_secs().max(previous + 1);
            sqlx::query("insert into settings (name, value) values ('epoch', $1) on conflict (name) do update set value = excluded.value")
                .bind(epoch.to_string())
                .execute(tx)
                .await?;
            Ok::<_, DbError>(epoch)
        })
    })
    .await
}
