//! Randomness, in one place: ids and secrets are made here and nowhere else.

use rand::RngExt;

/// 128 random bits, for ids.
pub fn bits128() -> u128 {
    rand::rng().random()
}

/// 64 random bits.
pub fn bits64() -> u64 {
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
