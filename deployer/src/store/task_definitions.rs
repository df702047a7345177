//! Rows of `families` and `task_definitions`. A revision number is never given twice.

use super::{json, parsed, time, time_option, to_json};
use model::Timestamp;
use model::ids::{Family, TaskDefinitionId};
use model::task::ResolvedImage;
use model::task_definition::TaskDefinition;
use platform::db::{DbError, Tx};
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

const TABLE: &str = "task_definitions";

/// ACTIVE, or INACTIVE once deregistered: what runs goes on, nothing new starts from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskDefinitionStatus {
    Active,
    Inactive,
}

impl TaskDefinitionStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Inactive].into_iter().find(|status| status.as_str() == text)
    }
}

/// A registered revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    pub id: TaskDefinitionId,
    pub status: TaskDefinitionStatus,
    /// The part that Berth acts on, parsed from `document`.
    pub definition: TaskDefinition,
    /// As it was given, with the defaults that ECS adds.
    pub document: Value,
    /// Container name to image. Own images carry their repository, and a digest only when one was written.
    pub images: BTreeMap<String, ResolvedImage>,
    pub tags: Vec<(String, String)>,
    pub registered_at: Timestamp,
    pub registered_by: String,
    pub deregistered_at: Option<Timestamp>,
}

/// The next revision of `family`; the row stays locked until the transaction ends.
pub async fn next_revision(tx: &mut Tx, family: &Family) -> Result<i64, DbError> {
    let row = sqlx::query(
        "insert into families (name, last_revision) values ($1, 1) \
         on conflict (name) do update set last_revision = families.last_revision + 1 returning last_revision",
    )
    .bind(family.to_string())
    .fetch_one(tx)
    .await?;
    Ok(row.try_get("last_revision")?)
}

pub async fn insert(tx: &mut Tx, registered: &Registered) -> Result<(), DbError> {
    sqlx::query(
        "insert into task_definitions (family, revision, status, document, images, tags, registered_at, registered_by, \
         deregistered_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(registered.id.family.to_string())
    .bind(registered.id.revision)
    .bind(registered.status.as_str())
    .bind(registered.document.to_string())
    .bind(to_json(&registered.images))
    .bind(to_json(&registered.tags))
    .bind(registered.registered_at.as_micros())
    .bind(registered.registered_by.clone())
    .bind(registered.deregistered_at.map(Timestamp::as_micros))
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn get(tx: &mut Tx, id: &TaskDefinitionId) -> Result<Option<Registered>, DbError> {
    sqlx::query(
        "select family, revision, status, document, images, tags, registered_at, registered_by, deregistered_at \
         from task_definitions where family = $1 and revision = $2",
    )
    .bind(id.family.to_string())
    .bind(id.revision)
    .fetch_optional(tx)
    .await?
    .map(|row| registered(&row))
    .transpose()
}

/// The highest ACTIVE revision of `family`: what the bare family name means.
pub async fn latest_active(tx: &mut Tx, family: &Family) -> Result<Option<Registered>, DbError> {
    sqlx::query(
        "select family, revision, status, document, images, tags, registered_at, registered_by, deregistered_at \
         from task_definitions where family = $1 and status = 'ACTIVE' order by revision desc limit 1",
    )
    .bind(family.to_string())
    .fetch_optional(tx)
    .await?
    .map(|row| registered(&row))
    .transpose()
}

pub async fn deregister(tx: &mut Tx, id: &TaskDefinitionId, now: Timestamp) -> Result<(), DbError> {
    sqlx::query(
        "update task_definitions set status = 'INACTIVE', deregistered_at = $3 where family = $1 and revision = $2 and status = 'ACTIVE'",
    )
    .bind(id.family.to_string())
    .bind(id.revision)
    .bind(now.as_micros())
    .execute(tx)
    .await?;
    Ok(())
}

/// Every revision of `status` by family, then revision; of one family when `family` is given.
pub async fn list(tx: &mut Tx, family: Option<&Family>, status: TaskDefinitionStatus) -> Result<Vec<TaskDefinitionId>, DbError> {
    let rows = sqlx::query(
        "select family, revision from task_definitions where status = $1 and (family = $2 or $3 = 1) order by family, revision",
    )
    .bind(status.as_str())
    .bind(family.map_or_else(String::new, ToString::to_string))
    .bind(i64::from(family.is_none()))
    .fetch_all(tx)
    .await?;
    rows.iter().map(id).collect()
}

/// Every family, and whether it has an ACTIVE revision.
pub async fn families(tx: &mut Tx) -> Result<Vec<(Family, bool)>, DbError> {
    let rows = sqlx::query(
        "select family, cast(sum(case when status = 'ACTIVE' then 1 else 0 end) as bigint) as active \
         from task_definitions group by family order by family",
    )
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| Ok((parsed(row, TABLE, "family", |text| text.parse().ok())?, row.try_get::<i64, _>("active")? > 0))).collect()
}

fn id(row: &AnyRow) -> Result<TaskDefinitionId, DbError> {
    Ok(TaskDefinitionId { family: parsed(row, TABLE, "family", |text| text.parse().ok())?, revision: row.try_get("revision")? })
}

fn registered(row: &AnyRow) -> Result<Registered, DbError> {
    Ok(Registered {
        id: id(row)?,
        status: parsed(row, TABLE, "status", TaskDefinitionStatus::parse)?,
        definition: json(row, TABLE, "document")?,
        document: json(row, TABLE, "document")?,
        images: json(row, TABLE, "images")?,
        tags: json(row, TABLE, "tags")?,
        registered_at: time(row, "registered_at")?,
        registered_by: row.try_get("registered_by")?,
        deregistered_at: time_option(row, "deregistered_at")?,
    })
}
