//! Passwords: argon2id, one hash at a time, so that logins cannot take the server's memory; what one needs is given back after it.
//!
//! Stored in the PHC form, parameters included, so that they can be raised later. A password of an unknown user costs the same time
//! as a wrong one.

use crate::error::IdentityError;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, SemaphorePermit};

/// Memory of one hash in KiB, and passes over it: of OWASP's equal choices one with little memory.
const MEMORY_KIB: u32 = 9216;
const PASSES: u32 = 4;
/// Most memory a stored hash may ask for, in KiB.
const MEMORY_KIB_MAX: u32 = 65_536;
/// Most passes a stored hash may ask for.
const PASSES_MAX: u32 = 16;
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
/// Hashes that may wait; more are refused until some are done.
const WAITING_MAX: usize = 64;

/// The one place passwords are hashed in.
pub(crate) struct Passwords {
    front: Arc<Mutex<()>>,
    waiting: Semaphore,
}

/// A place at the front, held while one password is looked at. A hash that was begun keeps the front to its end, even when the turn
/// is dropped.
pub(crate) struct Turn<'a> {
    front: Option<OwnedMutexGuard<()>>,
    _place: SemaphorePermit<'a>,
}

/// Why no answer was given.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("too many logins at once")]
    Busy,
    #[error(transparent)]
    Fault(#[from] IdentityError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    memory_kib: u32,
    passes: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Passwords {
    pub fn new() -> Self {
        Self { front: Arc::default(), waiting: Semaphore::new(WAITING_MAX) }
    }

    /// A new hash of `password`, to be stored.
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let salt = platform::random::bytes::<SALT_BYTES>().to_vec();
        let hash = self.turn().await?.compute(password, salt.clone(), MEMORY_KIB, PASSES).await?;
        Ok(Stored { memory_kib: MEMORY_KIB, passes: PASSES, salt, hash: hash.to_vec() }.to_string())
    }

    /// Waits until nobody else's password is looked at. What is decided while a turn is held is decided one after the other.
    pub async fn turn(&self) -> Result<Turn<'_>, PasswordError> {
        let place = self.waiting.try_acquire().map_err(|_| PasswordError::Busy)?;
        Ok(Turn { front: Some(self.front.clone().lock_owned().await), _place: place })
    }
}

impl Turn<'_> {
    /// Whether `password` is the one that was hashed to `stored`; false, after as long, when nothing is stored.
    pub async fn verify(&mut self, password: &str, stored: Option<&str>) -> Result<bool, PasswordError> {
        let Some(stored) = stored else {
            self.compute(password, vec![0; SALT_BYTES], MEMORY_KIB, PASSES).await?;
            return Ok(false);
        };
        let stored = Stored::parse(stored).ok_or_else(|| IdentityError::Password("a stored hash cannot be read".into()))?;
        let hash = self.compute(password, stored.salt, stored.memory_kib, stored.passes).await?;
        Ok(hash.ct_eq(stored.hash.as_slice()).into())
    }

    async fn compute(&mut self, password: &str, salt: Vec<u8>, memory_kib: u32, passes: u32) -> Result<[u8; HASH_BYTES], PasswordError> {
        let front = self.front.take().ok_or(IdentityError::Interrupted)?;
        let password = password.to_owned();
        let work = move || {
            let params = Params::new(memory_kib, passes, 1, Some(HASH_BYTES))?;
            let mut memory = vec![Block::default(); params.block_count()];
            let mut hash = [0; HASH_BYTES];
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon2.hash_password_into_with_memory(password.as_bytes(), &salt, &mut hash, &mut memory)?;
            Ok::<_, argon2::Error>((hash, front))
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(|_| IdentityError::Interrupted)?;
        let (hash, front) = done.map_err(|error| IdentityError::Password(error.to_string()))?;
        self.front = Some(front);
        Ok(hash)
    }
}

impl Stored {
    /// `$argon2id$v=19$m=9216,t=4,p=1$SALT$HASH`
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let mut costs = parts.next()?.split(',');
        let memory_kib: u32 = costs.next()?.strip_prefix("m=")?.parse().ok()?;
        let passes: u32 = costs.next()?.strip_prefix("t=")?.parse().ok()?;
        let one_lane = costs.next()? == "p=1";
        let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
        let hash = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
        let ok = one_lane && memory_kib <= MEMORY_KIB_MAX && passes <= PASSES_MAX && hash.len() == HASH_BYTES && parts.next().is_none();
        ok.then_some(Self { memory_kib, passes, salt, hash })
    }
}

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (salt, hash) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.hash));
        write!(f, "$argon2id$v=19$m={},t={},p=1${salt}${hash}", self.memory_kib, self.passes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let passwords = Passwords::new();
        let stored = passwords.hash("correct horse").await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=9216,t=4,p=1$"));
        let mut turn = passwords.turn().await.unwrap();
        assert!(turn.verify("correct horse", Some(&stored)).await.unwrap());
        assert!(!turn.verify("correct horsf", Some(&stored)).await.unwrap());
        assert!(!turn.verify("correct horse", None).await.unwrap());
        drop(turn);
        assert_ne!(stored, passwords.hash("correct horse").await.unwrap());
    }

    #[test]
    fn stored_hashes_with_absurd_costs_are_not_computed() {
        let good = Stored { memory_kib: MEMORY_KIB, passes: PASSES, salt: vec![1; SALT_BYTES], hash: vec![2; HASH_BYTES] };
        assert_eq!(Stored::parse(&good.to_string()), Some(good.clone()));
        for bad in [Stored { memory_kib: MEMORY_KIB_MAX + 1, ..good.clone() }, Stored { passes: PASSES_MAX + 1, ..good.clone() }] {
            assert_eq!(Stored::parse(&bad.to_string()), None);
        }
        for bad in ["", "$argon2i$v=19$m=9216,t=4,p=1$AA$AA", "$argon2id$v=19$m=9216,t=4,p=2$AA$AA", "plain"] {
            assert_eq!(Stored::parse(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn stored_hashes_that_cannot_be_read_are_a_fault_not_a_match() {
        let passwords = Passwords::new();
        assert!(matches!(passwords.turn().await.unwrap().verify("x", Some("plain")).await, Err(PasswordError::Fault(_))));
    }
}
