//! Manifests: reading them (hot, from memory), pushing them (pure validation, then one transaction) and deleting them.
//!
//! A push is the moment where everything comes together: references checked, manifest, edges, tags and push events are written in
//! one transaction, so that the order of events is the order in which tags moved.

pub mod validate;

use crate::audit;
use crate::auth::Access;
use crate::context::Context;
use crate::error::{MISSING_NAMED_MAX, RegistryError};
use crate::hash;
use crate::quota;
use crate::settings;
use crate::store::blobs::Link;
use crate::store::manifests::{Named, NewManifest, Since, Stored};
use crate::store::repositories::Standing;
use crate::store::{Sight, blobs, collected, manifests, repositories, tags};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use identity::audit::Content;
use model::access::{Resource, Role};
use model::name::Algorithm;
use model::repository::{Sparse, TagRefusal};
use model::{Digest, Reference, RepositoryName, Tag, Timestamp};
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};
use platform::exchange::{self, Pusher};
use platform::failpoint;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use validate::{Kind, Manifest, Reference as Edge};

/// `Docker-Content-Digest`
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest ready to be sent: its headers are made once.
pub struct Served {
    pub resource: Resource,
    pub digest: Digest,
    /// Whether everybody may pull it.
    pub public: bool,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For the audit.
    pub content: Arc<Content>,
}

/// What must hold of a tag for it to be moved (`If-Match`, `If-None-Match: *`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    None,
    Absent,
    Is(Digest),
}

/// A push, checked as far as that goes without looking anything up.
#[derive(Debug, Clone)]
pub struct Push {
    pub repository: RepositoryName,
    pub pusher: Pusher,
    /// Whether who pushes holds `maintain` too, which some repositories want for moving a tag.
    pub maintains: bool,
    pub tags: Vec<Tag>,
    pub condition: Condition,
    pub manifest: Arc<NewManifest>,
    unsupported: Vec<String>,
}

impl Served {
    fn new(repository: &RepositoryName, reference: &Reference, stored: Stored) -> Self {
        let content = audit::manifest(repository, reference, &stored.digest);
        let mut headers = HeaderMap::with_capacity(6);
        let text = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        headers.insert(header::CONTENT_TYPE, text(&stored.media_type));
        headers.insert(CONTENT_DIGEST, text(stored.digest.as_str()));
        headers.insert(header::ETAG, text(&format!("\"{}\"", stored.digest)));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(stored.body.len()));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let (resource, body) = (Resource::repository(repository.as_str()), Bytes::from(stored.body));
        Self { resource, digest: stored.digest, public: stored.public, headers, body, content }
    }
}

/// The manifest that `reference` names, from memory where that is current and may be shown.
pub async fn get(ctx: &Context, repository: &RepositoryName, reference: &Reference, sight: Sight) -> Result<Arc<Served>, RegistryError> {
    let path = path(repository, reference);
    if let Some(served) = ctx.cached_manifest(repository.as_str(), &path).filter(|served| sight == Sight::Granted || served.public) {
        return Ok(served);
    }
    let ticket = ctx.manifests.ticket(repository.as_str());
    let found = {
        let mut connection = ctx.db.read().await?;
        match reference {
            Reference::Tag(tag) => manifests::by_tag(&mut connection, repository, tag, sight).await?,
            Reference::Digest(digest) => manifests::by_digest(&mut connection, repository, digest, sight).await?,
        }
    };
    let stored =
        found.ok_or_else(|| RegistryError::ManifestUnknown { repository: repository.clone(), reference: reference.to_string() })?;
    let served = Arc::new(Served::new(repository, reference, stored));
    if ctx.exclusive {
        ctx.manifests.put(repository.as_str(), path, &served, served.body.len(), ticket);
    }
    Ok(served)
}

/// The digest that `reference` names, or none.
pub async fn resolve(ctx: &Context, repository: &RepositoryName, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
    match get(ctx, repository, reference, Sight::Granted).await {
        Ok(served) => Ok(Some(served.digest.clone())),
        Err(RegistryError::ManifestUnknown { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Judges a push: the document itself, and its digest against the one in the path.
pub fn check(
    repository: &RepositoryName,
    access: &Access,
    reference: &Reference,
    content_type: Option<&str>,
    body: Vec<u8>,
) -> Result<Push, RegistryError> {
    let Manifest { media_type, artifact_type, subject, annotations, references, unsupported } =
        validate::validate(content_type, &body).map_err(|e| RegistryError::ManifestInvalid(e.to_string()))?;
    let algorithm = match reference {
        Reference::Digest(digest) => digest.algorithm(),
        Reference::Tag(_) => Algorithm::Sha256,
    };
    let digest = hash::digest(algorithm, &body);
    let tags = match reference {
        Reference::Digest(expected) if *expected != digest => {
            return Err(RegistryError::DigestMismatch { expected: expected.clone(), actual: digest });
        }
        Reference::Digest(_) => Vec::new(),
        Reference::Tag(tag) => vec![tag.clone()],
    };
    let media_type = media_type.as_str();
    let manifest = NewManifest { digest, media_type, artifact_type, subject, annotations, body, references };
    Ok(Push {
        repository: repository.clone(),
        pusher: access.pusher(),
        maintains: access.holds(Role::Maintain, repository),
        tags,
        condition: Condition::None,
        manifest: Arc::new(manifest),
        unsupported,
    })
}

/// Stores a push and moves its tags. Runs to its end even if the client goes away, so that memory never lags behind the database.
pub async fn put(ctx: &Arc<Context>, push: Push) -> Result<(), RegistryError> {
    let ctx = ctx.clone();
    let task = tokio::spawn(async move {
        let (now, usual) = (ctx.clock.now(), ctx.config.sparse);
        let writing = push.clone();
        ctx.db
            .write(move |tx| {
                let push = writing.clone();
                Box::pin(async move { store(tx, now, &push, usual).await })
            })
            .await?;
        failpoint::hit("manifest-committed");
        if !push.tags.is_empty() {
            ctx.config.pushed.wake();
        }
        let by_digest = Reference::Digest(push.manifest.digest.clone());
        for reference in push.tags.into_iter().map(Reference::Tag).chain([by_digest]) {
            ctx.manifests.forget_path(&push.repository, &path(&push.repository, &reference));
        }
        ctx.metrics.manifests_pushed.inc();
        Ok(())
    });
    task.await.map_err(|_| RegistryError::Internal("a manifest push did not end".into()))?
}

async fn store(tx: &mut Tx, now: Timestamp, push: &Push, usual: Sparse) -> Result<(), RegistryError> {
    let repository = repositories::ensure(tx, now, &push.repository, &push.pusher.principal).await?;
    let needed = needed(tx, repository.id, push, repository.settings.sparse.unwrap_or(usual)).await?;
    if !needed.missing.is_empty() {
        return Err(RegistryError::ReferencesMissing(needed.missing));
    }
    let mut before = Vec::with_capacity(push.tags.len());
    for tag in &push.tags {
        let standing = tags::get(tx, repository.id, tag).await?;
        may_set(&repository, push, tag, standing.as_ref())?;
        before.extend(standing.filter(|standing| *standing != push.manifest.digest));
    }
    if repository.settings.quota_bytes.is_some() && !manifests::exists(tx, repository.id, push.manifest.digest.as_str()).await? {
        quota::require(tx, &push.repository, &repository, push.manifest.body.len() as u64).await?;
    }
    let named = if push.tags.is_empty() { Named::ByDigest } else { Named::ByTag };
    manifests::insert(tx, now, repository.id, &push.manifest, named).await?;
    needed.keep(tx, repository.id, &push.manifest.digest).await?;
    for tag in &push.tags {
        tags::set(tx, now, repository.id, tag, &push.manifest.digest).await?;
        exchange::record_push(tx, now, &push.repository, tag, &push.manifest.digest, &push.pusher).await?;
    }
    for digest in &before {
        manifests::untag(tx, now, repository.id, digest).await?;
    }
    failpoint::hit("manifest-stored");
    Ok(())
}

/// Whether the client's condition and the repository's settings let the push set `tag`, which points to `standing`.
fn may_set(repository: &Standing, push: &Push, tag: &Tag, standing: Option<&Digest>) -> Result<(), RegistryError> {
    let holds = match &push.condition {
        Condition::None => true,
        Condition::Absent => standing.is_none(),
        Condition::Is(digest) => standing == Some(digest),
    };
    if !holds {
        return Err(RegistryError::PreconditionFailed);
    }
    repository.settings.may_set(tag, standing, &push.manifest.digest, push.maintains).map_err(|refusal| {
        let (repository, tag, digest) = (push.repository.clone(), tag.clone(), push.manifest.digest.clone());
        match refusal {
            TagRefusal::Immutable => RegistryError::TagImmutable { repository, tag, digest },
            TagRefusal::NeedsMaintain => {
                RegistryError::TagNeedsMaintain { principal: push.pusher.principal.clone(), repository, tag, digest }
            }
        }
    })
}

/// How what a push needs stands in its repository.
#[derive(Debug, Default)]
struct Needed {
    /// What is not there and has to be, as much as an answer names.
    missing: Vec<String>,
    /// Whether the garbage collector has an eye on any of the blobs, and of the manifests; of an incomplete manifest: whether it may.
    unused_blobs: bool,
    manifests: bool,
}

impl Needed {
    /// Takes what the manifest names out of the garbage collector's sight; called with its edges in place.
    async fn keep(&self, tx: &mut Tx, repository_id: i64, manifest: &Digest) -> Result<(), DbError> {
        if self.unused_blobs {
            blobs::use_by(tx, repository_id, manifest).await?;
        }
        if self.manifests {
            manifests::adopt(tx, repository_id, manifest).await?;
        }
        Ok(())
    }
}

/// Looks at the references of a push. The subject need not exist (PUSH-MAN-5).
async fn needed(tx: &mut Tx, repository_id: i64, push: &Push, sparse: Sparse) -> Result<Needed, DbError> {
    let required: Vec<&Edge> = push.manifest.references.iter().filter(|reference| reference.required).collect();
    if push.unsupported.is_empty() && required.iter().all(|reference| reference.kind == Kind::Blob) {
        let digests: BTreeSet<&str> = required.iter().map(|reference| reference.digest.as_str()).collect();
        let digests: Vec<&str> = digests.into_iter().collect();
        let (linked, unused) = blobs::links_among(tx, repository_id, &digests).await?;
        if linked == digests.len() {
            return Ok(Needed { unused_blobs: unused > 0, ..Needed::default() });
        }
    }
    match sparse {
        Sparse::Refuse => needed_one_by_one(tx, repository_id, push, &required).await,
        Sparse::Accept => Ok(Needed { missing: counted_on(tx, repository_id, &required).await?, unused_blobs: true, manifests: true }),
    }
}

/// What the garbage collector took and nobody brought back: who pushes a manifest over it had been told that it was there.
async fn counted_on(tx: &mut Tx, repository_id: i64, required: &[&Edge]) -> Result<Vec<String>, DbError> {
    let digests: Vec<&str> = required.iter().map(|reference| reference.digest.as_str()).collect();
    let mut missing = Vec::new();
    for digest in collected::among(tx, repository_id, &digests).await? {
        if missing.len() >= MISSING_NAMED_MAX {
            break;
        }
        if blobs::link_of(tx, repository_id, &digest).await?.is_none() && !manifests::exists(tx, repository_id, &digest).await? {
            missing.push(digest);
        }
    }
    Ok(missing)
}

/// The same, for what names manifests, and to say what is missing.
async fn needed_one_by_one(tx: &mut Tx, repository_id: i64, push: &Push, required: &[&Edge]) -> Result<Needed, DbError> {
    let missing = push.unsupported.iter().take(MISSING_NAMED_MAX).cloned().collect();
    let mut needed = Needed { missing, ..Needed::default() };
    for reference in required {
        if needed.missing.len() >= MISSING_NAMED_MAX {
            break;
        }
        let digest = reference.digest.as_str();
        let link = if reference.kind == Kind::Blob { blobs::link_of(tx, repository_id, digest).await? } else { None };
        needed.unused_blobs |= link == Some(Link::Unused);
        if link.is_some() {
            continue;
        }
        // An entry of an index may name a manifest by another media type.
        if manifests::exists(tx, repository_id, digest).await? {
            needed.manifests = true;
        } else {
            needed.missing.push(reference.digest.to_string());
        }
    }
    Ok(needed)
}

/// Deletes a tag, or a manifest with every tag on it (DEL-2, DEL-3).
pub async fn delete(ctx: &Arc<Context>, by: &Access, repository: &RepositoryName, reference: &Reference) -> Result<(), RegistryError> {
    let event = deleted(by, repository, reference);
    let (ctx, repository, reference) = (ctx.clone(), repository.clone(), reference.clone());
    let task = tokio::spawn(async move {
        let (target, now) = ((repository.clone(), reference.clone()), ctx.clock.now());
        let found = ctx
            .db
            .write(move |tx| {
                let ((repository, reference), event) = (target.clone(), event.clone());
                Box::pin(async move {
                    let found = remove(tx, now, &repository, &reference).await?;
                    if found {
                        events::append(tx, now, event).await?;
                    }
                    Ok::<_, RegistryError>(found)
                })
            })
            .await?;
        match &reference {
            Reference::Tag(_) => ctx.manifests.forget_path(&repository, &path(&repository, &reference)),
            Reference::Digest(digest) => forget(&ctx, &repository, digest),
        }
        if found { Ok(()) } else { Err(RegistryError::ManifestUnknown { repository, reference: reference.to_string() }) }
    });
    task.await.map_err(|_| RegistryError::Internal("a manifest delete did not end".into()))?
}

fn deleted(by: &Access, repository: &RepositoryName, reference: &Reference) -> NewEvent {
    match reference {
        Reference::Tag(tag) => by.event("tag.deleted", repository, format!("tag {tag} deleted"), &json!({ "tag": tag })),
        Reference::Digest(digest) => {
            by.event("manifest.deleted", repository, format!("manifest {digest} and its tags deleted"), &json!({ "digest": digest }))
        }
    }
}

async fn remove(tx: &mut Tx, now: Timestamp, repository: &RepositoryName, reference: &Reference) -> Result<bool, RegistryError> {
    let Some(Standing { id, settings }) = repositories::standing(tx, repository).await? else { return Ok(false) };
    match reference {
        Reference::Tag(tag) => {
            if settings.may_delete(tag).is_err()
                && let Some(digest) = tags::get(tx, id, tag).await?
            {
                return Err(RegistryError::TagImmutable { repository: repository.clone(), tag: tag.clone(), digest });
            }
            let digest = tags::delete(tx, id, tag).await?;
            if let Some(digest) = &digest {
                manifests::untag(tx, now, id, digest).await?;
            }
            Ok(digest.is_some())
        }
        Reference::Digest(digest) => {
            settings::require_spare(tx, repository, id, &settings, digest).await?;
            Ok(manifests::delete(tx, Since { blobs: now, manifests: now }, id, digest).await?)
        }
    }
}

/// After the commit that took a manifest away: it is not in memory any more, nor that its blobs are in use.
pub fn forget(ctx: &Context, repository: &RepositoryName, digest: &Digest) {
    ctx.manifests.forget(repository, |_, served| served.digest == *digest);
    ctx.blobs.forget(repository, |_, _| true);
}

/// The key of a manifest in the cache: its path below `/v2/`.
fn path(repository: &RepositoryName, reference: &Reference) -> String {
    format!("{repository}/manifests/{reference}")
}
