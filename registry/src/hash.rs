//! Digests over bytes: running hashes of uploads, and of bytes at hand.

use model::{Digest, name::Algorithm};
use sha2::{Digest as _, Sha256, Sha512};

/// A hash that is being computed. Cloning keeps a point to go back to.
#[derive(Clone)]
pub enum Running {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Running {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        let hex = match self {
            Self::Sha256(hash) => hex::encode(hash.finalize()),
            Self::Sha512(hash) => hex::encode(hash.finalize()),
        };
        Digest::from_hex(algorithm, &hex).expect("a hash has the length of its algorithm")
    }
}

/// The digest of `bytes`.
pub fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut running = Running::new(algorithm);
    running.update(bytes);
    running.finish()
}

/// The algorithm a client names, `sha256` or `sha512`.
pub fn algorithm(text: &str) -> Option<Algorithm> {
    [Algorithm::Sha256, Algorithm::Sha512].into_iter().find(|algorithm| algorithm.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standard() {
        assert_eq!(digest(Algorithm::Sha256, b"{}").as_str(), "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        assert!(digest(Algorithm::Sha512, b"").as_str().starts_with("sha512:cf83e1357eefb8bd"));
        assert_eq!(algorithm("sha512"), Some(Algorithm::Sha512));
        assert_eq!(algorithm("md5"), None);
    }
}
