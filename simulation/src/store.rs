//! What changed in the database: ids and versions, so that only changed rows are read. The rows themselves are read by the stores.

use model::ids::{DeploymentId, TaskId};
use platform::db::{DbError, Tx};
use sqlx::Row;

/// Every task and its version.
pub async fn task_versions(tx: &mut Tx) -> Result<Vec<(TaskId, i64)>, DbError> {
    let rows = sqlx::query("select id, version from tasks order by id").fetch_all(tx).await?;
    let version = |row: &sqlx::any::AnyRow| -> Result<(TaskId, i64), DbError> {
        let id: String = row.try_get("id")?;
        let id = id.parse().map_err(|_| DbError::Other(format!("a task has the id {id}")))?;
        Ok((id, row.try_get("version")?))
    };
    rows.iter().map(version).collect()
}

/// Every service and its version.
pub async fn service_versions(tx: &mut Tx) -> Result<Vec<(String, i64)>, DbError> {
    let rows = sqlx::query("select id, version from services order by id").fetch_all(tx).await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("version")?))).collect()
}

/// Every deployment.
pub async fn deployment_ids(tx: &mut Tx) -> Result<Vec<(DeploymentId, bool)>, DbError> {
    let rows = sqlx::query("select id, status from deployments order by id").fetch_all(tx).await?;
    rows.iter().map(|row| Ok((DeploymentId(row.try_get("id")?), row.try_get::<String, _>("status")? == "INACTIVE"))).collect()
}
