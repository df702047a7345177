//! Rows of `instances`. `agent_connected` is written by the lease, the rest at join and register.

use super::{changes, json, parsed, time, to_json};
use model::ids::{ClusterName, InstanceId};
use model::instance::{Instance, InstanceStatus, Resources};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: &str = "instances";

pub async fn insert(tx: &mut Tx, instance: &Instance) -> Result<(), DbError> {
    sqlx::query(
        "insert into instances (id, cluster, name, status, agent_connected, cpu, memory, reserved_ports, attributes, agent_version, \
         docker_version, address, version, registered_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(instance.id.to_string())
    .bind(instance.cluster.to_string())
    .bind(instance.name.clone())
    .bind(instance.status.as_str())
    .bind(i64::from(instance.agent_connected))
    .bind(instance.registered.cpu)
    .bind(instance.registered.memory)
    .bind(to_json(&instance.registered.ports))
    .bind(to_json(&instance.attributes))
    .bind(instance.agent_version.clone())
    .bind(instance.docker_version.clone())
    .bind(instance.address.clone())
    .bind(instance.version)
    .bind(instance.registered_at.as_micros())
    .execute(&mut *tx)
    .await?;
    changes::instance(tx, &instance.id).await
}

pub async fn get(tx: &mut Tx, id: &InstanceId) -> Result<Option<Instance>, DbError> {
    sqlx::query(
        "select id, cluster, name, status, agent_connected, cpu, memory, reserved_ports, attributes, agent_version, docker_version, \
         address, version, registered_at from instances where id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(tx)
    .await?
    .map(|row| instance(&row))
    .transpose()
}

/// Instances of the cluster that are not INACTIVE, by id.
pub async fn list(tx: &mut Tx, cluster: &ClusterName) -> Result<Vec<Instance>, DbError> {
    let rows = sqlx::query(
        "select id, cluster, name, status, agent_connected, cpu, memory, reserved_ports, attributes, agent_version, docker_version, \
         address, version, registered_at from instances where cluster = $1 and status <> 'INACTIVE' order by id",
    )
    .bind(cluster.to_string())
    .fetch_all(tx)
    .await?;
    rows.iter().map(instance).collect()
}

/// Instances whose agent is on record as connected, in every cluster.
pub async fn connected(tx: &mut Tx) -> Result<Vec<InstanceId>, DbError> {
    let rows = sqlx::query("select id from instances where agent_connected = 1").fetch_all(tx).await?;
    rows.iter().map(|row| parsed(row, TABLE, "id", |text| text.parse().ok())).collect()
}

/// Writes what can change of an instance, unless somebody else changed it since it was read; then nothing is written and the answer
/// is false. The stored version is one higher afterwards.
pub async fn update(tx: &mut Tx, instance: &Instance) -> Result<bool, DbError> {
    let done = sqlx::query(
        "update instances set name = $3, status = $4, agent_connected = $5, cpu = $6, memory = $7, reserved_ports = $8, \
         attributes = $9, agent_version = $10, docker_version = $11, address = $12, version = version + 1 \
         where id = $1 and version = $2",
    )
    .bind(instance.id.to_string())
    .bind(instance.version)
    .bind(instance.name.clone())
    .bind(instance.status.as_str())
    .bind(i64::from(instance.agent_connected))
    .bind(instance.registered.cpu)
    .bind(instance.registered.memory)
    .bind(to_json(&instance.registered.ports))
    .bind(to_json(&instance.attributes))
    .bind(instance.agent_version.clone())
    .bind(instance.docker_version.clone())
    .bind(instance.address.clone())
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    changes::instance(tx, &instance.id).await?;
    changes::services_on(tx, &instance.id).await?;
    Ok(true)
}

/// Claims the instance for a placement that was chosen at `version`; false when it changed since. The stored version is one higher.
pub async fn claim(tx: &mut Tx, id: &InstanceId, version: i64) -> Result<bool, DbError> {
    let done = sqlx::query("update instances set version = version + 1 where id = $1 and version = $2")
        .bind(id.to_string())
        .bind(version)
        .execute(&mut *tx)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    changes::instance(tx, id).await?;
    Ok(true)
}

fn instance(row: &AnyRow) -> Result<Instance, DbError> {
    Ok(Instance {
        id: parsed(row, TABLE, "id", |text| text.parse().ok())?,
        cluster: parsed(row, TABLE, "cluster", |text| text.parse().ok())?,
        name: row.try_get("name")?,
        status: parsed(row, TABLE, "status", InstanceStatus::parse)?,
        agent_connected: row.try_get::<i64, _>("agent_connected")? == 1,
        registered: Resources { cpu: row.try_get("cpu")?, memory: row.try_get("memory")?, ports: json(row, TABLE, "reserved_ports")? },
        attributes: json(row, TABLE, "attributes")?,
        agent_version: row.try_get("agent_version")?,
        docker_version: row.try_get("docker_version")?,
        address: row.try_get("address")?,
        version: row.try_get("version")?,
        registered_at: time(row, "registered_at")?,
    })
}
