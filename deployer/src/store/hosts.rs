//! What concerns hosts beside their own rows: which of them drain, and the brake of a cluster.

use super::{changes, json, parsed, time, to_json};
use model::Timestamp;
use model::ids::{ClusterName, InstanceId};
use platform::db::{DbError, Tx};
use sqlx::Row;
use std::collections::BTreeSet;

const BRAKES: &str = "brakes";

/// A cluster that lost many instances at once: what ran on them is not replaced before `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brake {
    pub cluster: ClusterName,
    pub lost: BTreeSet<InstanceId>,
    pub began_at: Timestamp,
    pub until: Timestamp,
}

/// Instances of the cluster that are DRAINING.
pub async fn draining(tx: &mut Tx, cluster: &ClusterName) -> Result<BTreeSet<InstanceId>, DbError> {
    let rows =
        sqlx::query("select id from instances where cluster = $1 and status = 'DRAINING'").bind(cluster.to_string()).fetch_all(tx).await?;
    rows.iter().map(|row| parsed(row, "instances", "id", |text| text.parse().ok())).collect()
}

pub async fn brake(tx: &mut Tx, cluster: &ClusterName) -> Result<Option<Brake>, DbError> {
    let row = sqlx::query("select cluster, lost, began_at, until_at from brakes where cluster = $1")
        .bind(cluster.to_string())
        .fetch_optional(tx)
        .await?;
    row.map(|row| brake_of(&row)).transpose()
}

pub async fn brakes(tx: &mut Tx) -> Result<Vec<Brake>, DbError> {
    let rows = sqlx::query("select cluster, lost, began_at, until_at from brakes order by cluster").fetch_all(tx).await?;
    rows.iter().map(brake_of).collect()
}

pub async fn set_brake(tx: &mut Tx, brake: &Brake) -> Result<(), DbError> {
    sqlx::query(
        "insert into brakes (cluster, lost, began_at, until_at) values ($1, $2, $3, $4) \
         on conflict (cluster) do update set lost = excluded.lost, began_at = excluded.began_at, until_at = excluded.until_at",
    )
    .bind(brake.cluster.to_string())
    .bind(to_json(&brake.lost))
    .bind(brake.began_at.as_micros())
    .bind(brake.until.as_micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes the brake and makes the planner look at what is lost; false when there was none.
pub async fn release_brake(tx: &mut Tx, cluster: &ClusterName) -> Result<bool, DbError> {
    let done = sqlx::query("delete from brakes where cluster = $1").bind(cluster.to_string()).execute(&mut *tx).await?;
    changes::services_with_lost_tasks(tx, cluster).await?;
    Ok(done.rows_affected() > 0)
}

/// Instances of the cluster whose agents are heard, and those that have registered once and are not.
pub async fn heard_and_lost(tx: &mut Tx, cluster: &ClusterName) -> Result<(usize, BTreeSet<InstanceId>), DbError> {
    let rows = sqlx::query("select id, agent_connected from instances where cluster = $1 and status <> 'INACTIVE' and agent_version <> ''")
        .bind(cluster.to_string())
        .fetch_all(tx)
        .await?;
    let (mut heard, mut lost) = (0, BTreeSet::new());
    for row in &rows {
        if row.try_get::<i64, _>("agent_connected")? == 1 {
            heard += 1;
        } else {
            lost.insert(parsed(row, "instances", "id", |text| text.parse().ok())?);
        }
    }
    Ok((heard, lost))
}

fn brake_of(row: &sqlx::any::AnyRow) -> Result<Brake, DbError> {
    Ok(Brake {
        cluster: parsed(row, BRAKES, "cluster", |text| text.parse().ok())?,
        lost: json(row, BRAKES, "lost")?,
        began_at: time(row, "began_at")?,
        until: time(row, "until_at")?,
    })
}
