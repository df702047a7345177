//! Rows of `triggers`.

use super::{json, parsed, parsed_option, time, time_option, to_json};
use model::ids::{ClusterName, ServiceName};
use model::trigger::{Hold, TagKind, TagRule, Trigger};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: &str = "triggers";

pub async fn insert(tx: &mut Tx, trigger: &Trigger) -> Result<(), DbError> {
    sqlx::query(
        "insert into triggers (id, service_id, cluster, service, container, repository, kind, pattern, excludes, created_by, \
         created_at, after_push) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(trigger.id.clone())
    .bind(trigger.service_id.clone())
    .bind(trigger.cluster.to_string())
    .bind(trigger.service.to_string())
    .bind(trigger.container.clone())
    .bind(trigger.repository.to_string())
    .bind(trigger.tag.kind.as_str())
    .bind(trigger.tag.pattern.clone())
    .bind(to_json(&trigger.exclude))
    .bind(trigger.created_by.to_string())
    .bind(trigger.created_at.as_micros())
    .bind(trigger.after_push)
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn get(tx: &mut Tx, id: &str) -> Result<Option<Trigger>, DbError> {
    sqlx::query(
        "select id, service_id, cluster, service, container, repository, kind, pattern, excludes, held_reason, held_by, held_at, \
         held_push, created_by, created_at, after_push from triggers where id = $1",
    )
    .bind(id.to_owned())
    .fetch_optional(tx)
    .await?
    .map(|row| trigger(&row))
    .transpose()
}

/// Those of the service, oldest first.
pub async fn of_service(tx: &mut Tx, service_id: &str) -> Result<Vec<Trigger>, DbError> {
    let rows = sqlx::query(
        "select id, service_id, cluster, service, container, repository, kind, pattern, excludes, held_reason, held_by, held_at, \
         held_push, created_by, created_at, after_push from triggers where service_id = $1 order by created_at, id",
    )
    .bind(service_id.to_owned())
    .fetch_all(tx)
    .await?;
    rows.iter().map(trigger).collect()
}

/// Those that follow the repository, by id.
pub async fn of_repository(tx: &mut Tx, repository: &str) -> Result<Vec<Trigger>, DbError> {
    let rows = sqlx::query(
        "select id, service_id, cluster, service, container, repository, kind, pattern, excludes, held_reason, held_by, held_at, \
         held_push, created_by, created_at, after_push from triggers where repository = $1 order by id",
    )
    .bind(repository.to_owned())
    .fetch_all(tx)
    .await?;
    rows.iter().map(trigger).collect()
}

/// Which triggers; what is absent does not narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub service: Option<(ClusterName, ServiceName)>,
    pub repository: Option<String>,
}

/// By id, those after `after`, at most `limit`.
pub async fn list(tx: &mut Tx, filter: &Filter, after: &str, limit: i64) -> Result<Vec<Trigger>, DbError> {
    let (cluster, service) = filter.service.as_ref().map(|(cluster, service)| (cluster.to_string(), service.to_string())).unzip();
    let rows = sqlx::query(
        "select id, service_id, cluster, service, container, repository, kind, pattern, excludes, held_reason, held_by, held_at, \
         held_push, created_by, created_at, after_push from triggers where id > $1 and (cluster = $2 or $2 = '') \
         and (service = $3 or $3 = '') and (repository = $4 or $4 = '') order by id limit $5",
    )
    .bind(after.to_owned())
    .bind(cluster.unwrap_or_default())
    .bind(service.unwrap_or_default())
    .bind(filter.repository.clone().unwrap_or_default())
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(trigger).collect()
}

/// Writes whether the trigger is held.
pub async fn hold(tx: &mut Tx, id: &str, hold: Option<&Hold>) -> Result<(), DbError> {
    sqlx::query("update triggers set held_reason = $2, held_by = $3, held_at = $4, held_push = $5 where id = $1")
        .bind(id.to_owned())
        .bind(hold.map(|hold| hold.reason.clone()))
        .bind(hold.map(|hold| hold.by.to_string()))
        .bind(hold.map(|hold| hold.at.as_micros()))
        .bind(hold.map(|hold| hold.push))
        .execute(tx)
        .await?;
    Ok(())
}

/// False when there was none.
pub async fn remove(tx: &mut Tx, id: &str) -> Result<bool, DbError> {
    let done = sqlx::query("delete from triggers where id = $1").bind(id.to_owned()).execute(tx).await?;
    Ok(done.rows_affected() == 1)
}

fn trigger(row: &AnyRow) -> Result<Trigger, DbError> {
    Ok(Trigger {
        id: row.try_get("id")?,
        service_id: row.try_get("service_id")?,
        cluster: parsed(row, TABLE, "cluster", |text| text.parse().ok())?,
        service: parsed(row, TABLE, "service", |text| text.parse().ok())?,
        container: row.try_get("container")?,
        repository: parsed(row, TABLE, "repository", |text| text.parse().ok())?,
        tag: TagRule { kind: parsed(row, TABLE, "kind", TagKind::parse)?, pattern: row.try_get("pattern")? },
        exclude: json(row, TABLE, "excludes")?,
        held: held(row)?,
        created_by: parsed(row, TABLE, "created_by", |text| text.parse().ok())?,
        created_at: time(row, "created_at")?,
        after_push: row.try_get("after_push")?,
    })
}

fn held(row: &AnyRow) -> Result<Option<Hold>, DbError> {
    let Some(at) = time_option(row, "held_at")? else { return Ok(None) };
    let missing = |column| DbError::Inconsistent { table: TABLE, column, value: "null".into() };
    let by = parsed_option(row, TABLE, "held_by", |text| text.parse().ok())?.ok_or_else(|| missing("held_by"))?;
    let push: Option<i64> = row.try_get("held_push")?;
    let reason: Option<String> = row.try_get("held_reason")?;
    Ok(Some(Hold { reason: reason.unwrap_or_default(), by, at, push: push.ok_or_else(|| missing("held_push"))? }))
}
