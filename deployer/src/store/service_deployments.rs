//! Rows of `service_deployments`. At most one of a service is under way.

use super::{changes, json, json_option, parsed, time, time_option, to_json};
use model::Timestamp;
use model::ids::{DeploymentId, ServiceDeploymentId};
use model::service::{BreakerStatus, Cause, CauseKind, ServiceDeployment, ServiceDeploymentStatus};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: &str = "service_deployments";

pub async fn insert(tx: &mut Tx, of: &ServiceDeployment) -> Result<(), DbError> {
    sqlx::query(
        "insert into service_deployments (id, service_id, target, sources, from_task_definition, to_task_definition, kind, principal, \
         trigger_id, push_sequence, status, status_reason, breaker_status, breaker_failures, breaker_threshold, rollback, created_at, \
         started_at, finished_at, stopped_at, updated_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
    )
    .bind(of.id.to_string())
    .bind(of.service_id.clone())
    .bind(of.target.0.clone())
    .bind(to_json(&of.sources))
    .bind(of.from.as_ref().map(to_json))
    .bind(to_json(&of.to))
    .bind(of.cause.kind.as_str())
    .bind(of.cause.principal.to_string())
    .bind(of.cause.trigger.clone())
    .bind(of.cause.push)
    .bind(of.status.as_str())
    .bind(of.status_reason.clone())
    .bind(of.breaker_status.as_str())
    .bind(of.breaker_failures)
    .bind(of.breaker_threshold)
    .bind(of.rollback.as_ref().map(to_json))
    .bind(of.created_at.as_micros())
    .bind(of.started_at.map(Timestamp::as_micros))
    .bind(of.finished_at.map(Timestamp::as_micros))
    .bind(of.stopped_at.map(Timestamp::as_micros))
    .bind(of.updated_at.as_micros())
    .execute(&mut *tx)
    .await?;
    changes::service(tx, &of.service_id).await
}

/// Writes what can change of it, unless it has ended meanwhile: then nothing is written and the answer is false.
pub async fn update(tx: &mut Tx, of: &ServiceDeployment) -> Result<bool, DbError> {
    let done = sqlx::query(
        "update service_deployments set status = $2, status_reason = $3, breaker_status = $4, breaker_failures = $5, \
         breaker_threshold = $6, rollback = $7, started_at = $8, finished_at = $9, stopped_at = $10, updated_at = $11 \
         where id = $1 and finished_at is null",
    )
    .bind(of.id.to_string())
    .bind(of.status.as_str())
    .bind(of.status_reason.clone())
    .bind(of.breaker_status.as_str())
    .bind(of.breaker_failures)
    .bind(of.breaker_threshold)
    .bind(of.rollback.as_ref().map(to_json))
    .bind(of.started_at.map(Timestamp::as_micros))
    .bind(of.finished_at.map(Timestamp::as_micros))
    .bind(of.stopped_at.map(Timestamp::as_micros))
    .bind(of.updated_at.as_micros())
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    changes::service(tx, &of.service_id).await?;
    Ok(true)
}

pub async fn get(tx: &mut Tx, id: &ServiceDeploymentId) -> Result<Option<ServiceDeployment>, DbError> {
    sqlx::query(
        "select id, service_id, target, sources, from_task_definition, to_task_definition, kind, principal, trigger_id, push_sequence, \
         status, status_reason, breaker_status, breaker_failures, breaker_threshold, rollback, created_at, started_at, finished_at, \
         stopped_at, updated_at from service_deployments where id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(tx)
    .await?
    .map(|row| service_deployment(&row))
    .transpose()
}

/// The one of the service that is under way.
pub async fn current(tx: &mut Tx, service_id: &str) -> Result<Option<ServiceDeployment>, DbError> {
    sqlx::query(
        "select id, service_id, target, sources, from_task_definition, to_task_definition, kind, principal, trigger_id, push_sequence, \
         status, status_reason, breaker_status, breaker_failures, breaker_threshold, rollback, created_at, started_at, finished_at, \
         stopped_at, updated_at from service_deployments where service_id = $1 and finished_at is null",
    )
    .bind(service_id.to_owned())
    .fetch_optional(tx)
    .await?
    .map(|row| service_deployment(&row))
    .transpose()
}

/// Those of the service, newest first, at most `limit`.
pub async fn of_service(tx: &mut Tx, service_id: &str, limit: i64) -> Result<Vec<ServiceDeployment>, DbError> {
    let rows = sqlx::query(
        "select id, service_id, target, sources, from_task_definition, to_task_definition, kind, principal, trigger_id, push_sequence, \
         status, status_reason, breaker_status, breaker_failures, breaker_threshold, rollback, created_at, started_at, finished_at, \
         stopped_at, updated_at from service_deployments where service_id = $1 order by created_at desc, id limit $2",
    )
    .bind(service_id.to_owned())
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(service_deployment).collect()
}

fn service_deployment(row: &AnyRow) -> Result<ServiceDeployment, DbError> {
    Ok(ServiceDeployment {
        id: parsed(row, TABLE, "id", |text| text.parse().ok())?,
        service_id: row.try_get("service_id")?,
        target: DeploymentId(row.try_get("target")?),
        sources: json(row, TABLE, "sources")?,
        from: json_option(row, TABLE, "from_task_definition")?,
        to: json(row, TABLE, "to_task_definition")?,
        cause: Cause {
            kind: parsed(row, TABLE, "kind", CauseKind::parse)?,
            principal: parsed(row, TABLE, "principal", |text| text.parse().ok())?,
            trigger: row.try_get("trigger_id")?,
            push: row.try_get("push_sequence")?,
        },
        status: parsed(row, TABLE, "status", ServiceDeploymentStatus::parse)?,
        status_reason: row.try_get("status_reason")?,
        breaker_status: parsed(row, TABLE, "breaker_status", BreakerStatus::parse)?,
        breaker_failures: row.try_get("breaker_failures")?,
        breaker_threshold: row.try_get("breaker_threshold")?,
        rollback: json_option(row, TABLE, "rollback")?,
        created_at: time(row, "created_at")?,
        started_at: time_option(row, "started_at")?,
        finished_at: time_option(row, "finished_at")?,
        stopped_at: time_option(row, "stopped_at")?,
        updated_at: time(row, "updated_at")?,
    })
}
