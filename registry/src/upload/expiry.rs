//! Sessions that nobody finishes go, after a day unless configured otherwise (PUSH-CANCEL-2): those in memory by their last use, those
//! from before a restart by the age of their row and the last write to their file.

use super::{cancel, commit};
use crate::context::Context;
use crate::error::RegistryError;
use crate::storage;
use crate::store::uploads;
use model::Timestamp;
use std::sync::Arc;

/// Sessions ended per look.
const BATCH: u8 = 200;

/// One bounded batch; returns how many sessions ended.
pub async fn expire(ctx: &Arc<Context>) -> Result<usize, RegistryError> {
    let before = ctx.clock.now().minus(ctx.config.gc.uploads);
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
    let written = tokio::task::spawn_blocking(move || storage::written_at(&path)).await;
    matches!(written, Ok(Ok(at)) if at >= before)
}
