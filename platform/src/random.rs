//! Randomness, in one place: ids and secrets are made here and nowhere else.

use rand::RngExt;

/// 128 random bits, for ids.
pub fn bits128() -> u128 {
    #[cfg(any(test, feature = "testing"))]
    if let Some(bits) = seeded::draw() {
        return bits;
    }
    rand::rng().random()
}

/// 64 random bits.
pub fn bits64() -> u64 {
    #[cfg(any(test, feature = "testing"))]
    if let Some(bits) = seeded::draw() {
        return bits;
    }
    rand::rng().random()
}

/// `N` random bytes from the thread's cryptographic generator, for secrets.
pub fn bytes<const N: usize>() -> [u8; N] {
    rand::rng().random()
}

/// A short id like `g-3f9a0c1d2e4b`, for rows that people name.
pub fn short_id(prefix: &str) -> String {
    format!("{prefix}-{:012x}", bits64() & 0xffff_ffff_ffff)
}

/// Ids that repeat, for the simulation (feature `testing`). Secrets never do.
#[cfg(any(test, feature = "testing"))]
pub mod seeded {
    use rand::distr::{Distribution, StandardUniform};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::cell::RefCell;

    thread_local! {
        static SOURCE: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// From now on the ids made on this thread follow from `seed`.
    pub fn begin(seed: u64) {
        SOURCE.with_borrow_mut(|source| *source = Some(StdRng::seed_from_u64(seed)));
    }

    pub(super) fn draw<T>() -> Option<T>
    where
        StandardUniform: Distribution<T>,
    {
        SOURCE.with_borrow_mut(|source| source.as_mut().map(RngExt::random))
    }
}
