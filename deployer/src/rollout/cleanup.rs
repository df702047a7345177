//! Removes tasks that have been STOPPED for an hour (until then they can be described, as in ECS), and old events about tasks.

use crate::context::Context;
use crate::{pins, store};
use platform::db::DbError;
use platform::events;
use std::time::Duration;

/// How long a stopped task can be described.
pub const KEEP_STOPPED: Duration = Duration::from_hours(1);
/// Tasks removed in one go.
const BATCH: i64 = 500;

/// How long events about tasks are kept; those of the audit are kept for good.
pub const KEEP_TASK_EVENTS: Duration = Duration::from_hours(7 * 24);

/// One bounded batch of events about tasks; returns how many were removed.
pub async fn task_events(context: &Context) -> Result<u64, DbError> {
    let cutoff = context.clock.now().minus(KEEP_TASK_EVENTS);
    context.db.write(move |tx| Box::pin(events::remove_of_tasks(tx, cutoff, BATCH))).await
}

/// One bounded batch; returns how many were removed.
pub async fn run(context: &Context) -> Result<usize, DbError> {
    let cutoff = context.clock.now().minus(KEEP_STOPPED);
    let mut connection = context.db.read().await?;
    if store::tasks::stopped_before(&mut connection, cutoff, 1).await?.is_empty() {
        return Ok(0);
    }
    drop(connection);
    context
        .db
        .write(move |tx| {
            Box::pin(async move {
                let tasks = store::tasks::stopped_before(tx, cutoff, BATCH).await?;
                for task in &tasks {
                    store::tasks::delete(tx, task).await?;
                    pins::release_task(tx, task).await?;
                }
                Ok::<_, DbError>(tasks.len())
            })
        })
        .await
}
