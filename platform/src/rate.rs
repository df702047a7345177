//! How often somebody may ask: a steady rate with room for bursts, one budget per key, in memory.
//!
//! Each key holds one number, the time at which its budget is whole again (GCRA). Keys are spread over shards with a lock each, held
//! for a look-up and nothing else. Who never asks too much costs one such look-up; without a limit nobody makes any of this.

use model::Timestamp;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SHARDS: usize = 16;
/// Keys remembered in one shard; at more, those whose budget is whole are forgotten, then all.
const KEYS_PER_SHARD_MAX: usize = 4096;
/// How many seconds' worth of requests may come at once.
const BURST_SECS: u32 = 2;

/// The budgets of all keys.
#[derive(Debug)]
pub struct Rates<K> {
    shards: Vec<Mutex<HashMap<K, Timestamp>>>,
    hasher: RandomState,
    rate: Rate,
}

/// A steady rate, and how far ahead of it one may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    micros_each: i64,
    micros_ahead_max: i64,
}

impl Rate {
    /// `count` in each `per`, of which `burst` may come at once.
    pub fn new(count: u32, per: Duration, burst: u32) -> Self {
        let per = i64::try_from(per.as_micros()).unwrap_or(i64::MAX);
        let micros_each = (per / i64::from(count.max(1))).max(1);
        Self { micros_each, micros_ahead_max: micros_each.saturating_mul(i64::from(burst.max(1))) }
    }

    pub fn per_second(count: u32) -> Self {
        Self::new(count, Duration::from_secs(1), count.saturating_mul(BURST_SECS))
    }

    /// When the budget is whole again after one more request at `now`, or how long that has to wait. Pure.
    pub fn take(self, whole_at: Timestamp, now: Timestamp) -> Result<Timestamp, Duration> {
        let next = whole_at.0.max(now.0).saturating_add(self.micros_each);
        match next - now.0 - self.micros_ahead_max {
            ahead if ahead > 0 => Err(Duration::from_micros(ahead.unsigned_abs())),
            _ => Ok(Timestamp(next)),
        }
    }
}

impl<K: Hash + Eq + Clone> Rates<K> {
    pub fn new(rate: Rate) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new(), rate }
    }

    /// Takes one request of `key` from its budget, or says how long it has to wait.
    pub fn take(&self, key: &K, now: Timestamp) -> Result<(), Duration> {
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(whole_at) = shard.get_mut(key) {
            *whole_at = self.rate.take(*whole_at, now)?;
            return Ok(());
        }
        if shard.len() >= KEYS_PER_SHARD_MAX {
            shard.retain(|_, whole_at| *whole_at > now);
        }
        if shard.len() >= KEYS_PER_SHARD_MAX {
            shard.clear();
        }
        shard.insert(key.clone(), self.rate.take(now, now)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate_holds() {
        let rates = Rates::new(Rate::per_second(10));
        let at = |millis: i64| Timestamp(1_000_000_000 + millis * 1000);
        let allowed = |key: &str, millis| (0..100).filter(|_| rates.take(&key.to_owned(), at(millis)).is_ok()).count();
        assert_eq!(allowed("a", 0), 20);
        assert_eq!(allowed("b", 0), 20, "another key has its own budget");
        assert_eq!(rates.take(&"a".to_owned(), at(0)), Err(Duration::from_millis(100)));
        assert_eq!(allowed("a", 100), 1);
        assert_eq!(allowed("a", 1100), 10);
        assert_eq!(allowed("a", 60_000), 20);
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let rate = Rate::new(1, Duration::from_secs(1), 1);
        let first = rate.take(Timestamp(0), Timestamp(0)).unwrap();
        for millis in 0..999 {
            assert!(rate.take(first, Timestamp(millis * 1000)).is_err(), "{millis}");
        }
        assert!(rate.take(first, Timestamp(1_000_000)).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let rates = Rates::new(Rate::per_second(1));
        for key in 0..SHARDS * KEYS_PER_SHARD_MAX * 2 {
            rates.take(&key, Timestamp(0)).ok();
        }
        assert!(rates.shards.iter().all(|shard| shard.lock().unwrap().len() <= KEYS_PER_SHARD_MAX));
    }
}
