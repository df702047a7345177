//! Randomness, in one place: pull credentials and the jitter of retries.

use rand::RngExt;
use std::time::Duration;

/// 256 random bits in hex, for the credential of one pull.
pub fn secret() -> String {
    hex::encode(rand::rng().random::<[u8; 32]>())
}

/// Between half of `delay` and all of it, so that many agents do not come back at the same moment.
pub fn jitter(delay: Duration) -> Duration {
    delay.mul_f64(rand::rng().random_range(0.5..=1.0))
}
