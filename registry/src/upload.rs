//! Blob uploads: sessions that survive broken connections and restarts, bodies that stream to disk, and the commit.
//!
//! A request that changes a session runs in a task of its own: what a client has sent is kept, and a commit that has begun ends,
//! even if the client is gone. One request holds a session at a time; a newer one takes it over, since the older is most likely a
//! connection that broke without the server having noticed.

mod commit;
pub mod expiry;
mod file;
pub mod marks;
mod receive;
pub mod sessions;
mod writer;

pub use receive::drain;

use crate::auth::Access;
use crate::context::Context;
use crate::error::{RegistryError, io};
use crate::quota::Room;
use crate::route::{Route, UploadId};
use crate::storage::StorageKey;
use crate::store::uploads::{self as store, StoredUpload};
use axum::body::Body;
use file::UploadFile;
use model::name::Algorithm;
use model::{Digest, RepositoryName};
use platform::failpoint;
use receive::{Ended, Limit};
use sessions::{Content, Held, Session};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// How long a session may live before its row is written, in milliseconds. Most small blobs are done before and cost no row.
const ROW_AFTER_MS: u64 = 100;
/// Bodies of as many bytes are refused before they are received when the disk has no room for them; smaller ones when they are written.
const ROOM_BYTES_MIN: u64 = 1024 * 1024;

/// A request body that belongs into an upload.
pub struct Incoming {
    pub body: Body,
    /// Where the client says it goes.
    pub place: Option<RangeInclusive<u64>>,
    /// `Content-Length`, unless chunked.
    pub length: Option<u64>,
}

/// Opens a session (PUSH-POST-1).
pub fn begin(
    ctx: &Arc<Context>,
    access: &Access,
    repository: &RepositoryName,
    algorithm: Algorithm,
) -> Result<Arc<Session>, RegistryError> {
    let session = fresh(ctx, access, repository, algorithm);
    ctx.sessions.insert(&session)?;
    ctx.metrics.uploads_started.inc();
    remember_soon(ctx, &session);
    Ok(session)
}

/// Writes the session's row if it lives for longer than a moment.
fn remember_soon(ctx: &Arc<Context>, session: &Arc<Session>) {
    let (ctx, session) = (ctx.clone(), session.clone());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(ROW_AFTER_MS)).await;
        if let Err(error) = remember(&ctx, &session).await {
            tracing::warn!(%error, upload.id = %session.stored.id, "upload session is not on record, a restart would lose it");
        }
    });
}

fn fresh(ctx: &Context, access: &Access, repository: &RepositoryName, algorithm: Algorithm) -> Arc<Session> {
    let id = UploadId::from_random(platform::random::bits128());
    let (key, created_at) = (StorageKey::of_upload(&id), ctx.clock.now());
    let stored = StoredUpload { id, repository: repository.clone(), principal: access.principal(), key, created_at };
    Arc::new(Session::new(stored, algorithm, ctx.sessions.pending(repository)))
}

/// The session `id`, if it is one of this repository and this principal; to everybody else it does not exist.
pub async fn find(ctx: &Arc<Context>, access: &Access, repository: &RepositoryName, id: &UploadId) -> Result<Arc<Session>, RegistryError> {
    let unknown = || RegistryError::UploadUnknown(repository.clone());
    let session = match ctx.sessions.get(id) {
        Some(session) => session,
        None => recall(ctx, id).await?.ok_or_else(unknown)?,
    };
    if session.stored.repository != *repository || session.stored.principal != access.principal() {
        return Err(unknown());
    }
    session.touch(ctx.clock.now());
    Ok(session)
}

/// A session from before the last restart.
async fn recall(ctx: &Arc<Context>, id: &UploadId) -> Result<Option<Arc<Session>>, RegistryError> {
    let Some(stored) = store::get(&mut *ctx.db.read().await?, id).await? else { return Ok(None) };
    let (storage, key) = (ctx.storage.clone(), stored.key.clone());
    let length = blocking(move || storage.len(&key).map_err(io("looking at an upload"))).await?;
    let pending = ctx.sessions.pending(&stored.repository);
    Ok(Some(ctx.sessions.get_or_insert(Session::recalled(stored, length, ctx.clock.now(), pending))))
}

/// A whole small body in memory, with the same patience as an upload.
pub async fn receive_all(body: Body, bytes_max: usize) -> Result<Vec<u8>, RegistryError> {
    receive::all(body, bytes_max).await
}

/// Where the client goes on: the `Location` of a session.
pub fn location(session: &Session) -> String {
    Route::Upload(session.stored.repository.clone(), session.stored.id.clone()).to_string()
}

/// Takes a chunk, or all of a stream (PUSH-CHUNK-3, PUSH-STREAM-1); returns the bytes held then.
pub async fn append(ctx: &Arc<Context>, session: Arc<Session>, incoming: Incoming) -> Result<u64, RegistryError> {
    let ctx = ctx.clone();
    detached(async move {
        let (mut content, taken_over) = session.hold().await?;
        let held = content.held(&session.stored.repository)?;
        let result = match held {
            // Without a place, bytes at an offset may be a replay after a timeout: the client asks where it stands first.
            Some(held) if incoming.place.is_none() && held.length > 0 => Err((incoming.body, out_of_order(&session, held.length))),
            held => write(&ctx, &session, &mut content, held, incoming, &taken_over).await,
        };
        match result {
            Ok(file) => {
                let length = file.length();
                content.put_back(&session, file.into_held());
                remember(&ctx, &session).await?;
                Ok(length)
            }
            Err((rest, error)) => {
                drain(rest).await;
                Err(error)
            }
        }
    })
    .await
}

/// Takes what is left, and makes the whole a blob of the repository (PUSH-CLOSE-1).
pub async fn finish(ctx: &Arc<Context>, session: Arc<Session>, incoming: Incoming, digest: Digest) -> Result<(), RegistryError> {
    let ctx = ctx.clone();
    detached(async move {
        let (mut content, taken_over) = session.hold().await?;
        let held = content.held(&session.stored.repository)?;
        match write(&ctx, &session, &mut content, held, incoming, &taken_over).await {
            Ok(file) => commit::commit(&ctx, &session, &mut content, file, digest).await,
            Err((rest, error)) => {
                drain(rest).await;
                Err(error)
            }
        }
    })
    .await
}

/// A whole blob in one request (PUSH-SINGLE-1). Nothing is left when it fails: no client knows the session.
pub async fn single(
    ctx: &Arc<Context>,
    access: &Access,
    repository: &RepositoryName,
    incoming: Incoming,
    digest: Digest,
) -> Result<(), RegistryError> {
    let session = fresh(ctx, access, repository, digest.algorithm());
    ctx.metrics.uploads_started.inc();
    remember_soon(ctx, &session);
    let result = finish(ctx, session.clone(), incoming, digest).await;
    if result.is_err() {
        cancel(ctx, session).await?;
    }
    result
}

/// Ends a session and removes its bytes (PUSH-CANCEL-1).
pub async fn cancel(ctx: &Arc<Context>, session: Arc<Session>) -> Result<(), RegistryError> {
    let ctx = ctx.clone();
    detached(async move {
        let (mut content, _) = session.hold().await?;
        commit::discard(&ctx, &session, &mut content).await
    })
    .await
}

/// Puts a body at the end of what is held. On failure the session stands as the failure left it, and what was not read of the body
/// comes back.
async fn write(
    ctx: &Arc<Context>,
    session: &Arc<Session>,
    content: &mut Content,
    held: Option<Held>,
    incoming: Incoming,
    taken_over: &tokio_util::sync::CancellationToken,
) -> Result<UploadFile, (Body, RegistryError)> {
    let Incoming { body, place, length } = incoming;
    let mut file = match open(ctx, session, held).await {
        Ok(file) => file,
        Err(error) => return Err((body, error)),
    };
    content.put_back(session, file.held());
    let limit = match limit(ctx, session, file.length(), place.as_ref(), length).await {
        Ok(limit) => limit,
        Err(error) => return Err((body, error)),
    };
    let before = file.held();
    // Until the file comes back its state is not known: whoever finds the session like this reads the file again.
    *content = Content::Unknown;
    let received = receive::receive(ctx, session, file, body, &limit, taken_over).await;
    failpoint::hit("upload-received");
    file = match received.file {
        Ok(file) => file,
        Err(error) => return Err((received.rest, error)),
    };
    let error = match received.ended {
        Ended::Complete if place.is_some_and(|place| place.end() - place.start() + 1 != received.bytes) => {
            Some((true, RegistryError::SizeInvalid(format!("Content-Range does not fit the {} bytes sent", received.bytes))))
        }
        Ended::Complete => None,
        Ended::TooLarge => Some((true, RegistryError::TooLarge(ctx.config.blob_bytes_max))),
        Ended::OverQuota => limit.room.map(|room| (true, room.refusal())),
        Ended::Broken => Some((false, RegistryError::UploadInvalid("the connection broke; what came is kept".into()))),
        Ended::TakenOver => Some((false, RegistryError::UploadInvalid("a newer request took this upload over".into()))),
        Ended::Stalled => Some((false, RegistryError::Stalled("nothing came for too long; what came before is kept".into()))),
    };
    let Some((back, error)) = error else { return Ok(file) };
    if back {
        file = rewind(file, before).await.map_err(|error| (Body::empty(), error))?;
    }
    content.put_back(session, file.into_held());
    if let Err(error) = remember(ctx, session).await {
        tracing::warn!(%error, upload.id = %session.stored.id, "upload session is not on record");
    }
    Err((received.rest, error))
}

/// What the body may have, after its place and length were found to fit.
async fn limit(
    ctx: &Context,
    session: &Session,
    held: u64,
    place: Option<&RangeInclusive<u64>>,
    length: Option<u64>,
) -> Result<Limit, RegistryError> {
    if let Some(place) = place {
        if *place.start() != held {
            return Err(out_of_order(session, held));
        }
        let bytes = place.end() - place.start() + 1;
        if length.is_some_and(|length| length != bytes) {
            return Err(RegistryError::SizeInvalid(format!("Content-Range names {bytes} bytes, Content-Length does not")));
        }
    }
    let bytes = ctx.config.blob_bytes_max.saturating_sub(held);
    if length.is_some_and(|length| length > bytes) {
        return Err(RegistryError::TooLarge(ctx.config.blob_bytes_max));
    }
    if let Some(length) = length.filter(|length| *length >= ROOM_BYTES_MIN) {
        let storage = ctx.storage.clone();
        blocking(move || storage.require_room(length).map_err(io("making room for an upload"))).await?;
    }
    let room = if length == Some(0) { None } else { Room::of(ctx, &session.stored.repository, session.pending()).await? };
    match room {
        Some(room) if length.is_some_and(|length| !room.has(length)) => Err(room.refusal()),
        room => Ok(Limit { bytes, room }),
    }
}

fn out_of_order(session: &Session, held: u64) -> RegistryError {
    RegistryError::OutOfOrder { location: location(session), held }
}

async fn open(ctx: &Context, session: &Session, held: Option<Held>) -> Result<UploadFile, RegistryError> {
    let (storage, key, algorithm, known) = (ctx.storage.clone(), session.stored.key.clone(), session.algorithm, session.is_known());
    let file = blocking(move || {
        let file = if known { storage.append(&key) } else { storage.begin(&key) };
        file.and_then(|file| UploadFile::open(file, held, algorithm)).map_err(io("opening an upload"))
    })
    .await?;
    failpoint::hit("upload-made");
    if !known {
        session.mark();
    }
    Ok(file)
}

async fn rewind(mut file: UploadFile, to: Held) -> Result<UploadFile, RegistryError> {
    blocking(move || file.rewind(to).map(|()| file).map_err(io("taking a chunk back"))).await
}

/// Writes the session's row, so that a restarted server knows it.
async fn remember(ctx: &Context, session: &Session) -> Result<(), RegistryError> {
    let Some(_turn) = session.claim_row().await else { return Ok(()) };
    let stored = session.stored.clone();
    ctx.db
        .write(move |tx| {
            let stored = stored.clone();
            Box::pin(async move { store::insert(tx, &stored).await })
        })
        .await
        .inspect_err(|_| session.unclaim_row())?;
    failpoint::hit("upload-recorded");
    session.known();
    unmark(ctx, session);
    Ok(())
}

/// After a row was written that names the file.
fn unmark(ctx: &Context, session: &Session) {
    if session.take_mark() {
        ctx.marks.take_away(&ctx.storage, session.stored.key.clone());
    }
}

/// Runs blocking work on a thread for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static) -> Result<T, RegistryError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(RegistryError::Internal("file work did not end".into())))
}

/// Runs to its end whether or not the caller waits.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T, RegistryError>> + Send + 'static) -> Result<T, RegistryError> {
    tokio::spawn(work).await.unwrap_or_else(|_| Err(RegistryError::Internal("an upload request did not end".into())))
}
