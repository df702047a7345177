//! Sessions that nobody finishes go after a day (PUSH-CANCEL-2): those in memory by their last use, those from before a restart by
//! the age of their row and the last write to their file.

use super::{cancel, commit};
use crate::context::Context;
use crate::error::RegistryError;
use crate::store::uploads;
use model::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How long an unfinished session is kept, in seconds.
pub const SESSION_SECS_MAX: u64 = 24 * 60 * 60;
/// How often to look, in seconds.
pub const PERIOD_SECS: u64 = 10 * 60;
/// Sessions ended per look.
const BATCH: u8 = 200;

/// One bounded batch; returns how many sessions ended.
pub async fn expire(ctx: &Arc<Context>) -> Result<usize, RegistryError> {
    let before = ctx.clock.now().minus(Duration::from_secs(SESSION_SECS_MAX));
    let mut ended = 0;
    for session in ctx.sessions.idle_since(before, usize::from(BATCH)) {
        cancel(ctx, session).await?;
        ended += 1;
    }
    let rows = uploads::begun_before(&mut *ctx.db.read().await?, before, i64::from(BATCH)).await?;
    for row in rows {
        if ctx.sessions.get(&row.id).is_some() || written_since(ctx, &row, before).await {
            continue;
        }
        commit::end(ctx, &row, 0).await?;
        commit::remove_file(ctx, &row.key).await?;
        ended += 1;
    }
    ctx.metrics.uploads_expired.inc_by(ended as u64);
    Ok(ended)
}

async fn written_since(ctx: &Context, row: &uploads::StoredUpload, before: Timestamp) -> bool {
    let path = ctx.storage.path(&row.key);
    let modified = tokio::task::spawn_blocking(move || std::fs::metadata(path).and_then(|metadata| metadata.modified())).await;
    let Ok(Ok(modified)) = modified else { return false };
    let since_epoch = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)) >= before
}
