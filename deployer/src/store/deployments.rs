//! Rows of `deployments`. The operations insert them; only the planner's transactions change what becomes of them.

use super::{changes, json, parsed, parsed_option, time, to_json};
use model::Timestamp;
use model::ids::{DeploymentId, TaskDefinitionId};
use model::service::{Deployment, DeploymentStatus, RolloutState};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: &str = "deployments";

pub async fn insert(tx: &mut Tx, deployment: &Deployment) -> Result<(), DbError> {
    sqlx::query(
        "insert into deployments (id, service_id, status, family, revision, images, rollout_state, rollout_state_reason, \
         principal, failed_tasks, breaker_failures, breaker_consecutive, consecutive_failures, not_before, created_at, updated_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(deployment.id.0.clone())
    .bind(deployment.service_id.clone())
    .bind(deployment.status.as_str())
    .bind(deployment.task_definition.family.to_string())
    .bind(deployment.task_definition.revision)
    .bind(to_json(&deployment.images))
    .bind(deployment.rollout_state.as_str())
    .bind(deployment.rollout_state_reason.clone())
    .bind(deployment.principal.as_ref().map(ToString::to_string))
    .bind(deployment.failed_tasks)
    .bind(deployment.breaker_failures)
    .bind(deployment.breaker_consecutive)
    .bind(deployment.consecutive_failures)
    .bind(deployment.not_before.as_micros())
    .bind(deployment.created_at.as_micros())
    .bind(deployment.updated_at.as_micros())
    .execute(&mut *tx)
    .await?;
    changes::service(tx, &deployment.service_id).await
}

/// Writes what can change of a deployment.
pub async fn update(tx: &mut Tx, deployment: &Deployment) -> Result<(), DbError> {
    sqlx::query(
        "update deployments set status = $2, rollout_state = $3, rollout_state_reason = $4, failed_tasks = $5, \
         breaker_failures = $6, breaker_consecutive = $7, consecutive_failures = $8, not_before = $9, updated_at = $10 where id = $1",
    )
    .bind(deployment.id.0.clone())
    .bind(deployment.status.as_str())
    .bind(deployment.rollout_state.as_str())
    .bind(deployment.rollout_state_reason.clone())
    .bind(deployment.failed_tasks)
    .bind(deployment.breaker_failures)
    .bind(deployment.breaker_consecutive)
    .bind(deployment.consecutive_failures)
    .bind(deployment.not_before.as_micros())
    .bind(deployment.updated_at.as_micros())
    .execute(&mut *tx)
    .await?;
    changes::service(tx, &deployment.service_id).await
}

pub async fn get(tx: &mut Tx, id: &DeploymentId) -> Result<Option<Deployment>, DbError> {
    sqlx::query(
        "select id, service_id, status, family, revision, images, rollout_state, rollout_state_reason, principal, \
         failed_tasks, breaker_failures, breaker_consecutive, consecutive_failures, not_before, created_at, updated_at from deployments where id = $1",
    )
    .bind(id.0.clone())
    .fetch_optional(tx)
    .await?
    .map(|row| deployment(&row))
    .transpose()
}

/// PRIMARY and ACTIVE deployments of the service, newest first: what `deployments[]` shows.
pub async fn of_service(tx: &mut Tx, service_id: &str) -> Result<Vec<Deployment>, DbError> {
    let rows = sqlx::query(
        "select id, service_id, status, family, revision, images, rollout_state, rollout_state_reason, principal, \
         failed_tasks, breaker_failures, breaker_consecutive, consecutive_failures, not_before, created_at, updated_at from deployments where service_id = $1 and status <> 'INACTIVE' \
         order by case when status = 'PRIMARY' then 0 else 1 end, created_at desc, id",
    )
    .bind(service_id.to_owned())
    .fetch_all(tx)
    .await?;
    rows.iter().map(deployment).collect()
}

/// The newest COMPLETED deployment of the service other than `but`: what it can be rolled back to.
pub async fn last_completed(tx: &mut Tx, service_id: &str, but: &DeploymentId) -> Result<Option<Deployment>, DbError> {
    sqlx::query(
        "select id, service_id, status, family, revision, images, rollout_state, rollout_state_reason, principal, \
         failed_tasks, breaker_failures, breaker_consecutive, consecutive_failures, not_before, created_at, updated_at \
         from deployments where service_id = $1 and id <> $2 and rollout_state = 'COMPLETED' order by created_at desc, id limit 1",
    )
    .bind(service_id.to_owned())
    .bind(but.0.clone())
    .fetch_optional(tx)
    .await?
    .map(|row| deployment(&row))
    .transpose()
}

fn deployment(row: &AnyRow) -> Result<Deployment, DbError> {
    Ok(Deployment {
        id: DeploymentId(row.try_get("id")?),
        service_id: row.try_get("service_id")?,
        status: parsed(row, TABLE, "status", DeploymentStatus::parse)?,
        task_definition: TaskDefinitionId {
            family: parsed(row, TABLE, "family", |text| text.parse().ok())?,
            revision: row.try_get("revision")?,
        },
        images: json(row, TABLE, "images")?,
        rollout_state: parsed(row, TABLE, "rollout_state", RolloutState::parse)?,
        rollout_state_reason: row.try_get("rollout_state_reason")?,
        principal: parsed_option(row, TABLE, "principal", |text| text.parse().ok())?,
        failed_tasks: row.try_get("failed_tasks")?,
        breaker_failures: row.try_get("breaker_failures")?,
        breaker_consecutive: row.try_get("breaker_consecutive")?,
        consecutive_failures: row.try_get("consecutive_failures")?,
        not_before: Timestamp::from_micros(row.try_get("not_before")?),
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}
