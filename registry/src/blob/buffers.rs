//! Reused read buffers: a download of any size costs a few of them, and together they are bounded.

use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A full-sized buffer, in bytes.
pub const LARGE_BYTES: usize = 128 * 1024;
/// What a reader gets when all large ones are taken, in bytes.
pub const SMALL_BYTES: usize = 32 * 1024;
/// Large buffers in use at once.
const LARGE_MAX: usize = 96;
/// Large buffers kept when idle.
const IDLE_MAX: usize = 16;

#[derive(Debug, Default)]
pub struct Buffers {
    idle: Mutex<Vec<Box<[u8]>>>,
    large_in_use: AtomicUsize,
}

/// A buffer that goes back where it came from when the last slice of it is gone.
pub struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
    home: Option<Arc<Buffers>>,
}

impl Buffers {
    /// A buffer for reading at most `wanted` bytes: large if one is free, else small. Its length says how much to read.
    pub fn take(self: &Arc<Self>, wanted: u64) -> Buffer {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        if wanted <= SMALL_BYTES || !self.reserve() {
            return Buffer { bytes: vec![0; wanted.min(SMALL_BYTES)].into(), filled: 0, home: None };
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: idle.unwrap_or_else(|| vec![0; LARGE_BYTES].into()), filled: 0, home: Some(self.clone()) }
    }

    /// Whether there is room to read ahead for those who already have a buffer.
    pub fn is_relaxed(&self) -> bool {
        self.large_in_use.load(Ordering::Relaxed) < LARGE_MAX / 2
    }

    fn reserve(&self) -> bool {
        self.large_in_use.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < LARGE_MAX).then_some(n + 1)).is_ok()
    }
}

impl Buffer {
    /// Room to read into, at most `wanted` bytes of it.
    pub fn room(&mut self, wanted: u64) -> &mut [u8] {
        let len = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.bytes.len());
        &mut self.bytes[..len]
    }

    /// The first `filled` bytes, without copying.
    pub fn into_bytes(mut self, filled: usize) -> Bytes {
        self.filled = filled.min(self.bytes.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        home.large_in_use.fetch_sub(1, Ordering::AcqRel);
        let mut idle = home.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_bounded_and_reused() {
        let buffers = Arc::new(Buffers::default());
        let taken: Vec<Buffer> = (0..200).map(|_| buffers.take(1 << 30)).collect();
        assert_eq!(taken.iter().filter(|buffer| buffer.bytes.len() == LARGE_BYTES).count(), LARGE_MAX);
        assert_eq!(buffers.take(10).room(10).len(), 10);
        assert!(!buffers.is_relaxed());
        drop(taken);
        assert!(buffers.is_relaxed());
        assert_eq!(buffers.idle.lock().unwrap().len(), IDLE_MAX);
        assert_eq!(buffers.large_in_use.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_slice_keeps_its_buffer() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take(1 << 20);
        buffer.room(3).copy_from_slice(b"abc");
        let bytes = buffer.into_bytes(3);
        let part = bytes.slice(1..);
        drop(bytes);
        assert_eq!(&part[..], b"bc");
        assert_eq!(buffers.large_in_use.load(Ordering::Relaxed), 1);
        drop(part);
        assert_eq!(buffers.large_in_use.load(Ordering::Relaxed), 0);
    }
}
