//! Waiting for something to become true, with a limit and a name for the failure. Tests never sleep a guessed time.

use std::future::Future;
use std::time::{Duration, Instant};

/// Longest wait when a test does not say, in seconds.
const WAIT_SECS_MAX: u64 = 30;
/// Between two looks, in milliseconds.
const LOOK_MILLIS: u64 = 25;

/// Looks until `look` gives something. Panics after 30 s, naming what it waited for.
pub async fn wait_until<T, F, L>(what: &str, look: L) -> T
where
    L: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    wait_until_for(what, Duration::from_secs(WAIT_SECS_MAX), look).await
}

/// Looks until `look` gives something. Panics after `limit`, naming what it waited for.
pub async fn wait_until_for<T, F, L>(what: &str, limit: Duration, mut look: L) -> T
where
    L: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(Duration::from_millis(LOOK_MILLIS)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_what_was_found() {
        let mut looks = 0;
        let found = wait_until("the third look", || {
            looks += 1;
            let found = (looks == 3).then_some("found");
            async move { found }
        })
        .await;
        assert_eq!(found, "found");
    }

    #[tokio::test]
    #[should_panic(expected = "for a thing that never comes")]
    async fn gives_up_by_name() {
        wait_until_for("a thing that never comes", Duration::from_millis(1), || async { None::<()> }).await;
    }
}
