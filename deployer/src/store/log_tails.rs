//! Rows of `task_log_tails`: the last lines of a stopped task, written once with its STOPPED report and removed with the task.

use model::ids::TaskId;
use platform::db::{DbError, Tx};
use sqlx::Row;

/// The last lines of one container, each with its time before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTail {
    pub container: String,
    pub content: String,
}

pub async fn put(tx: &mut Tx, task: &TaskId, tail: &LogTail) -> Result<(), DbError> {
    sqlx::query("insert into task_log_tails (task_id, container, content) values ($1, $2, $3) on conflict (task_id, container) do nothing")
        .bind(task.to_string())
        .bind(tail.container.clone())
        .bind(tail.content.clone())
        .execute(tx)
        .await?;
    Ok(())
}

/// By container.
pub async fn of_task(tx: &mut Tx, task: &TaskId) -> Result<Vec<LogTail>, DbError> {
    let rows = sqlx::query("select container, content from task_log_tails where task_id = $1 order by container")
        .bind(task.to_string())
        .fetch_all(tx)
        .await?;
    rows.iter().map(|row| Ok(LogTail { container: row.try_get("container")?, content: row.try_get("content")? })).collect()
}

pub async fn delete(tx: &mut Tx, task: &TaskId) -> Result<(), DbError> {
    sqlx::query("delete from task_log_tails where task_id = $1").bind(task.to_string()).execute(tx).await?;
    Ok(())
}
