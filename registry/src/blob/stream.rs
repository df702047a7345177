//! A blob's bytes as a response body. What the page cache has is read on the spot, still warm when it is sent; what it does not have
//! is read in a blocking thread, one buffer ahead of what is being sent.

use super::buffers::Buffers;
use crate::context::Context;
use crate::error::{RegistryError, io};
use crate::storage::StorageKey;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use rustix::fs::Advice;
use rustix::io::ReadWriteFlags;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What is left to read of one blob.
struct Reader {
    file: Arc<File>,
    buffers: Arc<Buffers>,
    /// Next byte to be read.
    at: u64,
    /// End of what is wanted, exclusive.
    end: u64,
    /// Up to where the kernel was told to read ahead.
    ahead: u64,
}

/// How far the kernel reads ahead of a download from the disk, in bytes.
const AHEAD_BYTES: u64 = 4 * 1024 * 1024;

/// The body of `length` bytes from `first` on. What can fail early, fails here, before the head is sent.
pub async fn open(ctx: &Context, key: &StorageKey, first: u64, length: u64) -> Result<Body, RegistryError> {
    if length == 0 {
        return Ok(Body::empty());
    }
    let (storage, key, buffers) = (ctx.storage.clone(), key.clone(), ctx.buffers.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let file = Arc::new(storage.read(&key)?);
        let mut reader = Reader { file, buffers, at: first, end: first + length, ahead: 0 };
        reader.read().map(|chunk| (reader, chunk))
    });
    let (reader, chunk) = opened.await.map_err(|_| RegistryError::Internal("a read did not end".into()))?.map_err(io("reading a blob"))?;
    if reader.at == reader.end {
        return Ok(Body::from(chunk));
    }
    Ok(Body::from_stream(stream::unfold(State::Ready(reader, chunk), step)))
}

enum State {
    /// A chunk is to be sent, the reader stands behind it.
    Ready(Reader, Bytes),
    /// The next chunk is being read from the disk.
    Reading(JoinHandle<io::Result<(Reader, Bytes)>>),
    /// Nothing is read ahead.
    Waiting(Reader),
    Done,
}

/// One chunk, and the state after it.
async fn step(state: State) -> Option<(io::Result<Bytes>, State)> {
    let read = match state {
        State::Ready(reader, chunk) => Ok((reader, chunk, true)),
        State::Reading(handle) => joined(handle).await.map(|(reader, chunk)| (reader, chunk, false)),
        State::Waiting(mut reader) => match reader.read_cached() {
            Some(chunk) => Ok((reader, chunk, true)),
            None => joined(start(reader)).await.map(|(reader, chunk)| (reader, chunk, false)),
        },
        State::Done => return None,
    };
    match read {
        Ok((reader, chunk, _)) if reader.at >= reader.end => Some((Ok(chunk), State::Done)),
        Ok((reader, chunk, false)) if reader.buffers.is_relaxed() => Some((Ok(chunk), State::Reading(start(reader)))),
        Ok((reader, chunk, _)) => Some((Ok(chunk), State::Waiting(reader))),
        Err(error) => {
            tracing::error!(%error, "a download broke off");
            Some((Err(error), State::Done))
        }
    }
}

fn start(mut reader: Reader) -> JoinHandle<io::Result<(Reader, Bytes)>> {
    tokio::task::spawn_blocking(move || reader.read().map(|chunk| (reader, chunk)))
}

async fn joined(handle: JoinHandle<io::Result<(Reader, Bytes)>>) -> io::Result<(Reader, Bytes)> {
    handle.await.unwrap_or_else(|_| Err(io::Error::other("a read did not end")))
}

impl Reader {
    /// The next chunk, or the beginning of it, if the page cache has it. Never waits for the disk.
    fn read_cached(&mut self) -> Option<Bytes> {
        let left = self.end - self.at;
        let mut buffer = self.buffers.take(left);
        let room = &mut [IoSliceMut::new(buffer.room(left))];
        let filled = rustix::io::preadv2(&self.file, room, self.at, ReadWriteFlags::NOWAIT).ok().filter(|filled| *filled > 0)?;
        self.at += filled as u64;
        Some(buffer.into_bytes(filled))
    }

    /// Reads the next chunk. A file shorter than its row says is an error, never a short answer.
    fn read(&mut self) -> io::Result<Bytes> {
        let left = self.end - self.at;
        if left > AHEAD_BYTES && self.at + AHEAD_BYTES / 2 >= self.ahead {
            // Advice only: that it is not taken does no harm.
            let _ = rustix::fs::fadvise(&self.file, self.at, NonZeroU64::new(AHEAD_BYTES), Advice::WillNeed);
            self.ahead = self.at + AHEAD_BYTES;
        }
        let mut buffer = self.buffers.take(left);
        let room = buffer.room(left);
        self.file.read_exact_at(room, self.at)?;
        let filled = room.len();
        self.at += filled as u64;
        Ok(buffer.into_bytes(filled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn collect(file: File, first: u64, end: u64) -> Vec<u8> {
        let reader = Reader { file: Arc::new(file), buffers: Arc::new(Buffers::default()), at: first, end, ahead: 0 };
        let body = Body::from_stream(stream::unfold(State::Waiting(reader), step));
        body.collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn every_byte_comes_once_and_in_order() {
        let content: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &content).unwrap();
        assert_eq!(collect(file.try_clone().unwrap(), 0, 4_000_000).await, content);
        assert_eq!(collect(file, 5, 3_000_001).await, content[5..3_000_001]);
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_breaks_the_download() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"short").unwrap();
        let reader = Reader { file: Arc::new(file), buffers: Arc::new(Buffers::default()), at: 0, end: 10, ahead: 0 };
        let body = Body::from_stream(stream::unfold(State::Waiting(reader), step));
        assert!(body.collect().await.is_err());
    }
}
