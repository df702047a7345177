//! The end of an upload: bytes become a blob of a repository, or go.
//!
//! Order matters: bytes and folder are synced, then one transaction says that the blob exists and links it, then it is acknowledged.

use super::file::UploadFile;
use super::sessions::{Content, Session};
use super::{blocking, unmark};
use crate::context::Context;
use crate::error::{RegistryError, io};
use crate::quota;
use crate::storage::StorageKey;
use crate::store::uploads::StoredUpload;
use crate::store::{blobs, removals, repositories, uploads};
use model::Digest;
use platform::db::DbError;
use platform::failpoint;
use std::sync::Arc;

/// Commits what `file` holds as `digest`. Other content ends the session: what it holds can never become that blob.
pub async fn commit(
    ctx: &Arc<Context>,
    session: &Arc<Session>,
    content: &mut Content,
    file: UploadFile,
    digest: Digest,
) -> Result<(), RegistryError> {
    let (storage, key, algorithm) = (ctx.storage.clone(), session.stored.key.clone(), digest.algorithm());
    let expected = digest.clone();
    content.put_back(session, file.held());
    let written = blocking(move || {
        let actual = file.digest(algorithm).map_err(io("hashing an upload"))?;
        if actual != expected {
            return Err(RegistryError::DigestMismatch { expected, actual });
        }
        file.sync().map_err(io("syncing an upload"))?;
        storage.sync_folder_of(&key).map_err(io("syncing a blob folder"))?;
        Ok(file.length())
    })
    .await;
    let size = match written {
        Ok(size) => size,
        Err(error @ RegistryError::DigestMismatch { .. }) => {
            discard(ctx, session, content).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    failpoint::hit("blob-written");
    session.close().await;
    let standing = match record(ctx, session, digest, size).await {
        Ok(standing) => standing,
        Err(error) => {
            not_recorded(ctx, session, content, &error).await?;
            return Err(error);
        }
    };
    failpoint::hit("blob-committed");
    unmark(ctx, session);
    *content = Content::Gone;
    session.advance(0);
    ctx.sessions.remove(&session.stored.id);
    ctx.metrics.blobs_pushed.inc();
    if standing != session.stored.key {
        // The same bytes were here before; these are not needed.
        remove_file(ctx, &session.stored.key).await?;
    }
    Ok(())
}

/// What becomes of a session that was closed for a record that failed.
async fn not_recorded(ctx: &Context, session: &Session, content: &mut Content, error: &RegistryError) -> Result<(), RegistryError> {
    match error {
        // What it holds can never become a blob of this repository.
        RegistryError::QuotaExceeded { .. } => discard(ctx, session, content).await,
        // Whether it was committed is not known: the file may be a blob by now, and nothing may be written to it or remove it.
        // The session's row is there if it was not, and with it the way back.
        RegistryError::Db(DbError::Unavailable(_)) if !ctx.exclusive => {
            *content = Content::Gone;
            session.advance(0);
            ctx.sessions.remove(&session.stored.id);
            Ok(())
        }
        _ => {
            session.reopen();
            Ok(())
        }
    }
}

/// One transaction: the blob, its link, the session's end. Returns where the blob's bytes are; what the session brought is queued for
/// removal where they were here before.
async fn record(ctx: &Context, session: &Session, digest: Digest, size: u64) -> Result<StorageKey, RegistryError> {
    let (now, stored) = (ctx.clock.now(), session.stored.clone());
    ctx.db
        .write(move |tx| {
            let (stored, digest) = (stored.clone(), digest.clone());
            Box::pin(async move {
                let repository = repositories::ensure(tx, now, &stored.repository, &stored.principal).await?;
                quota::require_for_blob(tx, &stored.repository, &repository, &digest, size).await?;
                let key = blobs::insert(tx, now, &digest, size, &stored.key).await?;
                blobs::link(tx, now, repository.id, &digest).await?;
                uploads::delete(tx, &stored.id).await?;
                if key != stored.key {
                    removals::insert(tx, now, &stored.key, size).await?;
                }
                Ok::<_, RegistryError>(key)
            })
        })
        .await
}

/// Ends a session: row first, then the bytes, so that nothing is ever promised that is not there.
pub async fn discard(ctx: &Context, session: &Session, content: &mut Content) -> Result<(), RegistryError> {
    if matches!(content, Content::Gone) {
        return Ok(());
    }
    session.close().await;
    let length = session.length();
    *content = Content::Gone;
    session.advance(0);
    ctx.sessions.remove(&session.stored.id);
    end(ctx, &session.stored, length).await?;
    remove_file(ctx, &session.stored.key).await?;
    if session.take_mark() {
        let (storage, key) = (ctx.storage.clone(), session.stored.key.clone());
        blocking(move || storage.unmark(&key).map_err(io("taking a mark away"))).await?;
    }
    Ok(())
}

/// Ends a session on record. Its file is queued for removal with that, so that no crash leaves it behind.
pub async fn end(ctx: &Context, stored: &StoredUpload, length: u64) -> Result<(), RegistryError> {
    let (now, stored) = (ctx.clock.now(), stored.clone());
    ctx.db
        .write(move |tx| {
            let stored = stored.clone();
            Box::pin(async move {
                uploads::delete(tx, &stored.id).await?;
                Ok::<_, RegistryError>(removals::insert(tx, now, &stored.key, length).await?)
            })
        })
        .await
}

pub async fn remove_file(ctx: &Context, key: &StorageKey) -> Result<(), RegistryError> {
    let (storage, key) = (ctx.storage.clone(), key.clone());
    blocking(move || storage.remove(&key).map_err(io("removing an upload"))).await
}
