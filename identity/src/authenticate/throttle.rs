//! Wrong passwords make the next attempt on the same name wait, longer each time. A right one clears the count.
//!
//! In memory only: a restart forgives. Nobody is locked out; headers that are already known are not delayed.

use model::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Wrong passwords without a delay.
const FREE_FAILURES: u32 = 3;
const DELAY_FIRST: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(4);
/// After this long without a failure the count is forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(10);
/// Names remembered; at more, the forgotten ones go, then all.
const NAMES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<String, Failures>>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_at: Timestamp,
}

impl Throttle {
    /// How long the next attempt on `name` has to wait.
    pub fn delay(&self, name: &str, now: Timestamp) -> Duration {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(name).filter(|failures| !failures.is_old(now)).map_or(Duration::ZERO, |failures| delay_after(failures.count))
    }

    pub fn failed(&self, name: &str, now: Timestamp) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX {
            names.retain(|_, failures| !failures.is_old(now));
        }
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        let failures = names.entry(name.to_owned()).or_insert(Failures { count: 0, last_at: now });
        let count = if failures.is_old(now) { 1 } else { failures.count.saturating_add(1) };
        *failures = Failures { count, last_at: now };
    }

    pub fn succeeded(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl Failures {
    fn is_old(&self, now: Timestamp) -> bool {
        now.since(self.last_at) > FORGET_AFTER
    }
}

fn delay_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(more) => DELAY_FIRST.saturating_mul(1 << more.min(16)).min(DELAY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_limit_and_end() {
        for (failures, millis) in [(0, 0), (2, 0), (3, 250), (4, 500), (6, 2000), (7, 4000), (1000, 4000)] {
            assert_eq!(delay_after(failures), Duration::from_millis(millis), "{failures}");
        }
        let (throttle, at) = (Throttle::default(), Timestamp::from_secs);
        for _ in 0..4 {
            throttle.failed("alice", at(0));
        }
        assert_eq!(throttle.delay("alice", at(1)), Duration::from_millis(500));
        assert_eq!(throttle.delay("bob", at(1)), Duration::ZERO);
        assert_eq!(throttle.delay("alice", at(601)), Duration::ZERO);
        throttle.succeeded("alice");
        assert_eq!(throttle.delay("alice", at(1)), Duration::ZERO);
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        for name in 0..=NAMES_MAX {
            throttle.failed(&name.to_string(), Timestamp::from_secs(0));
        }
        assert!(throttle.0.lock().unwrap().len() <= NAMES_MAX);
    }
}
