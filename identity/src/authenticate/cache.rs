//! Headers that authenticated, by their hash, as long as identity does not change: what makes Basic on every request cheap.
//!
//! Holds no header and no secret: the hash is over a random key of this process as well. Holds successes only.

use crate::registry_token::RegistryCaller;
use model::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Headers remembered; at more all are forgotten.
const ENTRIES_MAX: usize = 10_000;

pub(crate) type Key = [u8; 32];

pub(crate) struct Cache {
    hash: Sha256,
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    version: i64,
    by_key: HashMap<Key, (Arc<RegistryCaller>, Option<Timestamp>)>,
}

impl Cache {
    pub fn new() -> Self {
        Self { hash: Sha256::new_with_prefix(platform::random::bytes::<32>()), entries: RwLock::default() }
    }

    pub fn key(&self, header: &[u8]) -> Key {
        self.hash.clone().chain_update(header).finalize().into()
    }

    /// The caller, when the header authenticated at this version and has not ended since.
    pub fn get(&self, version: i64, key: &Key, now: Timestamp) -> Option<Arc<RegistryCaller>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        if entries.version != version {
            return None;
        }
        let (caller, ends) = entries.by_key.get(key)?;
        ends.is_none_or(|ends| ends > now).then(|| caller.clone())
    }

    pub fn put(&self, version: i64, key: Key, caller: Arc<RegistryCaller>, ends: Option<Timestamp>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.version > version {
            return;
        }
        if entries.version < version || entries.by_key.len() >= ENTRIES_MAX {
            entries.by_key.clear();
            entries.version = version;
        }
        entries.by_key.insert(key, (caller, ends));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Caller, Credential};

    #[test]
    fn entries_end_with_the_version_and_with_their_time() {
        let cache = Cache::new();
        let caller = Caller::new("user:a".parse().unwrap(), Credential::Password);
        let caller = Arc::new(RegistryCaller::direct(caller));
        let (key, at) = (cache.key(b"Basic x"), Timestamp::from_secs);
        cache.put(1, key, caller.clone(), Some(at(10)));
        assert!(cache.get(1, &key, at(9)).is_some());
        assert!(cache.get(1, &key, at(10)).is_none());
        assert!(cache.get(2, &key, at(9)).is_none());
        assert!(cache.get(1, &cache.key(b"Basic y"), at(9)).is_none());
        cache.put(2, cache.key(b"Basic y"), caller.clone(), None);
        cache.put(1, key, caller, None);
        assert!(cache.get(2, &key, at(9)).is_none(), "an older version's answer is not taken over");
    }
}
