//! Randomness, in one place: pull credentials and the jitter of retries.

use rand::RngExt;
use std::time::Duration;

/// 256 random bits in hex, for the credential of one pull.
pub fn secret() -> String {
    hex::encode(rand::rng().random::<[u8; 32]>())
}

/// Between half of `delay` and all of it, so that many agents do not come back at the same moment.
pub fn jitter(delay: Duration) -> Duration {
    #[cfg(any(test, feature = "fake"))]
    if let Some(share) = seeded::share() {
        return delay.mul_f64(share);
    }
    delay.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Jitter that repeats, for the simulation.
#[cfg(any(test, feature = "fake"))]
pub mod seeded {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::cell::RefCell;

    thread_local! {
        static SOURCE: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// From now on the jitter of this thread follows from `seed`.
    pub fn begin(seed: u64) {
        SOURCE.with_borrow_mut(|source| *source = Some(StdRng::seed_from_u64(seed)));
    }

    pub(super) fn share() -> Option<f64> {
        SOURCE.with_borrow_mut(|source| source.as_mut().map(|source| source.random_range(0.5..=1.0)))
    }
}
