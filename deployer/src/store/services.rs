//! Rows of `services`. Among those of one name in a cluster at most one is not INACTIVE.

use super::{changes, json, parsed, time, to_json};
use model::ids::{ClusterName, ServiceName, TaskDefinitionId};
use model::service::{Service, ServiceStatus};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: &str = "services";

/// The service of that name that is ACTIVE or DRAINING, else the last INACTIVE one.
pub async fn get(tx: &mut Tx, cluster: &ClusterName, name: &ServiceName) -> Result<Option<Service>, DbError> {
    sqlx::query(
        "select id, cluster, name, status, desired_count, family, revision, minimum_healthy_percent, maximum_percent, \
         placement_strategy, placement_constraints, health_check_grace_period_secs, circuit_breaker, principal, client_token, tags, \
         client_settings, version, created_at from services where cluster = $1 and name = $2 \
         order by case when status = 'INACTIVE' then 1 else 0 end, created_at desc limit 1",
    )
    .bind(cluster.to_string())
    .bind(name.to_string())
    .fetch_optional(tx)
    .await?
    .map(|row| service(&row))
    .transpose()
}

pub async fn by_id(tx: &mut Tx, id: &str) -> Result<Option<Service>, DbError> {
    sqlx::query(
        "select id, cluster, name, status, desired_count, family, revision, minimum_healthy_percent, maximum_percent, \
         placement_strategy, placement_constraints, health_check_grace_period_secs, circuit_breaker, principal, client_token, tags, \
         client_settings, version, created_at from services where id = $1",
    )
    .bind(id.to_owned())
    .fetch_optional(tx)
    .await?
    .map(|row| service(&row))
    .transpose()
}

/// Services of the cluster that are ACTIVE or DRAINING, by name.
pub async fn list(tx: &mut Tx, cluster: &ClusterName) -> Result<Vec<Service>, DbError> {
    let rows = sqlx::query(
        "select id, cluster, name, status, desired_count, family, revision, minimum_healthy_percent, maximum_percent, \
         placement_strategy, placement_constraints, health_check_grace_period_secs, circuit_breaker, principal, client_token, tags, \
         client_settings, version, created_at from services where cluster = $1 and status <> 'INACTIVE' order by name",
    )
    .bind(cluster.to_string())
    .fetch_all(tx)
    .await?;
    rows.iter().map(service).collect()
}

pub async fn insert(tx: &mut Tx, service: &Service) -> Result<(), DbError> {
    sqlx::query(
        "insert into services (id, cluster, name, status, desired_count, family, revision, minimum_healthy_percent, maximum_percent, \
         placement_strategy, placement_constraints, health_check_grace_period_secs, circuit_breaker, principal, client_token, tags, \
         client_settings, version, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
    )
    .bind(service.id.clone())
    .bind(service.cluster.to_string())
    .bind(service.name.to_string())
    .bind(service.status.as_str())
    .bind(service.desired_count)
    .bind(service.task_definition.family.to_string())
    .bind(service.task_definition.revision)
    .bind(service.minimum_healthy_percent)
    .bind(service.maximum_percent)
    .bind(to_json(&service.placement_strategy))
    .bind(to_json(&service.placement_constraints))
    .bind(service.health_check_grace_period_secs)
    .bind(to_json(&service.circuit_breaker))
    .bind(service.principal.to_string())
    .bind(service.client_token.clone())
    .bind(to_json(&service.tags))
    .bind(to_json(&service.client_settings))
    .bind(service.version)
    .bind(service.created_at.as_micros())
    .execute(&mut *tx)
    .await?;
    changes::service(tx, &service.id).await
}

/// Writes what can change of a service, unless somebody else changed it since it was read; then nothing is written and the
/// answer is false. The stored version is one higher afterwards.
pub async fn update(tx: &mut Tx, service: &Service) -> Result<bool, DbError> {
    let done = sqlx::query(
        "update services set status = $3, desired_count = $4, family = $5, revision = $6, minimum_healthy_percent = $7, \
         maximum_percent = $8, placement_strategy = $9, placement_constraints = $10, health_check_grace_period_secs = $11, \
         circuit_breaker = $12, principal = $13, tags = $14, client_settings = $15, version = version + 1 where id = $1 and version = $2",
    )
    .bind(service.id.clone())
    .bind(service.version)
    .bind(service.status.as_str())
    .bind(service.desired_count)
    .bind(service.task_definition.family.to_string())
    .bind(service.task_definition.revision)
    .bind(service.minimum_healthy_percent)
    .bind(service.maximum_percent)
    .bind(to_json(&service.placement_strategy))
    .bind(to_json(&service.placement_constraints))
    .bind(service.health_check_grace_period_secs)
    .bind(to_json(&service.circuit_breaker))
    .bind(service.principal.to_string())
    .bind(to_json(&service.tags))
    .bind(to_json(&service.client_settings))
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    changes::service(tx, &service.id).await?;
    Ok(true)
}

fn service(row: &AnyRow) -> Result<Service, DbError> {
    Ok(Service {
        id: row.try_get("id")?,
        cluster: parsed(row, TABLE, "cluster", |text| text.parse().ok())?,
        name: parsed(row, TABLE, "name", |text| text.parse().ok())?,
        status: parsed(row, TABLE, "status", ServiceStatus::parse)?,
        desired_count: row.try_get("desired_count")?,
        task_definition: TaskDefinitionId {
            family: parsed(row, TABLE, "family", |text| text.parse().ok())?,
            revision: row.try_get("revision")?,
        },
        minimum_healthy_percent: row.try_get("minimum_healthy_percent")?,
        maximum_percent: row.try_get("maximum_percent")?,
        placement_strategy: json(row, TABLE, "placement_strategy")?,
        placement_constraints: json(row, TABLE, "placement_constraints")?,
        health_check_grace_period_secs: row.try_get("health_check_grace_period_secs")?,
        circuit_breaker: json(row, TABLE, "circuit_breaker")?,
        principal: parsed(row, TABLE, "principal", |text| text.parse().ok())?,
        client_token: row.try_get("client_token")?,
        tags: json(row, TABLE, "tags")?,
        client_settings: json(row, TABLE, "client_settings")?,
        version: row.try_get("version")?,
        created_at: time(row, "created_at")?,
    })
}
