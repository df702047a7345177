//! Blobs: served as linked in one repository, streamed from disk; mounted from another repository; unlinked.
//!
//! Reading never creates a link. A blob that is not linked in *this* repository does not exist here, whoever else has it.

pub mod buffers;
mod stream;

use crate::audit;
use crate::auth::Access;
use crate::context::Context;
use crate::error::{self, RegistryError};
use crate::manifest::CONTENT_DIGEST;
use crate::quota;
use crate::range::{self, Wanted};
use crate::settings;
use crate::storage::StorageKey;
use crate::store::{Sight, blobs, repositories};
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use identity::audit::Content;
use model::access::Role;
use model::{Digest, RepositoryName, Timestamp};
use platform::db::Tx;
use platform::events;
use serde_json::json;
use std::sync::Arc;

/// How often the grace time of an unused blob may begin anew within one, for those who ask whether it is there.
const TOUCHES_PER_GRACE: u32 = 4;
/// Repositories looked at for a mount without `from`.
const MOUNT_SOURCES_MAX: i64 = 1000;

/// A blob ready to be sent, as one repository links it.
pub struct Served {
    pub size: u64,
    pub key: StorageKey,
    /// Whether everybody may pull it.
    public: bool,
    /// For the audit.
    pub content: Arc<Content>,
    /// See [`blobs::Linked`].
    unused_since: Option<Timestamp>,
    headers: HeaderMap,
}

impl Served {
    fn new(repository: &RepositoryName, digest: &Digest, linked: blobs::Linked) -> Self {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        error::insert(&mut headers, CONTENT_DIGEST, digest.as_str());
        error::insert(&mut headers, header::ETAG, &format!("\"{digest}\""));
        let content = audit::blob(repository, digest);
        Self { size: linked.size, key: linked.key, public: linked.public, content, unused_since: linked.unused_since, headers }
    }
}

/// The blob as `repository` links it, from memory where that is current and may be shown.
pub async fn get(ctx: &Context, repository: &RepositoryName, digest: &Digest, sight: Sight) -> Result<Arc<Served>, RegistryError> {
    let path = path(repository, digest);
    if let Some(served) = ctx.cached_blob(repository.as_str(), &path).filter(|served| sight == Sight::Granted || served.public) {
        return Ok(served);
    }
    let ticket = ctx.blobs.ticket(repository.as_str());
    let linked = {
        let mut connection = ctx.db.read().await?;
        blobs::linked(&mut connection, repository, digest, sight).await?
    };
    let linked = linked.ok_or_else(|| RegistryError::BlobUnknown { repository: repository.clone(), digest: digest.to_string() })?;
    let served = Arc::new(Served::new(repository, digest, linked));
    if ctx.exclusive {
        ctx.blobs.put(repository.as_str(), path, &served, 512, ticket);
    }
    Ok(served)
}

/// The blob, for a caller who asks whether it is there. Who may push counts on the answer: a blob that no manifest names has its
/// grace time begun anew, in good time.
pub async fn look(
    ctx: &Arc<Context>,
    access: &Access,
    repository: &RepositoryName,
    digest: &Digest,
    sight: Sight,
) -> Result<Arc<Served>, RegistryError> {
    let served = get(ctx, repository, digest, sight).await?;
    let now = ctx.clock.now();
    let is_old = served.unused_since.is_some_and(|since| since < now.minus(ctx.config.gc.grace / TOUCHES_PER_GRACE));
    if !is_old || !access.allows(Role::Push, repository) {
        return Ok(served);
    }
    let (ctx, repository, digest) = (ctx.clone(), repository.clone(), digest.clone());
    let task = tokio::spawn(async move {
        let target = (repository.clone(), digest.clone());
        let found = ctx
            .db
            .write(move |tx| {
                let (repository, digest) = target.clone();
                Box::pin(async move { blobs::keep(tx, now, &repository, &digest).await })
            })
            .await?;
        forget(&ctx, &repository, &digest);
        if found { Ok(served) } else { Err(RegistryError::BlobUnknown { repository, digest: digest.to_string() }) }
    });
    task.await.map_err(|_| RegistryError::Internal("a look at a blob did not end".into()))?
}

/// Sends a blob as [`send`] does. Where its file went away after the look, because it was deleted or moved, it is looked up again.
pub async fn answer(
    ctx: &Context,
    served: &Served,
    repository: &RepositoryName,
    digest: &Digest,
    sight: Sight,
    method: &Method,
    asked: &HeaderMap,
) -> Result<Response, RegistryError> {
    match send(ctx, served, method, asked).await {
        Err(RegistryError::Io { source, doing }) if source.kind() == std::io::ErrorKind::NotFound => {
            forget(ctx, repository, digest);
            let again = get(ctx, repository, digest, sight).await?;
            if again.key == served.key { Err(RegistryError::Io { source, doing }) } else { send(ctx, &again, method, asked).await }
        }
        other => other,
    }
}

/// Sends a blob, or the part of it that is asked for (PULL-5..7).
async fn send(ctx: &Context, served: &Served, method: &Method, asked: &HeaderMap) -> Result<Response, RegistryError> {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = served.headers.clone();
    if is_fresh(asked, &served.headers) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(served.size));
        return Ok(response);
    }
    let range = if *method == Method::GET { part_asked(asked, served)? } else { None };
    let (first, length) = range.as_ref().map_or((0, served.size), |range| (*range.start(), range.end() - range.start() + 1));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(range) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let place = format!("bytes {}-{}/{}", range.start(), range.end(), served.size);
        error::insert(response.headers_mut(), header::CONTENT_RANGE, &place);
    }
    if *method == Method::GET {
        *response.body_mut() = stream::open(ctx, &served.key, first, length).await?;
        ctx.metrics.blobs_served.inc();
        ctx.metrics.blob_bytes_served.inc_by(length);
    }
    Ok(response)
}

fn part_asked(asked: &HeaderMap, served: &Served) -> Result<Option<std::ops::RangeInclusive<u64>>, RegistryError> {
    // RFC 9110 §13.1.5: a range holds only for the content the client has seen.
    if asked.get(header::IF_RANGE).is_some_and(|tag| served.headers.get(header::ETAG) != Some(tag)) {
        return Ok(None);
    }
    let header = asked.get(header::RANGE).and_then(|value| value.to_str().ok());
    match range::wanted(header, served.size) {
        Wanted::Everything => Ok(None),
        Wanted::Part(range) => Ok(Some(range)),
        Wanted::Unsatisfiable => Err(RegistryError::RangeUnsatisfiable { size: served.size }),
    }
}

/// Whether the client says it has this content already (`If-None-Match`, weak comparison).
pub fn is_fresh(asked: &HeaderMap, headers: &HeaderMap) -> bool {
    let Some(given) = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()) else { return false };
    let Some(own) = headers.get(header::ETAG).and_then(|value| value.to_str().ok()) else { return false };
    given.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == own)
}

/// Links a blob of another repository here (PUSH-MOUNT-1, -2). False when it is not there or the caller may not pull it: the two
/// look the same, take the same queries, and the client then uploads.
///
/// The grants say what may be mounted, not the scope of a registry token: a client that pushes asks for a token of the repository it
/// pushes to, and of a mount without a source nobody could tell it another.
pub async fn mount(
    ctx: &Arc<Context>,
    access: &Access,
    target: &RepositoryName,
    digest: &Digest,
    from: Option<&RepositoryName>,
) -> Result<bool, RegistryError> {
    let source = if let Some(source) = from {
        let linked = blobs::linked(&mut *ctx.db.read().await?, source, digest, access.sight(source)).await?;
        linked.map(|_| source.clone())
    } else {
        let candidates = blobs::repositories_with(&mut *ctx.db.read().await?, digest, "", MOUNT_SOURCES_MAX).await?;
        candidates.into_iter().find(|source| access.holds(Role::Pull, source))
    };
    let Some(source) = source else { return Ok(false) };
    let sight = access.sight(&source);
    let (now, target, digest, principal) = (ctx.clock.now(), target.clone(), digest.clone(), access.principal());
    let mounted = ctx
        .db
        .write(move |tx| {
            let (source, target, digest, principal) = (source.clone(), target.clone(), digest.clone(), principal.clone());
            Box::pin(async move {
                // Looked at again where it counts: the source may have let go of it meanwhile.
                let Some(linked) = blobs::linked(tx, &source, &digest, sight).await? else { return Ok::<_, RegistryError>(false) };
                let repository = repositories::ensure(tx, now, &target, &principal).await?;
                quota::require_for_blob(tx, &target, &repository, &digest, linked.size).await?;
                blobs::touch(tx, now, &digest).await?;
                blobs::link(tx, now, repository.id, &digest).await?;
                Ok(true)
            })
        })
        .await?;
    if mounted {
        ctx.metrics.blobs_pushed.inc();
    }
    Ok(mounted)
}

/// Takes a blob out of a repository (DEL-4); other repositories keep it, and its bytes stay for the garbage collector.
pub async fn delete(ctx: &Arc<Context>, by: &Access, repository: &RepositoryName, digest: &Digest) -> Result<(), RegistryError> {
    let event = by.event("blob.deleted", repository, format!("blob {digest} deleted"), &json!({ "digest": digest }));
    let (ctx, repository, digest) = (ctx.clone(), repository.clone(), digest.clone());
    let task = tokio::spawn(async move {
        let (target, now) = ((repository.clone(), digest.clone()), ctx.clock.now());
        let found = ctx
            .db
            .write(move |tx| {
                let ((repository, digest), event) = (target.clone(), event.clone());
                Box::pin(async move {
                    let found = unlink(tx, now, &repository, &digest).await?;
                    if found {
                        events::append(tx, now, event).await?;
                    }
                    Ok::<_, RegistryError>(found)
                })
            })
            .await?;
        forget(&ctx, &repository, &digest);
        if found { Ok(()) } else { Err(RegistryError::BlobUnknown { repository, digest: digest.to_string() }) }
    });
    task.await.map_err(|_| RegistryError::Internal("a blob delete did not end".into()))?
}

async fn unlink(tx: &mut Tx, now: Timestamp, repository: &RepositoryName, digest: &Digest) -> Result<bool, RegistryError> {
    let Some(standing) = repositories::standing(tx, repository).await? else { return Ok(false) };
    settings::require_spare(tx, repository, standing.id, &standing.settings, digest).await?;
    Ok(blobs::unlink(tx, now, standing.id, digest).await?)
}

/// After the commit that changed how a repository links a blob.
pub fn forget(ctx: &Context, repository: &RepositoryName, digest: &Digest) {
    ctx.blobs.forget_path(repository, &path(repository, digest));
}

/// The key of a blob in the cache: its path below `/v2/`.
fn path(repository: &RepositoryName, digest: &Digest) -> String {
    format!("{repository}/blobs/{digest}")
}
