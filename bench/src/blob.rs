//! Made-up blobs that cost the client next to nothing: one pseudo-random MiB repeated, with the seed in its first bytes.

use crate::options::MIB;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct Blob {
    first: Arc<[u8]>,
    rest: Arc<[u8]>,
    pub size: usize,
    /// `sha256:…`
    pub digest: String,
}

impl Blob {
    pub fn new(seed: u64, size: usize) -> Self {
        let block = noise(MIB.min(size.max(1)));
        let mut first = block.clone();
        for (byte, salt) in first.iter_mut().zip(seed.to_le_bytes()) {
            *byte ^= salt;
        }
        let mut blob = Self { first: first.into(), rest: block.into(), size, digest: String::new() };
        let mut hash = Sha256::new();
        for piece in blob.pieces(0, size) {
            hash.update(piece);
        }
        blob.digest = format!("sha256:{}", hex::encode(hash.finalize()));
        blob
    }

    /// `count` of them, with seeds that follow each other.
    pub fn series(seed: u64, count: usize, size: usize) -> Vec<Self> {
        (seed..).take(count).map(|seed| Self::new(seed, size)).collect()
    }

    /// Writes the bytes from `start` to before `end`.
    pub fn write_range(&self, to: &mut impl Write, start: usize, end: usize) -> std::io::Result<()> {
        self.pieces(start, end).try_for_each(|piece| to.write_all(piece))
    }

    /// The bytes from `start` to before `end`, in slices of the repeated block.
    fn pieces(&self, start: usize, end: usize) -> impl Iterator<Item = &[u8]> {
        let block = self.rest.len();
        let mut at = start;
        std::iter::from_fn(move || {
            let length = (block - at % block).min(end - at);
            let source = if at < block { &self.first } else { &self.rest };
            let from = at % block;
            at += length;
            (length > 0).then(|| &source[from..from + length])
        })
    }
}

/// Xorshift: cannot be compressed, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_to_the_whole() {
        let blob = Blob::new(3, 2 * MIB + 5);
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        blob.write_range(&mut whole, 0, blob.size).unwrap();
        for (start, end) in [(0, 10), (10, MIB + 3), (MIB + 3, blob.size)] {
            blob.write_range(&mut parts, start, end).unwrap();
        }
        assert_eq!(whole.len(), blob.size);
        assert!(whole == parts);
        assert_eq!(blob.digest, format!("sha256:{}", hex::encode(Sha256::digest(&whole))));
    }

    #[test]
    fn seeds_make_different_blobs() {
        let digests: Vec<String> = Blob::series(1, 3, 4096).into_iter().map(|blob| blob.digest).collect();
        assert!(digests[0] != digests[1] && digests[1] != digests[2]);
    }
}
