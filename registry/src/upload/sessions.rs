//! Open upload sessions in memory: who they belong to, how far they are, and which request holds them.

use crate::error::RegistryError;
use crate::hash::Running;
use crate::route::UploadId;
use crate::store::uploads::StoredUpload;
use model::name::Algorithm;
use model::{RepositoryName, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// Sessions open at once, in all and per principal.
const SESSIONS_MAX: usize = 10_000;
const SESSIONS_PER_PRINCIPAL_MAX: usize = 1_000;
/// Counts of repositories without uploads that are kept before they are cleared away.
const PENDING_SPARE: usize = 64;
/// Longest wait for an older request to let go of a session, in seconds.
const TAKE_OVER_SECS_MAX: u64 = 15;

pub struct Session {
    pub stored: StoredUpload,
    /// What the bytes are hashed with while they come.
    pub algorithm: Algorithm,
    length: AtomicU64,
    /// Bytes that the open uploads of its repository hold, this one's among them.
    pending: Arc<AtomicU64>,
    active_at: AtomicI64,
    row: AtomicBool,
    /// Whether a row names its file.
    known: AtomicBool,
    /// Whether its file has a mark, because none did when it was made.
    marked: AtomicBool,
    /// Held while the row is being written.
    row_turn: tokio::sync::Mutex<()>,
    closed: AtomicBool,
    /// Cancelled when a newer request wants the session.
    holder: Mutex<CancellationToken>,
    content: Arc<tokio::sync::Mutex<Content>>,
}

/// What is held of an upload. Its file is open only during a request.
pub enum Content {
    /// So many bytes with this hash; no file yet when there are none.
    Held(Box<Held>),
    /// As much as the file has; to be hashed from it.
    Unknown,
    /// Committed or cancelled.
    Gone,
}

#[derive(Clone)]
pub struct Held {
    pub length: u64,
    pub hash: Running,
}

impl Content {
    /// What is known to be held; none when the file has to be read.
    pub fn held(&self, repository: &RepositoryName) -> Result<Option<Held>, RegistryError> {
        match self {
            Self::Held(held) => Ok(Some(held.as_ref().clone())),
            Self::Unknown => Ok(None),
            Self::Gone => Err(RegistryError::UploadUnknown(repository.clone())),
        }
    }

    pub fn put_back(&mut self, session: &Session, held: Held) {
        session.advance(held.length);
        *self = Self::Held(Box::new(held));
    }
}

impl Session {
    /// A new session. `stored` is what its row will say, `pending` is of [`Sessions::pending`].
    pub fn new(stored: StoredUpload, algorithm: Algorithm, pending: Arc<AtomicU64>) -> Self {
        let content = Content::Held(Box::new(Held { length: 0, hash: Running::new(algorithm) }));
        let now = stored.created_at;
        let mut session = Self::with(stored, content, now, pending);
        session.algorithm = algorithm;
        session
    }

    /// A session of which the database has the row and the disk `length` bytes.
    pub fn recalled(stored: StoredUpload, length: u64, now: Timestamp, pending: Arc<AtomicU64>) -> Self {
        let mut session = Self::with(stored, Content::Unknown, now, pending);
        session.row = AtomicBool::new(true);
        session.known = AtomicBool::new(true);
        session.advance(length);
        session
    }

    fn with(stored: StoredUpload, content: Content, now: Timestamp, pending: Arc<AtomicU64>) -> Self {
        Self {
            stored,
            algorithm: Algorithm::Sha256,
            length: AtomicU64::new(0),
            pending,
            active_at: AtomicI64::new(now.as_micros()),
            row: AtomicBool::new(false),
            known: AtomicBool::new(false),
            marked: AtomicBool::new(false),
            row_turn: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
            holder: Mutex::new(CancellationToken::new()),
            content: Arc::new(tokio::sync::Mutex::new(content)),
        }
    }

    /// Takes the session from whoever holds it. The token says when a newer request wants it in turn.
    pub async fn hold(&self) -> Result<(OwnedMutexGuard<Content>, CancellationToken), RegistryError> {
        let token = CancellationToken::new();
        let older = std::mem::replace(&mut *self.holder.lock().unwrap_or_else(PoisonError::into_inner), token.clone());
        older.cancel();
        let held = tokio::time::timeout(Duration::from_secs(TAKE_OVER_SECS_MAX), self.content.clone().lock_owned()).await;
        held.map(|content| (content, token)).map_err(|_| RegistryError::TooMany("another request is still busy with this upload".into()))
    }

    /// Bytes on disk.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    pub fn advance(&self, length: u64) {
        let before = self.length.swap(length, Ordering::AcqRel);
        // Wraps on the way down, which adds up all the same.
        self.pending.fetch_add(length.wrapping_sub(before), Ordering::AcqRel);
    }

    /// Bytes that the open uploads of its repository hold.
    pub fn pending(&self) -> &Arc<AtomicU64> {
        &self.pending
    }

    pub fn touch(&self, now: Timestamp) {
        self.active_at.store(now.as_micros(), Ordering::Relaxed);
    }

    pub fn active_at(&self) -> Timestamp {
        Timestamp::from_micros(self.active_at.load(Ordering::Relaxed))
    }

    /// For the one who is to write the row, while the guard is held.
    pub async fn claim_row(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let turn = self.row_turn.lock().await;
        (!self.closed.load(Ordering::Acquire) && !self.row.swap(true, Ordering::AcqRel)).then_some(turn)
    }

    pub fn unclaim_row(&self) {
        self.row.store(false, Ordering::Release);
    }

    /// Whether a row names its file, so that a crash does not leave it behind.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// Its row is written.
    pub fn known(&self) {
        self.known.store(true, Ordering::Release);
    }

    /// Its file was made with a mark.
    pub fn mark(&self) {
        self.marked.store(true, Ordering::Release);
    }

    /// Whether its file has a mark, which whoever asks takes away.
    pub fn take_mark(&self) -> bool {
        self.marked.swap(false, Ordering::AcqRel)
    }

    /// From here on no row is written. One that is being written is there when this returns: a row that came after the end of its
    /// session would take the file of a blob with it when it expires.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _written = self.row_turn.lock().await;
    }

    /// The end did not come about.
    pub fn reopen(&self) {
        self.closed.store(false, Ordering::Release);
    }
}

/// What it held is held no more: committed, removed, or forgotten until it is recalled.
impl Drop for Session {
    fn drop(&mut self) {
        self.advance(0);
    }
}

#[derive(Default)]
pub struct Sessions(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_id: HashMap<UploadId, Arc<Session>>,
    by_principal: HashMap<String, usize>,
    pending: HashMap<RepositoryName, Weak<AtomicU64>>,
}

impl Sessions {
    pub fn get(&self, id: &UploadId) -> Option<Arc<Session>> {
        self.lock().by_id.get(id).cloned()
    }

    /// The count of bytes that open uploads of `repository` hold.
    pub fn pending(&self, repository: &RepositoryName) -> Arc<AtomicU64> {
        let mut table = self.lock();
        if let Some(count) = table.pending.get(repository).and_then(Weak::upgrade) {
            return count;
        }
        if table.pending.len() > 2 * table.by_id.len() + PENDING_SPARE {
            table.pending.retain(|_, count| count.strong_count() > 0);
        }
        let count = Arc::default();
        table.pending.insert(repository.clone(), Arc::downgrade(&count));
        count
    }

    /// Adds a new session, unless there are too many.
    pub fn insert(&self, session: &Arc<Session>) -> Result<(), RegistryError> {
        let mut table = self.lock();
        let own = table.by_principal.get(&session.stored.principal).copied().unwrap_or(0);
        if own >= SESSIONS_PER_PRINCIPAL_MAX {
            return Err(RegistryError::TooMany(format!("more than {SESSIONS_PER_PRINCIPAL_MAX} uploads are open: finish or cancel some")));
        }
        if table.by_id.len() >= SESSIONS_MAX {
            return Err(RegistryError::TooMany("too many uploads are open".into()));
        }
        table.add(session.clone());
        Ok(())
    }

    /// Adds a recalled session, or returns the one somebody else recalled first.
    pub fn get_or_insert(&self, session: Session) -> Arc<Session> {
        let mut table = self.lock();
        if let Some(standing) = table.by_id.get(&session.stored.id) {
            return standing.clone();
        }
        let session = Arc::new(session);
        table.add(session.clone());
        session
    }

    pub fn remove(&self, id: &UploadId) {
        let mut table = self.lock();
        let Some(session) = table.by_id.remove(id) else { return };
        if let Some(count) = table.by_principal.get_mut(&session.stored.principal) {
            *count -= 1;
            if *count == 0 {
                table.by_principal.remove(&session.stored.principal);
            }
        }
    }

    /// Sessions nobody has used since `before`, at most `limit`.
    pub fn idle_since(&self, before: Timestamp, limit: usize) -> Vec<Arc<Session>> {
        self.lock().by_id.values().filter(|session| session.active_at() < before).take(limit).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, session: Arc<Session>) {
        *self.by_principal.entry(session.stored.principal.clone()).or_default() += 1;
        self.by_id.insert(session.stored.id.clone(), session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::StorageKey;

    fn session(bits: u128, principal: &str) -> Arc<Session> {
        counted(bits, principal, Arc::default())
    }

    fn counted(bits: u128, principal: &str, pending: Arc<AtomicU64>) -> Arc<Session> {
        let id = UploadId::from_random(bits);
        let key = StorageKey::of_upload(&id);
        let (repository, created_at) = ("a".parse().unwrap(), Timestamp::from_secs(1));
        let stored = StoredUpload { id, repository, principal: principal.into(), key, created_at };
        Arc::new(Session::new(stored, Algorithm::Sha256, pending))
    }

    #[test]
    fn what_open_uploads_hold_is_counted_by_repository() {
        let sessions = Sessions::default();
        let a: RepositoryName = "a".parse().unwrap();
        let (one, two) = (counted(1, "user:a", sessions.pending(&a)), counted(2, "user:a", sessions.pending(&a)));
        one.advance(10);
        two.advance(5);
        one.advance(7);
        assert_eq!(sessions.pending(&a).load(Ordering::Acquire), 12);
        assert_eq!(sessions.pending(&"b".parse().unwrap()).load(Ordering::Acquire), 0);
        drop(one);
        assert_eq!(sessions.pending(&a).load(Ordering::Acquire), 5);
        two.advance(0);
        drop(two);
        for number in 0..1000 {
            sessions.pending(&format!("r{number}").parse().unwrap());
        }
        assert!(sessions.lock().pending.len() <= PENDING_SPARE + 1);
    }

    #[test]
    fn one_principal_cannot_open_all_sessions() {
        let sessions = Sessions::default();
        for bits in 0..SESSIONS_PER_PRINCIPAL_MAX {
            sessions.insert(&session(bits as u128, "user:greedy")).unwrap();
        }
        assert!(matches!(sessions.insert(&session(1 << 64, "user:greedy")), Err(RegistryError::TooMany(_))));
        sessions.insert(&session(1 << 65, "user:other")).unwrap();
        sessions.remove(&UploadId::from_random(0));
        sessions.insert(&session(1 << 64, "user:greedy")).unwrap();
    }

    #[test]
    fn idle_sessions_are_found() {
        let sessions = Sessions::default();
        let (old, new) = (session(1, "user:a"), session(2, "user:a"));
        sessions.insert(&old).unwrap();
        sessions.insert(&new).unwrap();
        new.touch(Timestamp::from_secs(100));
        let idle = sessions.idle_since(Timestamp::from_secs(50), 10);
        assert_eq!((idle.len(), &idle[0].stored.id), (1, &old.stored.id));
    }

    #[tokio::test]
    async fn a_newer_request_asks_the_older_to_let_go() {
        let session = session(1, "user:a");
        let (content, taken_over) = session.hold().await.unwrap();
        let waiting = tokio::spawn({
            let session = session.clone();
            async move { session.hold().await.map(|_| ()) }
        });
        taken_over.cancelled().await;
        drop(content);
        assert!(waiting.await.unwrap().is_ok());
    }
}
