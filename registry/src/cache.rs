//! What hot reads are answered from: bounded, keyed by the canonical path below `/v2/`, and true by construction.
//!
//! Used only when this process is the only writer (`db.is_exclusive()`). Whoever changes what a path answers calls [`Cache::forget`]
//! after the commit and before acknowledging it. A reader that looked into the database before such a change cannot put its old
//! answer in afterwards: it holds a [`Ticket`], and a ticket from before the change is refused.
//!
//! A repository's entries are in one shard, and all shards draw on one budget: one hot repository may have all of it.

use model::RepositoryName;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts with a lock each.
const SHARDS: usize = 16;
/// What an entry costs beside its value, in bytes.
const ENTRY_BYTES: usize = 512;

pub struct Cache<V> {
    shards: Vec<Mutex<Shard<V>>>,
    hasher: RandomState,
    bytes_max: usize,
    /// Of all shards. Changed under the lock of the shard that it is about.
    bytes: AtomicUsize,
    /// Where the next sweep begins.
    hand: AtomicUsize,
}

struct Shard<V> {
    entries: HashMap<Box<str>, Entry<V>>,
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
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard { entries: HashMap::new(), changes: 0 })).collect();
        Self { shards, hasher: RandomState::new(), bytes_max, bytes: AtomicUsize::new(0), hand: AtomicUsize::new(0) }
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
        if bytes > self.bytes_max / 64 {
            return;
        }
        if self.bytes.load(Ordering::Relaxed) + bytes > self.bytes_max {
            self.make_room();
        }
        let mut shard = self.shard(name);
        if shard.changes != ticket.0 {
            return;
        }
        let entry = Entry { value: value.clone(), bytes, used: AtomicBool::new(false) };
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(old) = shard.entries.insert(path.into_boxed_str(), entry) {
            self.bytes.fetch_sub(old.bytes, Ordering::Relaxed);
        }
    }

    /// Forgets every entry of `repository` that `concerns` holds for (path and value). Called after the commit of a change.
    pub fn forget(&self, repository: &RepositoryName, mut concerns: impl FnMut(&str, &V) -> bool) {
        let mut shard = self.shard(repository.as_str());
        shard.changes += 1;
        let prefix = repository.as_str();
        self.retain(&mut shard, |path, entry| !(is_of(path, prefix) && concerns(path, &entry.value)));
    }

    /// Forgets one path of `repository`; cheaper than [`Self::forget`].
    pub fn forget_path(&self, repository: &RepositoryName, path: &str) {
        let mut shard = self.shard(repository.as_str());
        shard.changes += 1;
        if let Some(old) = shard.entries.remove(path) {
            self.bytes.fetch_sub(old.bytes, Ordering::Relaxed);
        }
    }

    /// Goes round the shards and drops what was not used since the last time, until a quarter is free. In the second round nothing
    /// counts as used but what was asked for meanwhile.
    fn make_room(&self) {
        for _ in 0..2 * SHARDS {
            if self.bytes.load(Ordering::Relaxed) <= self.bytes_max / 4 * 3 {
                return;
            }
            let mut shard = self.lock(self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS);
            self.retain(&mut shard, |_, entry| entry.used.swap(false, Ordering::Relaxed));
        }
    }

    fn retain(&self, shard: &mut Shard<V>, mut stays: impl FnMut(&str, &Entry<V>) -> bool) {
        let mut freed = 0;
        shard.entries.retain(|path, entry| {
            let stays = stays(path, entry);
            freed += if stays { 0 } else { entry.bytes };
            stays
        });
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
    }

    fn shard(&self, name: &str) -> MutexGuard<'_, Shard<V>> {
        self.lock(usize::try_from(self.hasher.hash_one(name) % SHARDS as u64).unwrap_or(0))
    }

    fn lock(&self, at: usize) -> MutexGuard<'_, Shard<V>> {
        // Nothing panics while holding the lock; a poisoned one is as good as any.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `path` is `{repository}/{kind}/{reference}`, and not of a repository below it.
fn is_of(path: &str, repository: &str) -> bool {
    let rest = path.strip_prefix(repository).and_then(|rest| rest.strip_prefix('/'));
    rest.and_then(|rest| rest.split_once('/')).is_some_and(|(_, reference)| !reference.contains('/'))
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

    fn fill(cache: &Cache<usize>, repository: &str, count: usize) {
        for at in 0..count {
            let ticket = cache.ticket(repository);
            cache.put(repository, format!("{repository}/manifests/{at}"), &Arc::new(at), 1000, ticket);
        }
    }

    fn held(cache: &Cache<usize>) -> usize {
        (0..SHARDS).map(|at| cache.lock(at).entries.values().map(|entry| entry.bytes).sum::<usize>()).sum()
    }

    #[test]
    fn memory_is_bounded_and_counted() {
        let cache = Cache::new(1 << 20);
        for repository in ["a", "b", "c", "d"] {
            fill(&cache, repository, 3000);
            assert!(held(&cache) <= 1 << 20);
            assert_eq!(held(&cache), cache.bytes.load(Ordering::Relaxed));
        }
        for repository in ["a", "b", "c", "d"] {
            cache.forget(&name(repository), |_, _| true);
        }
        assert_eq!((held(&cache), cache.bytes.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn one_hot_repository_may_have_all_of_it() {
        let cache = Cache::new(1 << 20);
        fill(&cache, "a", 600);
        assert!((0..600).all(|at| cache.get("a", &format!("a/manifests/{at}")).is_some()));
    }

    #[test]
    fn what_is_asked_for_again_and_again_stays() {
        let cache = Cache::new(1 << 20);
        fill(&cache, "hot", 1);
        for at in 0..5000 {
            assert!(cache.get("hot", "hot/manifests/0").is_some(), "gone after {at}");
            let ticket = cache.ticket("cold");
            cache.put("cold", format!("cold/manifests/{at}"), &Arc::new(at), 1000, ticket);
        }
    }
}
