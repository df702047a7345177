//! Removes tasks that have been STOPPED for an hour; until then they can be described, as in ECS.

use crate::context::Context;
use crate::store;
use platform::db::DbError;
use std::time::Duration;

/// How long a stopped task can be described.
pub const KEEP_STOPPED: Duration = Duration::from_hours(1);
/// Tasks removed in one go.
const BATCH: i64 = 500;

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
                }
                Ok::<_, DbError>(tasks.len())
            })
        })
        .await
}
