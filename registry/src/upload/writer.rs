//! Writes an upload behind its reception. Frames are gathered into batches; while one batch is hashed and written, each by a thread of
//! its own, the next is gathered. So an upload holds two batches at most, and a slow one holds no thread and next to no memory.

use super::file::UploadFile;
use super::sessions::Held;
use crate::error::{RegistryError, io};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes that make a batch, while few uploads are received and while many are.
const BATCH_BYTES: usize = 512 * 1024;
const BATCH_BYTES_MANY: usize = 128 * 1024;
/// Uploads received at once that are many.
const MANY: usize = 16;
/// Smallest batch for which two threads are worth their start, in bytes.
const SPLIT_BYTES_MIN: usize = 64 * 1024;
/// Bytes after which what is written is synced behind the writes: the sync at the end has little left to do.
const WRITE_BACK_BYTES: u64 = 32 * 1024 * 1024;

pub struct Writer {
    /// Here, or with the running write.
    file: Option<UploadFile>,
    running: Option<Running>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    on_disk: u64,
    written_back: u64,
    write_back: Option<JoinHandle<io::Result<()>>>,
    many: Counted,
}

/// A batch on its way.
enum Running {
    Whole(JoinHandle<(UploadFile, io::Result<()>)>),
    Split { before: Box<UploadFile>, hashing: JoinHandle<Held>, writing: JoinHandle<io::Result<()>> },
}

/// How many uploads are being received, this one included while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(receiving: &Arc<AtomicUsize>) -> Self {
        receiving.fetch_add(1, Ordering::Relaxed);
        Self(receiving.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Writer {
    pub fn new(file: UploadFile, receiving: &Arc<AtomicUsize>) -> Self {
        let on_disk = file.length();
        Self {
            file: Some(file),
            running: None,
            gathered: Vec::new(),
            gathered_bytes: 0,
            on_disk,
            written_back: on_disk,
            write_back: None,
            many: Counted::new(receiving),
        }
    }

    /// Bytes that are written.
    pub fn on_disk(&self) -> u64 {
        self.on_disk
    }

    pub fn is_gathering(&self) -> bool {
        self.gathered_bytes > 0
    }

    pub async fn gather(&mut self, data: Bytes) -> Result<(), RegistryError> {
        self.gathered_bytes += data.len();
        if !data.is_empty() {
            self.gathered.push(data);
        }
        let batch_bytes = if self.many.0.load(Ordering::Relaxed) > MANY { BATCH_BYTES_MANY } else { BATCH_BYTES };
        if self.gathered_bytes < batch_bytes {
            return Ok(());
        }
        self.flush().await
    }

    /// Begins to write what is gathered, after the write before it has ended.
    async fn flush(&mut self) -> Result<(), RegistryError> {
        self.settle().await?;
        if !self.is_gathering() {
            return Ok(());
        }
        let (chunks, bytes) = (std::mem::take(&mut self.gathered), std::mem::take(&mut self.gathered_bytes));
        let Some(file) = self.file.take() else { return Err(lost()) };
        self.running = Some(if bytes < SPLIT_BYTES_MIN { whole(file, chunks) } else { split(file, chunks) });
        Ok(())
    }

    /// Waits for the running write.
    async fn settle(&mut self) -> Result<(), RegistryError> {
        let (file, result) = match self.running.take() {
            None => return Ok(()),
            Some(Running::Whole(running)) => running.await.map_err(|_| lost())?,
            Some(Running::Split { before, hashing, writing }) => {
                let after = hashing.await.map_err(|_| lost())?;
                let result = writing.await.map_err(|_| lost())?;
                (if result.is_ok() { before.with_held(after) } else { *before }, result)
            }
        };
        self.on_disk = file.length();
        let sink = file.sink();
        self.file = Some(file);
        result.map_err(io("writing an upload"))?;
        if self.on_disk - self.written_back >= WRITE_BACK_BYTES && self.write_back.as_ref().is_none_or(JoinHandle::is_finished) {
            self.written_back_ok().await?;
            self.written_back = self.on_disk;
            self.write_back = Some(spawn_blocking(move || sink.sync()));
        }
        Ok(())
    }

    /// A failed sync is told once only: it must not be overheard, or the last one would seem to have synced everything.
    async fn written_back_ok(&mut self) -> Result<(), RegistryError> {
        let Some(write_back) = self.write_back.take() else { return Ok(()) };
        write_back.await.map_err(|_| lost())?.map_err(io("syncing an upload"))
    }

    /// Writes what is gathered, and waits for it.
    pub async fn rest(&mut self) -> Result<(), RegistryError> {
        self.flush().await?;
        self.settle().await
    }

    /// Writes what is gathered, and gives the file back.
    pub async fn finish(mut self) -> Result<UploadFile, RegistryError> {
        self.rest().await?;
        self.written_back_ok().await?;
        self.file.take().ok_or_else(lost)
    }

    /// Keeps what is written and drops what is gathered.
    pub async fn abandon(mut self) -> Result<UploadFile, RegistryError> {
        self.gathered.clear();
        self.gathered_bytes = 0;
        self.finish().await
    }
}

fn whole(mut file: UploadFile, chunks: Vec<Bytes>) -> Running {
    Running::Whole(spawn_blocking(move || {
        let result = file.append(chunks);
        (file, result)
    }))
}

/// Hashes and writes at the same time: one is work for the processor, the other mostly for the disk.
fn split(file: UploadFile, chunks: Vec<Bytes>) -> Running {
    let (sink, held) = (file.sink(), file.held());
    let (hashed, offset) = (chunks.clone(), held.length);
    let hashing = spawn_blocking(move || held.with(&hashed));
    let writing = spawn_blocking(move || sink.write(chunks, offset));
    Running::Split { before: Box::new(file), hashing, writing }
}

fn lost() -> RegistryError {
    RegistryError::Internal("a write did not end".into())
}
