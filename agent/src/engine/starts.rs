//! How many launches are under way in Docker, and the head start of the first of many.
//!
//! Containers that start beside each other on a small host are all as slow as all of them together. So the first launch on an idle host
//! goes ahead alone: something runs, and can be looked at, after the time of one start, which is the longest that the others wait for it.

use crate::config::STARTS_AT_ONCE;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Longest that the others wait for the first: about what a start costs Docker when it is alone.
const HEAD_START: Duration = Duration::from_millis(300);

/// The places of one engine.
pub(super) struct Starts {
    places: Semaphore,
    /// Since when a first launch is ahead of the others.
    ahead: Mutex<Option<Instant>>,
    /// It is not ahead any more. Wakes those who wait in their order, which a `watch` does not.
    is_up: Notify,
}

/// A place among the launches that are under way in Docker. Kept from the first create to the last start, so that tasks come up one
/// after the other and not all at the end; given up wherever something else is waited for.
pub(super) struct Place<'a> {
    starts: &'a Starts,
    held: Option<Held<'a>>,
}

struct Held<'a> {
    starts: &'a Starts,
    is_first: bool,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.is_first {
            *self.starts.ahead() = None;
            self.starts.is_up.notify_waiters();
        }
    }
}

impl Starts {
    pub fn new() -> Self {
        Self { places: Semaphore::new(STARTS_AT_ONCE), ahead: Mutex::default(), is_up: Notify::new() }
    }

    pub fn place(&self) -> Place<'_> {
        Place { starts: self, held: None }
    }

    async fn hold(&self) -> Option<Held<'_>> {
        // Never closed.
        let permit = self.places.acquire().await.ok()?;
        let is_idle = self.places.available_permits() == STARTS_AT_ONCE - 1;
        let is_first = is_idle && self.go_ahead();
        if !is_first {
            self.let_go_ahead().await;
        }
        Some(Held { starts: self, is_first, _permit: permit })
    }

    /// Whether nobody else is ahead.
    fn go_ahead(&self) -> bool {
        let mut ahead = self.ahead();
        ahead.is_none() && ahead.replace(Instant::now()).is_none()
    }

    async fn let_go_ahead(&self) {
        let mut is_up = std::pin::pin!(self.is_up.notified());
        // Before the look: an end that comes after it is not missed.
        is_up.as_mut().enable();
        let since = *self.ahead();
        if let Some(since) = since {
            // Its end and the time's are the same to us.
            let _ = tokio::time::timeout_at(since + HEAD_START, is_up).await;
        }
    }

    fn ahead(&self) -> MutexGuard<'_, Option<Instant>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    pub async fn take(&mut self) {
        if self.held.is_none() {
            self.held = self.starts.hold().await;
        }
    }

    pub fn give_up(&mut self) {
        self.held = None;
    }

    pub async fn give_up_for(&mut self, pause: Duration) {
        self.give_up();
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a place and keeps it for `millis`; gives when it had it, in milliseconds from the start of the test.
    async fn launch(starts: &Starts, began: Instant, millis: u64) -> u128 {
        let mut place = starts.place();
        place.take().await;
        let had = began.elapsed().as_millis();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        had
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_goes_ahead_and_the_others_follow_at_once_when_it_is_up() {
        let (starts, began) = (Starts::new(), Instant::now());
        let all = (0..6).map(|_| launch(&starts, began, 200));
        assert_eq!(futures_util::future::join_all(all).await, [0, 200, 200, 200, 200, 400]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_one_is_not_waited_for_longer_than_its_head_start() {
        let (starts, began) = (Starts::new(), Instant::now());
        let all = [9000, 10, 10].map(|millis| launch(&starts, began, millis));
        assert_eq!(futures_util::future::join_all(all).await, [0, 300, 300]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_one_that_gives_up_makes_way() {
        let starts = Starts::new();
        let (mut first, mut second) = (starts.place(), starts.place());
        first.take().await;
        first.give_up();
        let began = Instant::now();
        second.take().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
