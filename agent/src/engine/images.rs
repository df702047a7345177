//! Which name Docker knows an image by, and pulling it.
//!
//! An image of the registry is pulled through the relay by digest, under a login that lives as long as the pull. What is there by
//! digest already is not pulled. A foreign image named by tag is asked for again at most once a minute, and used as it is on this host
//! when it cannot be pulled, so that hosts without internet run what was built on them.

use super::Engine;
use crate::config::PULLS_AT_ONCE;
use crate::failure::{FailureKind, LaunchFailure, pull_problem, pull_text};
use crate::random;
use crate::runtime::{Meter, PullCredential, Runtime, RuntimeError};
use model::ImageReference;
use model::ids::TaskId;
use model::name::Digest;
use model::task::ResolvedImage;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Attempts for a registry that cannot be reached, with a growing pause between them.
const PULL_ATTEMPTS: u32 = 3;
const PULL_RETRY: Duration = Duration::from_secs(1);
/// A tag that was just pulled is not asked for again so soon.
const FRESH: Duration = Duration::from_mins(1);
/// How long the copy on this host is used without asking, after its registry could not be reached.
const OFFLINE: Duration = Duration::from_mins(5);
/// Longest wait for a registry when there is a copy on this host.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(20);
/// Most image names remembered for the two rules above.
const REMEMBERED_MAX: usize = 1000;

/// Logins of the pulls under way, shared with the relay.
#[derive(Default)]
pub struct RelayAccess {
    port: u16,
    logins: Mutex<HashMap<String, Login>>,
}

/// What one login opens: one repository.
#[derive(Clone, PartialEq, Eq)]
struct Login {
    password: String,
    repository: String,
}

/// A login that ends when this is dropped.
pub(super) struct Grant {
    access: Arc<RelayAccess>,
    pub credential: PullCredential,
}

impl RelayAccess {
    pub fn new(port: u16) -> Arc<Self> {
        Arc::new(Self { port, logins: Mutex::default() })
    }

    /// The repository that a login opens, if there is such a login.
    pub fn repository_of(&self, username: &str, password: &str) -> Option<String> {
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let login = logins.get(username)?;
        // 256 random bits for a few seconds on loopback: the time a comparison takes gives nothing away that helps.
        (login.password == password).then(|| login.repository.clone())
    }

    fn grant(self: &Arc<Self>, repository: &str) -> Grant {
        let (username, password) = (random::secret(), random::secret());
        let login = Login { password: password.clone(), repository: repository.to_owned() };
        self.logins.lock().unwrap_or_else(PoisonError::into_inner).insert(username.clone(), login);
        let credential = PullCredential { username, password, server: format!("127.0.0.1:{}", self.port) };
        Grant { access: Arc::clone(self), credential }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.access.logins.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.credential.username);
    }
}

/// What is remembered between pulls.
pub struct Images {
    relay: Arc<RelayAccess>,
    host: Mutex<Option<String>>,
    pulls: Semaphore,
    /// One pull per name at a time; the others wait and find it there.
    locks: Mutex<HashMap<String, Arc<AsyncMutex<()>>>>,
    /// Until when a tag is not asked for again.
    trusted: Mutex<HashMap<String, Instant>>,
}

/// Names under which Docker may have an image, best first, and how to get it when it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub names: Vec<String>,
    /// What is pulled: the first name.
    pub own: Option<(String, Digest)>,
    /// A tag may have moved since it was pulled.
    pub movable: bool,
    /// As people wrote it.
    pub written: String,
}

impl Images {
    pub fn new(relay: Arc<RelayAccess>) -> Self {
        Self { relay, host: Mutex::default(), pulls: Semaphore::new(PULLS_AT_ONCE), locks: Mutex::default(), trusted: Mutex::default() }
    }

    pub fn set_host(&self, host: &str) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(host.to_owned()).filter(|host| !host.is_empty());
    }

    fn host(&self) -> Option<String> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where an image comes from.
    pub(super) fn source(&self, image: &ResolvedImage) -> Source {
        source(image, self.relay.port, self.host().as_deref())
    }

    fn lock_of(&self, name: &str) -> Arc<AsyncMutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(name.to_owned()).or_default())
    }

    fn is_trusted(&self, name: &str) -> bool {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner).get(name).is_some_and(|until| *until > Instant::now())
    }

    fn trust(&self, name: &str, time: Duration) {
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        trusted.retain(|_, until| *until > now);
        if trusted.len() < REMEMBERED_MAX {
            trusted.insert(name.to_owned(), now + time);
        }
    }
}

fn source(image: &ResolvedImage, relay_port: u16, host: Option<&str>) -> Source {
    let written = image.image.clone();
    if let (Some(repository), Some(digest)) = (&image.repository, &image.digest) {
        // The host's own engine may have it from a push or a pull under its readable name.
        let names = [format!("127.0.0.1:{relay_port}")].into_iter().chain(host.map(str::to_owned));
        let names = names.map(|host| format!("{host}/{repository}@{digest}")).collect();
        return Source { names, own: Some((repository.clone(), digest.clone())), movable: false, written };
    }
    let pinned = written.parse::<ImageReference>().is_ok_and(|reference| reference.digest.is_some());
    Source { names: vec![with_tag(&written)], own: None, movable: !pinned, written }
}

/// Without a tag Docker would pull every tag there is.
fn with_tag(image: &str) -> String {
    match image.parse::<ImageReference>() {
        Ok(reference) if reference.tag.is_none() && reference.digest.is_none() => format!("{image}:latest"),
        _ => image.to_owned(),
    }
}

/// The readable name of a pulled image: `{image_host}/{repository}:{tag}`, or the digest's first digits when no tag was written.
fn readable_name(image: &ResolvedImage, host: &str) -> Option<(String, String)> {
    let (repository, digest) = (image.repository.as_ref()?, image.digest.as_ref()?);
    let tag = image.image.parse::<ImageReference>().ok().and_then(|reference| reference.tag);
    let tag = tag.map_or_else(|| format!("sha256-{}", digest.short()), |tag| tag.to_string());
    Some((format!("{host}/{repository}"), tag))
}

/// An image that a container of a task waits for.
pub(super) struct Wanted<'a> {
    pub task: &'a TaskId,
    pub container: &'a str,
    pub source: &'a Source,
}

/// Why an image is not there.
pub(super) enum ImageError {
    Failed(LaunchFailure),
    Engine(RuntimeError),
    Cancelled,
}

/// Before a container is made of a movable image: asks its registry for news, if that is due.
pub(super) async fn refresh<R: Runtime>(engine: &Engine<R>, wanted: &Wanted<'_>, cancel: &CancellationToken) -> Result<(), ImageError> {
    let name = &wanted.source.names[0];
    let lock = engine.images.lock_of(name);
    let _alone = lock.lock().await;
    if engine.images.is_trusted(name) {
        return Ok(());
    }
    let is_here = engine.runtime.image_exists(name).await.map_err(ImageError::Engine)?;
    if !is_here {
        return fetch(engine, wanted, cancel).await;
    }
    match cancellable(cancel, tokio::time::timeout(REFRESH_TIMEOUT, engine.runtime.pull(name, None, &Meter::default()))).await? {
        Ok(Ok(())) => engine.images.trust(name, FRESH),
        Ok(Err(error)) => {
            tracing::info!(image = name, "using the copy of {name} on this host: {error}");
            engine.images.trust(name, OFFLINE);
        }
        Err(_) => engine.images.trust(name, OFFLINE),
    }
    Ok(())
}

/// Pulls an image that no name leads to, one pull per name at a time.
pub(super) async fn obtain<R: Runtime>(
    engine: &Engine<R>,
    image: &ResolvedImage,
    wanted: &Wanted<'_>,
    cancel: &CancellationToken,
) -> Result<(), ImageError> {
    let name = &wanted.source.names[0];
    let lock = engine.images.lock_of(name);
    let _alone = lock.lock().await;
    // Whoever held the lock before may have pulled it.
    if engine.runtime.image_exists(name).await.map_err(ImageError::Engine)? {
        return Ok(());
    }
    fetch(engine, wanted, cancel).await?;
    tag_readably(engine, image, name).await;
    Ok(())
}

async fn fetch<R: Runtime>(engine: &Engine<R>, wanted: &Wanted<'_>, cancel: &CancellationToken) -> Result<(), ImageError> {
    let (source, container) = (wanted.source, wanted.container);
    let name = &source.names[0];
    engine.note(wanted.task, |record, now| record.pull_started_at.get_or_insert(now).as_micros());
    let meter = engine.progress.begin(wanted.task, container);
    let mut attempt = 1;
    loop {
        let permit = cancellable(cancel, engine.images.pulls.acquire()).await?;
        let grant = source.own.as_ref().map(|(repository, _)| engine.images.relay.grant(repository));
        let credential = grant.as_ref().map(|grant| grant.credential.clone());
        let result = cancellable(cancel, engine.runtime.pull(name, credential, &meter)).await?;
        drop((grant, permit));
        let error = match result {
            Ok(()) => break,
            Err(error @ RuntimeError::Unavailable(_)) => return Err(ImageError::Engine(error)),
            Err(error) => error,
        };
        if !pull_problem(&error).is_transient() || attempt >= PULL_ATTEMPTS {
            let text = pull_text(&error, &source.written, name);
            return Err(ImageError::Failed(LaunchFailure { container: container.to_owned(), kind: FailureKind::CannotPull, text }));
        }
        cancellable(cancel, tokio::time::sleep(random::jitter(PULL_RETRY * 2_u32.pow(attempt)))).await?;
        attempt += 1;
    }
    if source.movable {
        engine.images.trust(name, FRESH);
    }
    engine.failpoint.hit("pulled");
    Ok(())
}

/// Gives a pulled image its readable name, unless that name is taken: it may be what somebody is about to push.
async fn tag_readably<R: Runtime>(engine: &Engine<R>, image: &ResolvedImage, name: &str) {
    let Some((repository, tag)) = engine.images.host().and_then(|host| readable_name(image, &host)) else { return };
    let taken = engine.runtime.image_exists(&format!("{repository}:{tag}")).await;
    if matches!(taken, Ok(false))
        && let Err(error) = engine.runtime.tag(name, &repository, &tag).await
    {
        tracing::warn!(image = name, "cannot tag {name} as {repository}:{tag}: {error}");
    }
}

async fn cancellable<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T, ImageError> {
    // Dropping a pull is safe: Docker keeps the layers it has, and the next pull goes on from there.
    tokio::select! {
        () = cancel.cancelled() => Err(ImageError::Cancelled),
        done = work => Ok(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(repository: Option<&str>, written: &str) -> ResolvedImage {
        let digest = repository.map(|_| format!("sha256:{}", "0".repeat(64)).parse().unwrap());
        ResolvedImage { repository: repository.map(str::to_owned), digest, image: written.to_owned() }
    }

    #[test]
    fn own_images_go_through_the_relay_by_digest_and_foreign_ones_as_written() {
        let own = source(&image(Some("acme/web"), "r.io/acme/web:v1"), 4000, Some("r.io"));
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(own.names, [format!("127.0.0.1:4000/acme/web@{digest}"), format!("r.io/acme/web@{digest}")]);
        assert!(!own.movable);
        for (written, name, movable) in [
            ("nginx", "nginx:latest", true),
            ("r.io:5/a/b:v1", "r.io:5/a/b:v1", true),
            (&format!("a@{digest}"), &format!("a@{digest}"), false),
        ] {
            let foreign = source(&image(None, written), 4000, Some("r.io"));
            assert_eq!((foreign.names.as_slice(), foreign.movable), ([name.to_owned()].as_slice(), movable), "{written}");
            assert_eq!(foreign.own, None);
        }
    }

    #[test]
    fn a_pulled_image_is_named_by_its_tag_or_its_digest() {
        let named = |written| readable_name(&image(Some("acme/web"), written), "r.io").unwrap();
        assert_eq!(named("127.0.0.1:5000/acme/web:v1"), ("r.io/acme/web".to_owned(), "v1".to_owned()));
        assert_eq!(named("acme/web").1, "sha256-000000000000");
        assert_eq!(readable_name(&image(None, "nginx"), "r.io"), None);
    }

    #[test]
    fn a_login_opens_one_repository_until_it_is_dropped() {
        let access = RelayAccess::new(1);
        let grant = access.grant("acme/web");
        let PullCredential { username, password, .. } = grant.credential.clone();
        assert_eq!(access.repository_of(&username, &password).as_deref(), Some("acme/web"));
        assert_eq!(access.repository_of(&username, "guess"), None);
        drop(grant);
        assert_eq!(access.repository_of(&username, &password), None);
    }
}
