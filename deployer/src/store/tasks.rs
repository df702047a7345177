//! Rows of `tasks`. The control plane writes what is desired, reports write what is observed; a row only moves forward.

use super::{changes, json, parsed, parsed_option, time, time_option, to_json};
use model::Timestamp;
use model::ids::{ClusterName, DeploymentId, InstanceId, TaskDefinitionId, TaskId};
use model::task::{DesiredStatus, HealthStatus, ServiceTask, StopCode, Task, TaskStatus};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: &str = "tasks";

/// An unsettled task as the long poll compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    pub id: TaskId,
    pub desired_status: DesiredStatus,
}

pub async fn insert(tx: &mut Tx, task: &Task) -> Result<(), DbError> {
    sqlx::query(
        "insert into tasks (id, cluster, service_id, deployment_id, family, revision, task_group, started_by, instance_id, \
         reserved, overrides, images, principal, client_token, tags, desired_status, stop_code, stopped_reason, last_status, \
         health_status, containers, report_sequence, connected, version, created_at, pull_started_at, pull_stopped_at, \
         started_at, stopping_at, stopped_at, healthy_at, settled) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
         $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)",
    )
    .bind(task.id.to_string())
    .bind(task.cluster.to_string())
    .bind(task.service_id.clone())
    .bind(task.deployment_id.as_ref().map(|id| id.0.clone()))
    .bind(task.task_definition.family.to_string())
    .bind(task.task_definition.revision)
    .bind(task.group.clone())
    .bind(task.started_by.clone())
    .bind(task.instance_id.as_ref().map(ToString::to_string))
    .bind(to_json(&task.reserved))
    .bind(to_json(&task.overrides))
    .bind(to_json(&task.images))
    .bind(task.principal.to_string())
    .bind(task.client_token.clone())
    .bind(to_json(&task.tags))
    .bind(task.desired_status.as_str())
    .bind(task.stop_code.map(StopCode::as_str))
    .bind(task.stopped_reason.clone())
    .bind(task.last_status.as_str())
    .bind(task.health_status.as_str())
    .bind(to_json(&task.containers))
    .bind(task.report_sequence)
    .bind(i64::from(task.connected))
    .bind(task.version)
    .bind(task.created_at.as_micros())
    .bind(micros(task.pull_started_at))
    .bind(micros(task.pull_stopped_at))
    .bind(micros(task.started_at))
    .bind(micros(task.stopping_at))
    .bind(micros(task.stopped_at))
    .bind(micros(task.healthy_at))
    .bind(i64::from(task.last_status == TaskStatus::Stopped))
    .execute(&mut *tx)
    .await?;
    touch(tx, task.service_id.as_deref(), task.instance_id.as_ref()).await
}

pub async fn get(tx: &mut Tx, id: &TaskId) -> Result<Option<Task>, DbError> {
    sqlx::query(
        "select id, cluster, service_id, deployment_id, family, revision, task_group, started_by, instance_id, reserved, \
         overrides, images, principal, client_token, tags, desired_status, stop_code, stopped_reason, last_status, \
         health_status, containers, report_sequence, connected, version, created_at, pull_started_at, pull_stopped_at, \
         started_at, stopping_at, stopped_at, healthy_at from tasks where id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(tx)
    .await?
    .map(|row| task(&row))
    .transpose()
}

/// Tasks of the service that are not STOPPED, oldest first.
///
/// All in one row, since each row of an answer costs the driver a turn of two threads: for a service of fifty tasks most of what
/// planning it takes.
pub async fn of_service(tx: &mut Tx, service_id: &str) -> Result<Vec<ServiceTask>, DbError> {
    let lines: Option<String> = sqlx::query_scalar(
        "select string_agg(id || ' ' || coalesce(deployment_id, '') || ' ' || family || ' ' || cast(revision as text) || ' ' || \
         coalesce(instance_id, '') || ' ' || desired_status || ' ' || last_status || ' ' || health_status || ' ' || \
         cast(connected as text) || ' ' || cast(created_at as text) || ' ' || coalesce(cast(started_at as text), '') || ' ' || \
         coalesce(cast(healthy_at as text), ''), ',') from tasks where service_id = $1 and last_status <> 'STOPPED'",
    )
    .bind(service_id.to_owned())
    .fetch_one(tx)
    .await?;
    let lines = lines.unwrap_or_default();
    let read = |line: &str| service_task(line).ok_or_else(|| DbError::Inconsistent { table: TABLE, column: "*", value: line.to_owned() });
    let mut tasks = lines.split_terminator(',').map(read).collect::<Result<Vec<_>, _>>()?;
    tasks.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
    Ok(tasks)
}

/// Tasks that RunTask made under this token, in any state: what a repeated request is answered with.
pub async fn of_client_token(tx: &mut Tx, cluster: &ClusterName, client_token: &str) -> Result<Vec<Task>, DbError> {
    let rows = sqlx::query(
        "select id, cluster, service_id, deployment_id, family, revision, task_group, started_by, instance_id, reserved, \
         overrides, images, principal, client_token, tags, desired_status, stop_code, stopped_reason, last_status, \
         health_status, containers, report_sequence, connected, version, created_at, pull_started_at, pull_stopped_at, \
         started_at, stopping_at, stopped_at, healthy_at from tasks where cluster = $1 and client_token = $2 order by \
         created_at, id",
    )
    .bind(cluster.to_string())
    .bind(client_token.to_owned())
    .fetch_all(tx)
    .await?;
    rows.iter().map(task).collect()
}

/// Tasks of a cluster of which that is desired, oldest first.
pub async fn of_cluster_filtered(tx: &mut Tx, cluster: &ClusterName, desired: DesiredStatus) -> Result<Vec<Task>, DbError> {
    let rows = sqlx::query(
        "select id, cluster, service_id, deployment_id, family, revision, task_group, started_by, instance_id, reserved, \
         overrides, images, principal, client_token, tags, desired_status, stop_code, stopped_reason, last_status, \
         health_status, containers, report_sequence, connected, version, created_at, pull_started_at, pull_stopped_at, \
         started_at, stopping_at, stopped_at, healthy_at from tasks where cluster = $1 \
         and desired_status = $2 order by created_at, id",
    )
    .bind(cluster.to_string())
    .bind(desired.as_str())
    .fetch_all(tx)
    .await?;
    rows.iter().map(task).collect()
}

/// Tasks that the agent of the instance still has to do with: its STOPPED report is not on record. Oldest first.
pub async fn of_instance_unsettled(tx: &mut Tx, instance: &InstanceId) -> Result<Vec<Task>, DbError> {
    let rows = sqlx::query(
        "select id, cluster, service_id, deployment_id, family, revision, task_group, started_by, instance_id, reserved, \
         overrides, images, principal, client_token, tags, desired_status, stop_code, stopped_reason, last_status, \
         health_status, containers, report_sequence, connected, version, created_at, pull_started_at, pull_stopped_at, \
         started_at, stopping_at, stopped_at, healthy_at from tasks where instance_id = $1 and settled = 0 order by created_at, \
         id",
    )
    .bind(instance.to_string())
    .fetch_all(tx)
    .await?;
    rows.iter().map(task).collect()
}

/// The same, only as much as a poll needs to see whether anything changed.
pub async fn unsettled(tx: &mut Tx, instance: &InstanceId) -> Result<Vec<Unsettled>, DbError> {
    let rows = sqlx::query("select id, desired_status from tasks where instance_id = $1 and settled = 0 order by id")
        .bind(instance.to_string())
        .fetch_all(tx)
        .await?;
    let unsettled = |row: &AnyRow| {
        Ok(Unsettled {
            id: parsed(row, TABLE, "id", |text| text.parse().ok())?,
            desired_status: parsed(row, TABLE, "desired_status", DesiredStatus::parse)?,
        })
    };
    rows.iter().map(unsettled).collect()
}

/// Whether there is a row of that id at all.
pub async fn exists(tx: &mut Tx, id: &TaskId) -> Result<bool, DbError> {
    Ok(sqlx::query("select id from tasks where id = $1").bind(id.to_string()).fetch_optional(tx).await?.is_some())
}

/// Orders the task's stop, and says how it is then; nothing when it was ordered before, or the task is gone. The first order's reason
/// stays.
pub async fn order_stop(tx: &mut Tx, id: &TaskId, code: StopCode, reason: String, now: Timestamp) -> Result<Option<Task>, DbError> {
    let ordered = sqlx::query(
        "update tasks set desired_status = 'STOPPED', stop_code = $2, stopped_reason = $3, stopping_at = $4, version = version + 1 \
         where id = $1 and desired_status = 'RUNNING' and last_status <> 'STOPPED' returning id, cluster, service_id, \
         deployment_id, family, revision, task_group, started_by, instance_id, reserved, overrides, images, principal, \
         client_token, tags, desired_status, stop_code, stopped_reason, \
         last_status, health_status, containers, report_sequence, connected, version, created_at, pull_started_at, pull_stopped_at, \
         started_at, stopping_at, stopped_at, healthy_at",
    )
    .bind(id.to_string())
    .bind(code.as_str())
    .bind(reason)
    .bind(now.as_micros())
    .fetch_optional(&mut *tx)
    .await?;
    let Some(ordered) = ordered.map(|row| task(&row)).transpose()? else { return Ok(None) };
    touch(tx, ordered.service_id.as_deref(), ordered.instance_id.as_ref()).await?;
    Ok(Some(ordered))
}

/// Writes what is observed of the task, unless it changed since it was read; then nothing is written and the answer is false. A
/// STOPPED task is settled.
pub async fn update_observed(tx: &mut Tx, task: &Task) -> Result<bool, DbError> {
    let done = sqlx::query(
        "update tasks set stop_code = $3, stopped_reason = $4, last_status = $5, health_status = $6, containers = $7, \
         report_sequence = $8, pull_started_at = $9, pull_stopped_at = $10, started_at = $11, stopping_at = $12, stopped_at = $13, \
         healthy_at = $14, settled = $15, desired_status = $16, version = version + 1 where id = $1 and version = $2",
    )
    .bind(task.id.to_string())
    .bind(task.version)
    .bind(task.stop_code.map(StopCode::as_str))
    .bind(task.stopped_reason.clone())
    .bind(task.last_status.as_str())
    .bind(task.health_status.as_str())
    .bind(to_json(&task.containers))
    .bind(task.report_sequence)
    .bind(micros(task.pull_started_at))
    .bind(micros(task.pull_stopped_at))
    .bind(micros(task.started_at))
    .bind(micros(task.stopping_at))
    .bind(micros(task.stopped_at))
    .bind(micros(task.healthy_at))
    .bind(i64::from(task.last_status == TaskStatus::Stopped))
    .bind(task.desired_status.as_str())
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let frees = task.instance_id.as_ref().filter(|_| task.last_status == TaskStatus::Stopped);
    touch(tx, task.service_id.as_deref(), frees).await?;
    Ok(true)
}

/// The task counts as healthy from `now` on, and is returned as it is then; nothing when it did before.
pub async fn mark_healthy(tx: &mut Tx, id: &TaskId, now: Timestamp) -> Result<Option<Task>, DbError> {
    let marked = sqlx::query(
        "update tasks set healthy_at = $2, version = version + 1 where id = $1 and healthy_at is null returning id, cluster, service_id, \
         deployment_id, family, revision, task_group, started_by, instance_id, reserved, overrides, images, principal, \
         client_token, tags, desired_status, stop_code, stopped_reason, \
         last_status, health_status, containers, report_sequence, connected, version, created_at, pull_started_at, pull_stopped_at, \
         started_at, stopping_at, stopped_at, healthy_at",
    )
    .bind(id.to_string())
    .bind(now.as_micros())
    .fetch_optional(&mut *tx)
    .await?;
    let Some(marked) = marked.map(|row| task(&row)).transpose()? else { return Ok(None) };
    touch(tx, marked.service_id.as_deref(), None).await?;
    Ok(Some(marked))
}

/// Whether the instance of these tasks is heard of; STOPPED ones keep what they had.
pub async fn set_connected(tx: &mut Tx, instance: &InstanceId, connected: bool) -> Result<u64, DbError> {
    let done =
        sqlx::query("update tasks set connected = $2, version = version + 1 where instance_id = $1 and settled = 0 and connected <> $2")
            .bind(instance.to_string())
            .bind(i64::from(connected))
            .execute(&mut *tx)
            .await?;
    if done.rows_affected() > 0 {
        changes::services_on(tx, instance).await?;
    }
    Ok(done.rows_affected())
}

/// Tasks that stopped before `cutoff`, at most `limit`. Those of instances that are not heard of are kept: their agents still have
/// to learn that they are settled.
pub async fn stopped_before(tx: &mut Tx, cutoff: Timestamp, limit: i64) -> Result<Vec<TaskId>, DbError> {
    let rows = sqlx::query(
        "select id from tasks where last_status = 'STOPPED' and stopped_at < $1 and not exists (select 1 from instances \
         where instances.id = tasks.instance_id and instances.agent_connected = 0 and instances.status <> 'INACTIVE') \
         order by stopped_at limit $2",
    )
    .bind(cutoff.as_micros())
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| parsed(row, TABLE, "id", |text| text.parse().ok())).collect()
}

/// With the last lines of its containers.
pub async fn delete(tx: &mut Tx, id: &TaskId) -> Result<(), DbError> {
    super::log_tails::delete(tx, id).await?;
    sqlx::query("delete from tasks where id = $1").bind(id.to_string()).execute(tx).await?;
    Ok(())
}

/// What a plan is made from changes with the task: its service, and with its reservation its instance.
async fn touch(tx: &mut Tx, service_id: Option<&str>, instance: Option<&InstanceId>) -> Result<(), DbError> {
    if let Some(service_id) = service_id {
        changes::service(tx, service_id).await?;
    }
    match instance {
        Some(instance) => changes::instance(tx, instance).await,
        None => Ok(()),
    }
}

fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}

/// One line of what [`of_service`] reads.
fn service_task(line: &str) -> Option<ServiceTask> {
    let mut fields = line.split(' ');
    let mut next = || fields.next();
    let optional = |text: &str| if text.is_empty() { None } else { Some(text.to_owned()) };
    let moment = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Timestamp::from_micros).map(Some) };
    Some(ServiceTask {
        id: next()?.parse().ok()?,
        deployment_id: optional(next()?).map(DeploymentId),
        task_definition: TaskDefinitionId { family: next()?.parse().ok()?, revision: next()?.parse().ok()? },
        instance_id: optional(next()?).map(|text| text.parse()).transpose().ok()?,
        desired_status: DesiredStatus::parse(next()?)?,
        last_status: TaskStatus::parse(next()?)?,
        health_status: HealthStatus::parse(next()?)?,
        connected: next()? == "1",
        created_at: moment(next()?)??,
        started_at: moment(next()?)?,
        healthy_at: moment(next()?)?,
    })
}

fn task(row: &AnyRow) -> Result<Task, DbError> {
    Ok(Task {
        id: parsed(row, TABLE, "id", |text| text.parse().ok())?,
        cluster: parsed(row, TABLE, "cluster", |text| text.parse().ok())?,
        service_id: row.try_get("service_id")?,
        deployment_id: row.try_get::<Option<String>, _>("deployment_id")?.map(DeploymentId),
        task_definition: TaskDefinitionId {
            family: parsed(row, TABLE, "family", |text| text.parse().ok())?,
            revision: row.try_get("revision")?,
        },
        group: row.try_get("task_group")?,
        started_by: row.try_get("started_by")?,
        instance_id: parsed_option(row, TABLE, "instance_id", |text| text.parse().ok())?,
        reserved: json(row, TABLE, "reserved")?,
        overrides: json(row, TABLE, "overrides")?,
        images: json(row, TABLE, "images")?,
        principal: parsed(row, TABLE, "principal", |text| text.parse().ok())?,
        client_token: row.try_get("client_token")?,
        tags: json(row, TABLE, "tags")?,
        desired_status: parsed(row, TABLE, "desired_status", DesiredStatus::parse)?,
        stop_code: parsed_option(row, TABLE, "stop_code", StopCode::parse)?,
        stopped_reason: row.try_get("stopped_reason")?,
        last_status: parsed(row, TABLE, "last_status", TaskStatus::parse)?,
        health_status: parsed(row, TABLE, "health_status", HealthStatus::parse)?,
        containers: json(row, TABLE, "containers")?,
        report_sequence: row.try_get("report_sequence")?,
        connected: row.try_get::<i64, _>("connected")? == 1,
        version: row.try_get("version")?,
        created_at: time(row, "created_at")?,
        pull_started_at: time_option(row, "pull_started_at")?,
        pull_stopped_at: time_option(row, "pull_stopped_at")?,
        started_at: time_option(row, "started_at")?,
        stopping_at: time_option(row, "stopping_at")?,
        stopped_at: time_option(row, "stopped_at")?,
        healthy_at: time_option(row, "healthy_at")?,
    })
}
