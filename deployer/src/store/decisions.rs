//! Rows of `trigger_decisions`, and the pushes that have none yet. Reads `push_events`, which the registry writes.

use super::{parsed, parsed_option, time};
use model::Timestamp;
use model::ids::{ClusterName, DeploymentId, ServiceDeploymentId, ServiceName, TaskDefinitionId};
use model::trigger::{DecisionStatus, Push, TriggerDecision};
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: &str = "trigger_decisions";
const PUSHES: &str = "push_events";

/// Services with pushes later than `after` that have no decision for one of their triggers.
pub async fn services_with_undecided(tx: &mut Tx, after: i64) -> Result<Vec<String>, DbError> {
    let rows = sqlx::query(
        "select distinct t.service_id from triggers t join push_events p on p.repository = t.repository and p.sequence > t.after_push \
         where p.sequence > $1 and not exists (select 1 from trigger_decisions d where d.trigger_id = t.id and d.push = p.sequence)",
    )
    .bind(after)
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| Ok(row.try_get("service_id")?)).collect()
}

/// Services with pushes that were held for a trigger that is not held any more.
pub async fn services_with_released(tx: &mut Tx) -> Result<Vec<String>, DbError> {
    let rows = sqlx::query(
        "select distinct t.service_id from trigger_decisions d join triggers t on t.id = d.trigger_id \
         where d.status = 'held' and t.held_at is null",
    )
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| Ok(row.try_get("service_id")?)).collect()
}

/// Pushes of the trigger's repository, later than `after`, that have no decision for it, in their order, at most `limit`.
pub async fn undecided(tx: &mut Tx, trigger_id: &str, after: i64, limit: i64) -> Result<Vec<Push>, DbError> {
    let rows = sqlx::query(
        "select p.sequence, p.repository, p.tag, p.digest, p.principal, p.scope, p.at from triggers t \
         join push_events p on p.repository = t.repository and p.sequence > t.after_push where t.id = $1 \
         and p.sequence > $2 and not exists (select 1 from trigger_decisions d where d.trigger_id = t.id and d.push = p.sequence) \
         order by p.sequence limit $3",
    )
    .bind(trigger_id.to_owned())
    .bind(after)
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(push).collect()
}

/// Pushes whose decision for the trigger is `status`, in their order.
pub async fn pushes(tx: &mut Tx, trigger_id: &str, status: DecisionStatus) -> Result<Vec<Push>, DbError> {
    let rows = sqlx::query(
        "select d.push as sequence, d.repository, d.tag, d.digest, d.pusher as principal, p.scope, d.pushed_at as at \
         from trigger_decisions d left join push_events p on p.sequence = d.push \
         where d.trigger_id = $1 and d.status = $2 order by d.push",
    )
    .bind(trigger_id.to_owned())
    .bind(status.as_str())
    .fetch_all(tx)
    .await?;
    rows.iter().map(push).collect()
}

/// The last push of `tag`, and of `digest` when that is given.
pub async fn last_push(tx: &mut Tx, repository: &str, tag: &str, digest: &str) -> Result<Option<Push>, DbError> {
    sqlx::query(
        "select sequence, repository, tag, digest, principal, scope, at from push_events where repository = $1 \
         and (tag = $2 or $2 = '') and (digest = $3 or $3 = '') order by sequence desc limit 1",
    )
    .bind(repository.to_owned())
    .bind(tag.to_owned())
    .bind(digest.to_owned())
    .fetch_optional(tx)
    .await?
    .map(|row| push(&row))
    .transpose()
}

/// When a push last made a deployment of the service.
pub async fn last_deployed(tx: &mut Tx, service_id: &str) -> Result<Option<Timestamp>, DbError> {
    let row = sqlx::query("select max(decided_at) as at from trigger_decisions where service_id = $1 and status = 'taken'")
        .bind(service_id.to_owned())
        .fetch_one(tx)
        .await?;
    super::time_option(&row, "at")
}

/// The tags by which pushes brought, or found, `digest` in a container of the service.
pub async fn tags_of(tx: &mut Tx, service_id: &str, container: &str, digest: &str) -> Result<Vec<String>, DbError> {
    let rows = sqlx::query(
        "select distinct tag from trigger_decisions where service_id = $1 and container = $2 and digest = $3 \
         and deployment_id is not null",
    )
    .bind(service_id.to_owned())
    .bind(container.to_owned())
    .bind(digest.to_owned())
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| Ok(row.try_get("tag")?)).collect()
}

/// Writes the decision of a pair that has none, or one that was held or waited; false when it stands already.
pub async fn record(tx: &mut Tx, decision: &TriggerDecision) -> Result<bool, DbError> {
    let done = sqlx::query(
        "insert into trigger_decisions (id, trigger_id, push, service_id, cluster, service, container, repository, tag, digest, pusher, \
         pushed_at, status, reason, superseded_by, decided_by, decided_at, deployment_id, service_deployment_id, family, revision) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) \
         on conflict (trigger_id, push) do update set status = excluded.status, reason = excluded.reason, \
         superseded_by = excluded.superseded_by, decided_by = excluded.decided_by, decided_at = excluded.decided_at, \
         deployment_id = excluded.deployment_id, service_deployment_id = excluded.service_deployment_id, family = excluded.family, \
         revision = excluded.revision where trigger_decisions.status in ('held', 'waiting')",
    )
    .bind(decision.id.clone())
    .bind(decision.trigger_id.clone())
    .bind(decision.push.sequence)
    .bind(decision.service_id.clone())
    .bind(decision.cluster.to_string())
    .bind(decision.service.to_string())
    .bind(decision.container.clone())
    .bind(decision.push.repository.to_string())
    .bind(decision.push.tag.to_string())
    .bind(decision.push.digest.to_string())
    .bind(decision.push.principal.to_string())
    .bind(decision.push.at.as_micros())
    .bind(decision.status.as_str())
    .bind(decision.reason.clone())
    .bind(decision.superseded_by)
    .bind(decision.decided_by.as_ref().map(ToString::to_string))
    .bind(decision.decided_at.as_micros())
    .bind(decision.deployment.as_ref().map(|id| id.0.clone()))
    .bind(decision.service_deployment.as_ref().map(ToString::to_string))
    .bind(decision.task_definition.as_ref().map(|id| id.family.to_string()))
    .bind(decision.task_definition.as_ref().map(|id| id.revision))
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub async fn get(tx: &mut Tx, id: &str) -> Result<Option<TriggerDecision>, DbError> {
    sqlx::query(
        "select id, trigger_id, push, service_id, cluster, service, container, repository, tag, digest, pusher, pushed_at, status, \
         reason, superseded_by, decided_by, decided_at, deployment_id, service_deployment_id, family, revision \
         from trigger_decisions where id = $1",
    )
    .bind(id.to_owned())
    .fetch_optional(tx)
    .await?
    .map(|row| decision(&row))
    .transpose()
}

/// The decision of a pair.
pub async fn of_pair(tx: &mut Tx, trigger_id: &str, push: i64) -> Result<Option<TriggerDecision>, DbError> {
    sqlx::query(
        "select id, trigger_id, push, service_id, cluster, service, container, repository, tag, digest, pusher, pushed_at, status, \
         reason, superseded_by, decided_by, decided_at, deployment_id, service_deployment_id, family, revision \
         from trigger_decisions where trigger_id = $1 and push = $2",
    )
    .bind(trigger_id.to_owned())
    .bind(push)
    .fetch_optional(tx)
    .await?
    .map(|row| decision(&row))
    .transpose()
}

/// Those of a trigger that can still change: that wait or are held.
pub async fn unfinished(tx: &mut Tx, trigger_id: &str) -> Result<Vec<TriggerDecision>, DbError> {
    let rows = sqlx::query(
        "select id, trigger_id, push, service_id, cluster, service, container, repository, tag, digest, pusher, pushed_at, status, \
         reason, superseded_by, decided_by, decided_at, deployment_id, service_deployment_id, family, revision \
         from trigger_decisions where trigger_id = $1 and status in ('held', 'waiting') order by push",
    )
    .bind(trigger_id.to_owned())
    .fetch_all(tx)
    .await?;
    rows.iter().map(decision).collect()
}

/// Which decisions; what is absent does not narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub trigger: Option<String>,
    pub service: Option<(ClusterName, ServiceName)>,
    pub repository: Option<String>,
    pub tag: Option<String>,
    pub digest: Option<String>,
    pub status: Option<DecisionStatus>,
}

/// The newest pushes first, those that stand before `before` (push and id) in this order, at most `limit`.
pub async fn list(tx: &mut Tx, filter: &Filter, before: Option<(i64, &str)>, limit: i64) -> Result<Vec<TriggerDecision>, DbError> {
    let (cluster, service) = filter.service.as_ref().map(|(cluster, service)| (cluster.to_string(), service.to_string())).unzip();
    let (push, id) = before.unwrap_or((i64::MAX, ""));
    let rows = sqlx::query(
        "select id, trigger_id, push, service_id, cluster, service, container, repository, tag, digest, pusher, pushed_at, status, \
         reason, superseded_by, decided_by, decided_at, deployment_id, service_deployment_id, family, revision \
         from trigger_decisions where (push < $1 or (push = $1 and id > $2)) and (trigger_id = $3 or $3 = '') \
         and (cluster = $4 or $4 = '') and (service = $5 or $5 = '') and (repository = $6 or $6 = '') and (tag = $7 or $7 = '') \
         and (digest = $8 or $8 = '') and (status = $9 or $9 = '') order by push desc, id limit $10",
    )
    .bind(push)
    .bind(id.to_owned())
    .bind(filter.trigger.clone().unwrap_or_default())
    .bind(cluster.unwrap_or_default())
    .bind(service.unwrap_or_default())
    .bind(filter.repository.clone().unwrap_or_default())
    .bind(filter.tag.clone().unwrap_or_default())
    .bind(filter.digest.clone().unwrap_or_default())
    .bind(filter.status.map_or("", DecisionStatus::as_str))
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(decision).collect()
}

fn push(row: &AnyRow) -> Result<Push, DbError> {
    Ok(Push {
        sequence: row.try_get("sequence")?,
        repository: parsed(row, PUSHES, "repository", |text| text.parse().ok())?,
        tag: parsed(row, PUSHES, "tag", |text| text.parse().ok())?,
        digest: parsed(row, PUSHES, "digest", |text| text.parse().ok())?,
        principal: parsed(row, PUSHES, "principal", |text| text.parse().ok())?,
        scope: row.try_get("scope")?,
        at: time(row, "at")?,
    })
}

fn decision(row: &AnyRow) -> Result<TriggerDecision, DbError> {
    let family = parsed_option(row, TABLE, "family", |text| text.parse().ok())?;
    let revision: Option<i64> = row.try_get("revision")?;
    Ok(TriggerDecision {
        id: row.try_get("id")?,
        trigger_id: row.try_get("trigger_id")?,
        service_id: row.try_get("service_id")?,
        cluster: parsed(row, TABLE, "cluster", |text| text.parse().ok())?,
        service: parsed(row, TABLE, "service", |text| text.parse().ok())?,
        container: row.try_get("container")?,
        push: Push {
            sequence: row.try_get("push")?,
            repository: parsed(row, TABLE, "repository", |text| text.parse().ok())?,
            tag: parsed(row, TABLE, "tag", |text| text.parse().ok())?,
            digest: parsed(row, TABLE, "digest", |text| text.parse().ok())?,
            principal: parsed(row, TABLE, "pusher", |text| text.parse().ok())?,
            scope: None,
            at: time(row, "pushed_at")?,
        },
        status: parsed(row, TABLE, "status", DecisionStatus::parse)?,
        reason: row.try_get("reason")?,
        superseded_by: row.try_get("superseded_by")?,
        decided_by: parsed_option(row, TABLE, "decided_by", |text| text.parse().ok())?,
        decided_at: time(row, "decided_at")?,
        deployment: row.try_get::<Option<String>, _>("deployment_id")?.map(DeploymentId),
        service_deployment: parsed_option(row, TABLE, "service_deployment_id", |text| text.parse::<ServiceDeploymentId>().ok())?,
        task_definition: family.zip(revision).map(|(family, revision)| TaskDefinitionId { family, revision }),
    })
}
