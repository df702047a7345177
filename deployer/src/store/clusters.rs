//! Rows of `clusters`, and what a cluster contains.

use super::{json, parsed, time, to_json};
use model::cluster::{Cluster, ClusterStatus};
use model::ids::ClusterName;
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: &str = "clusters";

/// What ECS counts of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterCounts {
    pub instances: i64,
    pub running_tasks: i64,
    pub pending_tasks: i64,
    pub active_services: i64,
    pub draining_services: i64,
}

pub async fn get(tx: &mut Tx, name: &ClusterName) -> Result<Option<Cluster>, DbError> {
    sqlx::query("select name, status, created_at, tags, client_settings from clusters where name = $1")
        .bind(name.to_string())
        .fetch_optional(tx)
        .await?
        .map(|row| cluster(&row))
        .transpose()
}

/// Active clusters by name, after `after`, at most `limit`.
pub async fn list_active(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<ClusterName>, DbError> {
    let rows = sqlx::query("select name from clusters where status = 'ACTIVE' and name > $1 order by name limit $2")
        .bind(after.to_owned())
        .bind(limit)
        .fetch_all(tx)
        .await?;
    rows.iter().map(|row| parsed(row, TABLE, "name", |text| text.parse().ok())).collect()
}

/// Makes the cluster, or makes a deleted one again.
pub async fn put(tx: &mut Tx, cluster: &Cluster) -> Result<(), DbError> {
    sqlx::query(
        "insert into clusters (name, status, created_at, tags, client_settings) values ($1, $2, $3, $4, $5) \
         on conflict (name) do update set status = excluded.status, created_at = excluded.created_at, tags = excluded.tags, \
         client_settings = excluded.client_settings",
    )
    .bind(cluster.name.to_string())
    .bind(cluster.status.as_str())
    .bind(cluster.created_at.as_micros())
    .bind(to_json(&cluster.tags))
    .bind(to_json(&cluster.client_settings))
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn set_status(tx: &mut Tx, name: &ClusterName, status: ClusterStatus) -> Result<(), DbError> {
    sqlx::query("update clusters set status = $2 where name = $1").bind(name.to_string()).bind(status.as_str()).execute(tx).await?;
    Ok(())
}

pub async fn counts(tx: &mut Tx, name: &ClusterName) -> Result<ClusterCounts, DbError> {
    let row = sqlx::query(
        "select (select count(*) from instances where cluster = $1 and status <> 'INACTIVE') as instances, \
         (select count(*) from tasks where cluster = $1 and last_status = 'RUNNING') as running_tasks, \
         (select count(*) from tasks where cluster = $1 and last_status in ('PROVISIONING', 'PENDING', 'ACTIVATING')) as pending_tasks, \
         (select count(*) from services where cluster = $1 and status = 'ACTIVE') as active_services, \
         (select count(*) from services where cluster = $1 and status = 'DRAINING') as draining_services",
    )
    .bind(name.to_string())
    .fetch_one(tx)
    .await?;
    Ok(ClusterCounts {
        instances: row.try_get("instances")?,
        running_tasks: row.try_get("running_tasks")?,
        pending_tasks: row.try_get("pending_tasks")?,
        active_services: row.try_get("active_services")?,
        draining_services: row.try_get("draining_services")?,
    })
}

/// Whether a task of the cluster is not STOPPED yet.
pub async fn has_unfinished_tasks(tx: &mut Tx, name: &ClusterName) -> Result<bool, DbError> {
    let row = sqlx::query("select id from tasks where cluster = $1 and last_status <> 'STOPPED' limit 1")
        .bind(name.to_string())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

fn cluster(row: &AnyRow) -> Result<Cluster, DbError> {
    Ok(Cluster {
        name: parsed(row, TABLE, "name", |text| text.parse().ok())?,
        status: parsed(row, TABLE, "status", ClusterStatus::parse)?,
        created_at: time(row, "created_at")?,
        tags: json(row, TABLE, "tags")?,
        client_settings: json(row, TABLE, "client_settings")?,
    })
}
