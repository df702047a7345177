//! Rows of `changes`: which services and instances were touched since a reader last looked.
//!
//! The other stores call `service` and `instance` in the transaction that changes what a plan is made from. Readers (the planner,
//! its picture of the fleet) remember the number up to which they have seen everything, and ask for what comes after.

use super::parsed;
use model::ids::InstanceId;
use platform::db::{DbError, Tx};
use sqlx::Row;

const TABLE: &str = "changes";
const SERVICE: &str = "service";
const INSTANCE: &str = "instance";

/// What changed, with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<T> {
    pub sequence: i64,
    pub id: T,
}

/// The service, one of its deployments or one of its tasks changes in this transaction.
pub async fn service(tx: &mut Tx, id: &str) -> Result<(), DbError> {
    touch(tx, SERVICE, id).await
}

/// The instance, or what tasks hold there, changes in this transaction.
pub async fn instance(tx: &mut Tx, id: &InstanceId) -> Result<(), DbError> {
    touch(tx, INSTANCE, id.as_str()).await
}

/// The services with tasks on the instance look at them again.
pub async fn services_on(tx: &mut Tx, instance: &InstanceId) -> Result<(), DbError> {
    let rows = sqlx::query("select distinct service_id from tasks where instance_id = $1 and settled = 0 and service_id is not null")
        .bind(instance.to_string())
        .fetch_all(&mut *tx)
        .await?;
    for row in rows {
        service(tx, &row.try_get::<String, _>("service_id")?).await?;
    }
    Ok(())
}

/// Services touched after `sequence`, in order, at most `limit`.
pub async fn services_after(tx: &mut Tx, sequence: i64, limit: i64) -> Result<Vec<Change<String>>, DbError> {
    let rows = after(tx, SERVICE, sequence, limit).await?;
    rows.iter().map(|row| Ok(Change { sequence: row.try_get("sequence")?, id: row.try_get("id")? })).collect()
}

/// Instances touched after `sequence`, in order, at most `limit`.
pub async fn instances_after(tx: &mut Tx, sequence: i64, limit: i64) -> Result<Vec<Change<InstanceId>>, DbError> {
    let rows = after(tx, INSTANCE, sequence, limit).await?;
    let change = |row| Ok(Change { sequence: Row::try_get(row, "sequence")?, id: parsed(row, TABLE, "id", |text| text.parse().ok())? });
    rows.iter().map(change).collect()
}

async fn after(tx: &mut Tx, kind: &'static str, sequence: i64, limit: i64) -> Result<Vec<sqlx::any::AnyRow>, DbError> {
    let query = sqlx::query("select id, sequence from changes where kind = $1 and sequence > $2 order by sequence limit $3");
    Ok(query.bind(kind).bind(sequence).bind(limit).fetch_all(tx).await?)
}

/// The counter's row stays locked until the transaction ends, so that the numbers are in the order of commits.
async fn touch(tx: &mut Tx, kind: &'static str, id: &str) -> Result<(), DbError> {
    let counter = sqlx::query("update counters set value = value + 1 where name = 'changes' returning value").fetch_one(&mut *tx).await?;
    sqlx::query(
        "insert into changes (kind, id, sequence) values ($1, $2, $3) on conflict (kind, id) do update set sequence = excluded.sequence",
    )
    .bind(kind)
    .bind(id.to_owned())
    .bind(counter.try_get::<i64, _>("value")?)
    .execute(tx)
    .await?;
    Ok(())
}
