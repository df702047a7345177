//! The last step of a collection: files whose rows are gone. File first, then its row in `removals`; a crash in between does it again.

use crate::context::Context;
use crate::error::{RegistryError, io};
use crate::store::removals::{self, Removal};
use platform::failpoint;

/// At most `limit` files. Returns how many went, their bytes, and whether there may be more.
pub async fn remove(ctx: &Context, limit: i64) -> Result<(u64, u64, bool), RegistryError> {
    let queued = removals::some(&mut *ctx.db.read().await?, limit).await?;
    if queued.is_empty() {
        return Ok((0, 0, false));
    }
    let more = i64::try_from(queued.len()).unwrap_or(limit) == limit;
    let storage = ctx.storage.clone();
    let gone = tokio::task::spawn_blocking(move || {
        let mut bytes = 0;
        for removal in &queued {
            bytes += storage.remove_known(&removal.key)?;
        }
        // Before the rows go: a name that a power loss brings back would have nobody left who knows it.
        storage.sync_folders_of(queued.iter().map(|removal| &removal.key))?;
        Ok((queued, bytes))
    });
    let (gone, bytes) = gone
        .await
        .map_err(|_| RegistryError::Internal("files were not removed".into()))?
        .map_err(io("removing files of collected blobs"))?;
    failpoint::hit("gc-files-removed");
    let files = gone.len() as u64;
    forget(ctx, gone).await?;
    Ok((files, bytes, more))
}

async fn forget(ctx: &Context, gone: Vec<Removal>) -> Result<(), RegistryError> {
    ctx.db
        .write(move |tx| {
            let gone = gone.clone();
            Box::pin(async move {
                for removal in &gone {
                    removals::delete(tx, &removal.key).await?;
                }
                Ok::<_, RegistryError>(())
            })
        })
        .await
}
