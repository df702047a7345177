//! What hot reads are answered from: bounded, keyed by the canonical path below `/v2/`, and true by construction.
//!
//! Used only when this process is the only writer (`db.is_exclusive()`). Whoever changes what a path answers calls [`Cache::forget`]
//! after the commit and before acknowledging it. A reader that looked into the database before such a change cannot put its old
//! answer in afterwards: it holds a [`Ticket`], and a ticket from before the change is refused.

use model::RepositoryName;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts with a lock each.
const SHARDS: usize = 16;
/// What an entry costs beside its value, in bytes.
const ENTRY_BYTES: usize = 512;

pub struct Cache<V> {
    shards: Vec<Mutex<Shard<V>>>,
    hasher: RandomState,
    shard_bytes_max: usize,
}

struct Shard<V> {
    entries: HashMap<Box<str>, Entry<V>>,
    bytes: usize,
    changes: u64,
}

struct Entry<V> {
    value: Arc<V>,
    bytes: usize,
    used: AtomicBool,
}

/// When a reader began to look, for [`Cache::put`].
#[derive(Debug, Clone, Copy)]
pub struct Ticket(u64);

impl<V> Cache<V> {
    pub fn new(bytes_max: usize) -> Self {
        let shard = || Mutex::new(Shard { entries: HashMap::new(), bytes: 0, changes: 0 });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: RandomState::new(), shard_bytes_max: bytes_max / SHARDS }
    }

    /// What `path` (`acme/web/manifests/v1`) answers, if that is known. `name` is its repository.
    pub fn get(&self, name: &str, path: &str) -> Option<Arc<V>> {
        let shard = self.shard(name);
        let entry = shard.entries.get(path)?;
        entry.used.store(true, Ordering::Relaxed);
        Some(entry.value.clone())
    }

    /// Taken before the database is read.
    pub fn ticket(&self, name: &str) -> Ticket {
        Ticket(self.shard(name).changes)
    }

    /// Remembers what was read, unless something changed since `ticket`, or it is too large to be worth it.
    pub fn put(&self, name: &str, path: String, value: &Arc<V>, value_bytes: usize, ticket: Ticket) {
        let bytes = value_bytes + path.len() + ENTRY_BYTES;
        if bytes > self.shard_bytes_max / 4 {
            return;
        }
        let mut shard = self.shard(name);
        if shard.changes != ticket.0 {
            return;
        }
        if shard.bytes + bytes > self.shard_bytes_max {
            shard.make_room(self.shard_bytes_max / 2);
        }
        let entry = Entry { value: value.clone(), bytes, used: AtomicBool::new(true) };
        shard.bytes += bytes;
        if let Some(old) = shard.entries.insert(path.into_boxed_str(), entry) {
            shard.bytes -= old.bytes;
        }
    }

    /// Forgets every entry of `repository` that `concerns` holds for (path and value). Called after the commit of a change.
    pub fn forget(&self, repository: &RepositoryName, mut concerns: impl FnMut(&str, &V) -> bool) {
        let mut shard = self.shard(repository.as_str());
        let shard = &mut *shard;
        shard.changes += 1;
        let prefix = repository.as_str();
        let bytes = &mut shard.bytes;
        shard.entries.retain(|path, entry| {
            let gone = is_of(path, prefix) && concerns(path, &entry.value);
            if gone {
                *bytes -= entry.bytes;
            }
            !gone
        });
    }

    /// Forgets one path of `repository`; cheaper than [`Self::forget`].
    pub fn forget_path(&self, repository: &RepositoryName, path: &str) {
        let mut shard = self.shard(repository.as_str());
        shard.changes += 1;
        if let Some(old) = shard.entries.remove(path) {
            shard.bytes -= old.bytes;
        }
    }

    fn shard(&self, name: &str) -> MutexGuard<'_, Shard<V>> {
        let at = usize::try_from(self.hasher.hash_one(name) % SHARDS as u64).unwrap_or(0);
        // Nothing panics while holding the lock; a poisoned one is as good as any.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `path` is `{repository}/{kind}/{reference}`, and not of a repository below it.
fn is_of(path: &str, repository: &str) -> bool {
    let rest = path.strip_prefix(repository).and_then(|rest| rest.strip_prefix('/'));
    rest.and_then(|rest| rest.split_once('/')).is_some_and(|(_, reference)| !reference.contains('/'))
}

impl<V> Shard<V> {
    /// Drops what was not used since the last time; when that is not enough, everything.
    fn make_room(&mut self, bytes_max: usize) {
        self.entries.retain(|_, entry| entry.used.swap(false, Ordering::Relaxed));
        self.bytes = self.entries.values().map(|entry| entry.bytes).sum();
        if self.bytes > bytes_max {
            self.entries.clear();
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn an_answer_read_before_a_change_is_not_remembered() {
        let cache = Cache::new(1 << 20);
        let ticket = cache.ticket("a");
        cache.forget_path(&name("a"), "a/manifests/v1");
        cache.put("a", "a/manifests/v1".into(), &Arc::new(1), 8, ticket);
        assert_eq!(cache.get("a", "a/manifests/v1"), None);
        let ticket = cache.ticket("a");
        cache.put("a", "a/manifests/v1".into(), &Arc::new(2), 8, ticket);
        assert_eq!(cache.get("a", "a/manifests/v1").as_deref(), Some(&2));
    }

    #[test]
    fn only_entries_of_the_repository_are_forgotten() {
        let cache = Cache::new(1 << 20);
        for repository in ["a", "a/b", "ab"] {
            for (path, value) in [("v1", 1), ("v2", 2)] {
                let ticket = cache.ticket(repository);
                cache.put(repository, format!("{repository}/manifests/{path}"), &Arc::new(value), 8, ticket);
            }
        }
        cache.forget(&name("a"), |_, value| *value == 1);
        assert_eq!(cache.get("a", "a/manifests/v1"), None);
        assert!(cache.get("a", "a/manifests/v2").is_some());
        assert!(cache.get("ab", "ab/manifests/v1").is_some());
        assert!(cache.get("a/b", "a/b/manifests/v1").is_some());
    }

    #[test]
    fn a_path_is_of_one_repository() {
        for (path, repository, expected) in [
            ("a/manifests/v1", "a", true),
            ("a/b/manifests/v1", "a", false),
            ("a/b/manifests/v1", "a/b", true),
            ("ab/manifests/v1", "a", false),
            ("a/manifests/manifests/v1", "a", false),
        ] {
            assert_eq!(is_of(path, repository), expected, "{path} of {repository}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let cache = Cache::new(SHARDS * 64 * 1024);
        for at in 0..10_000 {
            let ticket = cache.ticket("a");
            cache.put("a", format!("a/manifests/{at}"), &Arc::new(at), 1000, ticket);
        }
        let shard = cache.shard("a");
        assert!(shard.bytes <= 64 * 1024);
        assert_eq!(shard.bytes, shard.entries.values().map(|entry| entry.bytes).sum::<usize>());
    }
}
