//! Rows of `unknown_containers`: what agents found and no task here explains. The agent's newest report replaces its set.

use super::{parsed, parsed_option, time};
use model::Timestamp;
use model::ids::{InstanceId, TaskId};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: &str = "unknown_containers";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRow {
    pub instance_id: InstanceId,
    pub runtime_id: String,
    pub name: String,
    pub task_id: Option<TaskId>,
    pub image: String,
    pub status: String,
    pub seen_at: Timestamp,
}

/// Makes `rows` the set of the instance.
pub async fn replace(tx: &mut Tx, instance: &InstanceId, rows: &[UnknownRow]) -> Result<(), DbError> {
    sqlx::query("delete from unknown_containers where instance_id = $1").bind(instance.to_string()).execute(&mut *tx).await?;
    for row in rows {
        sqlx::query(
            "insert into unknown_containers (instance_id, runtime_id, name, task_id, image, status, seen_at) \
             values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
        )
        .bind(instance.to_string())
        .bind(row.runtime_id.clone())
        .bind(row.name.clone())
        .bind(row.task_id.as_ref().map(ToString::to_string))
        .bind(row.image.clone())
        .bind(row.status.clone())
        .bind(row.seen_at.as_micros())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Whether any is on record for the instance.
pub async fn any_of(tx: &mut Tx, instance: &InstanceId) -> Result<bool, DbError> {
    let row = sqlx::query("select runtime_id from unknown_containers where instance_id = $1 limit 1")
        .bind(instance.to_string())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// By instance, then runtime id, after that pair; at most `limit`.
pub async fn list(tx: &mut Tx, after: (&str, &str), limit: i64) -> Result<Vec<UnknownRow>, DbError> {
    let rows = sqlx::query(
        "select instance_id, runtime_id, name, task_id, image, status, seen_at from unknown_containers \
         where instance_id > $1 or (instance_id = $1 and runtime_id > $2) order by instance_id, runtime_id limit $3",
    )
    .bind(after.0.to_owned())
    .bind(after.1.to_owned())
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(unknown).collect()
}

fn unknown(row: &AnyRow) -> Result<UnknownRow, DbError> {
    Ok(UnknownRow {
        instance_id: parsed(row, TABLE, "instance_id", |text| text.parse().ok())?,
        runtime_id: row.try_get("runtime_id")?,
        name: row.try_get("name")?,
        task_id: parsed_option(row, TABLE, "task_id", |text| text.parse().ok())?,
        image: row.try_get("image")?,
        status: row.try_get("status")?,
        seen_at: time(row, "seen_at")?,
    })
}
