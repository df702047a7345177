//! What makes guessing passwords slow: delays, lock-outs, a budget per address.
//!
//! Wrong passwords make the next attempt on the same name wait, longer each time, wherever it comes from. Ten of them from one address
//! lock that name *for that address* until a quarter of an hour has passed without one: nobody can lock out somebody else from afar. An address
//! has a budget of wrong passwords over all names. A right password clears the counts of its name. In memory only: a restart forgives. Headers that are known to be right
//! and tokens, which cannot be guessed, are neither delayed nor locked.

use model::Timestamp;
use platform::rate::Rate;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Wrong passwords without a delay.
const FREE_FAILURES: u32 = 3;
const DELAY_FIRST: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(4);
/// Wrong passwords of one name from one address that lock it.
const LOCKING_FAILURES: u32 = 10;
/// After this long without a failure the count is forgotten, and a lock ends.
const FORGET_AFTER: Duration = Duration::from_mins(15);
/// Wrong passwords of one address over all names: at once, and after that in each minute.
const ADDRESS_BURST: u32 = 60;
const ADDRESS_PER_MINUTE: u32 = 6;
/// Names, and addresses, remembered; at more, the forgotten ones go, then all.
const KEYS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    names: HashMap<String, Failures>,
    /// By name and address.
    places: HashMap<(String, Option<IpAddr>), Failures>,
    /// When the budget of an address is whole again.
    addresses: HashMap<IpAddr, Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_at: Timestamp,
}

/// What becomes of the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is looked at after this long.
    After(Duration),
    /// It is refused unseen, right or wrong, for this long.
    Locked(Duration),
}

impl Throttle {
    /// The next attempt on `name` from `address`.
    pub fn verdict(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Verdict {
        let counts = self.counts();
        let place = counts.places.get(&(name.to_owned(), address)).filter(|failures| !failures.is_old(now));
        if let Some(failures) = place.filter(|failures| failures.count >= LOCKING_FAILURES) {
            return Verdict::Locked(FORGET_AFTER.saturating_sub(now.since(failures.last_at)));
        }
        if let Some(Err(wait)) = address.and_then(|address| counts.addresses.get(&address)).map(|whole_at| budget().take(*whole_at, now)) {
            return Verdict::Locked(wait);
        }
        let failures = counts.names.get(name).filter(|failures| !failures.is_old(now));
        Verdict::After(failures.map_or(Duration::ZERO, |failures| delay_after(failures.count)))
    }

    pub fn failed(&self, name: &str, address: Option<IpAddr>, now: Timestamp) {
        let mut counts = self.counts();
        count(&mut counts.names, name.to_owned(), now);
        count(&mut counts.places, (name.to_owned(), address), now);
        let Some(address) = address else { return };
        make_room(&mut counts.addresses, |whole_at| *whole_at <= now);
        let whole_at = counts.addresses.entry(address).or_insert(now);
        *whole_at = budget().take(*whole_at, now).unwrap_or(*whole_at);
    }

    pub fn succeeded(&self, name: &str, address: Option<IpAddr>) {
        let mut counts = self.counts();
        counts.names.remove(name);
        counts.places.remove(&(name.to_owned(), address));
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn is_old(&self, now: Timestamp) -> bool {
        now.since(self.last_at) > FORGET_AFTER
    }
}

fn budget() -> Rate {
    Rate::new(ADDRESS_PER_MINUTE, Duration::from_mins(1), ADDRESS_BURST)
}

fn count<K: Hash + Eq>(counts: &mut HashMap<K, Failures>, key: K, now: Timestamp) {
    make_room(counts, |failures| failures.is_old(now));
    let failures = counts.entry(key).or_insert(Failures { count: 0, last_at: now });
    let count = if failures.is_old(now) { 1 } else { failures.count.saturating_add(1) };
    *failures = Failures { count, last_at: now };
}

fn make_room<K: Hash + Eq, V>(map: &mut HashMap<K, V>, is_over: impl Fn(&V) -> bool) {
    if map.len() >= KEYS_MAX {
        map.retain(|_, value| !is_over(value));
    }
    if map.len() >= KEYS_MAX {
        map.clear();
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

    fn from(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn delays_grow_to_a_limit_and_end() {
        for (failures, millis) in [(0, 0), (2, 0), (3, 250), (4, 500), (6, 2000), (7, 4000), (1000, 4000)] {
            assert_eq!(delay_after(failures), Duration::from_millis(millis), "{failures}");
        }
        let throttle = Throttle::default();
        for address in 0..4 {
            throttle.failed("alice", Some(from(address)), at(0));
        }
        let millis = |name, secs| throttle.verdict(name, Some(from(9)), at(secs));
        assert_eq!(millis("alice", 1), Verdict::After(Duration::from_millis(500)));
        assert_eq!(millis("bob", 1), Verdict::After(Duration::ZERO));
        assert_eq!(millis("alice", 901), Verdict::After(Duration::ZERO));
        throttle.succeeded("alice", Some(from(9)));
        assert_eq!(millis("alice", 1), Verdict::After(Duration::ZERO));
    }

    #[test]
    fn a_name_is_locked_for_who_guesses_and_for_nobody_else() {
        let throttle = Throttle::default();
        for _ in 0..LOCKING_FAILURES {
            assert!(matches!(throttle.verdict("alice", Some(from(1)), at(10)), Verdict::After(_)));
            throttle.failed("alice", Some(from(1)), at(10));
        }
        assert_eq!(throttle.verdict("alice", Some(from(1)), at(70)), Verdict::Locked(Duration::from_mins(14)));
        assert_eq!(throttle.verdict("alice", Some(from(2)), at(70)), Verdict::After(DELAY_MAX));
        assert_eq!(throttle.verdict("bob", Some(from(1)), at(70)), Verdict::After(Duration::ZERO));
        assert_eq!(throttle.verdict("alice", Some(from(1)), at(10 + 901)), Verdict::After(Duration::ZERO));
    }

    #[test]
    fn an_address_has_a_budget_over_all_names() {
        let throttle = Throttle::default();
        let guessed = (0..1000).take_while(|name| {
            let allowed = matches!(throttle.verdict(&name.to_string(), Some(from(1)), at(0)), Verdict::After(_));
            throttle.failed(&name.to_string(), Some(from(1)), at(0));
            allowed
        });
        assert_eq!(guessed.count(), ADDRESS_BURST as usize);
        assert_eq!(throttle.verdict("anybody", Some(from(1)), at(0)), Verdict::Locked(Duration::from_secs(10)));
        assert_eq!(throttle.verdict("anybody", Some(from(2)), at(0)), Verdict::After(Duration::ZERO));
        assert_eq!(throttle.verdict("anybody", Some(from(1)), at(10)), Verdict::After(Duration::ZERO));
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        for number in 0..=u32::try_from(KEYS_MAX).unwrap() {
            throttle.failed(&number.to_string(), Some(IpAddr::from(number.to_be_bytes())), at(0));
        }
        let counts = throttle.counts();
        assert!(counts.names.len() <= KEYS_MAX && counts.places.len() <= KEYS_MAX && counts.addresses.len() <= KEYS_MAX);
    }
}
