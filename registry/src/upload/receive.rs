//! A request body on its way to disk. Frames are gathered into batches; a batch is hashed and written by a blocking thread while the
//! next one is gathered. So an upload holds two batches at most, and a slow one holds no thread and next to no memory.

use super::file::UploadFile;
use super::sessions::Session;
use crate::context::Context;
use crate::error::{RegistryError, io};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use std::io;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Bytes that make a batch.
const BATCH_BYTES: usize = 256 * 1024;
/// How long gathered bytes wait for more, in milliseconds.
const GATHER_MS_MAX: u64 = 20;
/// Longest time without a byte before an upload's request ends, in seconds.
const IDLE_SECS_MAX: u64 = 60;
/// Bytes after which the kernel is told to begin writing to disk, so that the sync at the end has little left to do.
const WRITE_BACK_BYTES: u64 = 32 * 1024 * 1024;
/// What is read of a refused body, so that the client gets to see why.
const DRAIN_BYTES_MAX: usize = 8 * 1024 * 1024;
const DRAIN_SECS_MAX: u64 = 5;

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Complete,
    Broken,
    TooLarge,
    TakenOver,
    Stalled,
}

pub struct Received {
    /// The file with everything that was received; gone when it could not be written.
    pub file: Result<UploadFile, RegistryError>,
    pub ended: Ended,
    /// Bytes of this body.
    pub bytes: u64,
    /// What was not read and may still come.
    pub rest: Body,
}

/// Writes at most `limit` bytes of `body` to the end of `file`.
pub async fn receive(
    ctx: &Context,
    session: &Session,
    file: UploadFile,
    mut body: Body,
    limit: u64,
    taken_over: &CancellationToken,
) -> Received {
    let mut writer = Writer::new(file);
    let mut bytes = 0;
    let taken_over = taken_over.cancelled();
    tokio::pin!(taken_over);
    let ended = loop {
        let patience = if writer.is_gathering() { Duration::from_millis(GATHER_MS_MAX) } else { Duration::from_secs(IDLE_SECS_MAX) };
        let frame = tokio::select! {
            // Cancel-safe: a frame is taken only when it is returned.
            frame = tokio::time::timeout(patience, body.frame()) => frame,
            // Cancel-safe per docs of CancellationToken.
            () = &mut taken_over => break Ended::TakenOver,
        };
        let written = match frame {
            Ok(None) => break Ended::Complete,
            Ok(Some(Err(_))) => break Ended::Broken,
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                bytes += data.len() as u64;
                if bytes > limit {
                    break Ended::TooLarge;
                }
                writer.gather(data).await
            }
            // Nothing more comes for now: what is there goes to disk, where a status request sees it.
            Err(_) if writer.is_gathering() => writer.rest().await,
            Err(_) => break Ended::Stalled,
        };
        if let Err(error) = written {
            return Received { file: Err(error), ended: Ended::Broken, bytes, rest: body };
        }
        session.advance(writer.on_disk);
    };
    let file = if ended == Ended::TakenOver { writer.abandon().await } else { writer.finish().await };
    ctx.metrics.blob_bytes_received.inc_by(bytes);
    let body = if matches!(ended, Ended::TakenOver | Ended::Stalled) { Body::empty() } else { body };
    Received { file, ended, bytes, rest: body }
}

/// A whole body in memory; more than `bytes_max` is refused.
pub async fn all(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_secs(IDLE_SECS_MAX), body.frame()).await {
            Ok(None) => return Ok(bytes),
            Ok(Some(Ok(frame))) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Ok(Some(Err(_))) => return Err(RegistryError::ManifestInvalid("the connection broke".into())),
            Err(_) => return Err(RegistryError::Stalled("nothing came for too long".into())),
        }
        if bytes.len() > bytes_max {
            drain(body).await;
            return Err(RegistryError::TooLarge(bytes_max as u64));
        }
    }
}

/// Reads on for a while after a refusal: a client that is still sending would not see the answer otherwise.
pub async fn drain(mut body: Body) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DRAIN_BYTES_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(DRAIN_SECS_MAX), reading).await;
}

/// Gathers, and writes behind.
struct Writer {
    /// Here, or with the running write.
    file: Option<UploadFile>,
    running: Option<JoinHandle<(UploadFile, io::Result<()>)>>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    on_disk: u64,
    written_back: u64,
    write_back: Option<JoinHandle<io::Result<()>>>,
}

impl Writer {
    fn new(file: UploadFile) -> Self {
        let on_disk = file.length();
        Self { file: Some(file), running: None, gathered: Vec::new(), gathered_bytes: 0, on_disk, written_back: on_disk, write_back: None }
    }

    fn is_gathering(&self) -> bool {
        self.gathered_bytes > 0
    }

    async fn gather(&mut self, data: Bytes) -> Result<(), RegistryError> {
        self.gathered_bytes += data.len();
        if !data.is_empty() {
            self.gathered.push(data);
        }
        if self.gathered_bytes >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Begins to write what is gathered, after the write before it has ended.
    async fn flush(&mut self) -> Result<(), RegistryError> {
        self.settle().await?;
        if !self.is_gathering() {
            return Ok(());
        }
        let chunks = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let Some(mut file) = self.file.take() else { return Err(lost()) };
        self.running = Some(tokio::task::spawn_blocking(move || {
            let result = file.append(chunks);
            (file, result)
        }));
        Ok(())
    }

    /// Waits for the running write.
    async fn settle(&mut self) -> Result<(), RegistryError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let (file, result) = running.await.map_err(|_| lost())?;
        self.on_disk = file.length();
        let handle = file.handle();
        self.file = Some(file);
        result.map_err(io("writing an upload"))?;
        let due = self.on_disk - self.written_back >= WRITE_BACK_BYTES;
        if due && self.write_back.as_ref().is_none_or(JoinHandle::is_finished) {
            self.written_back_ok().await?;
            self.written_back = self.on_disk;
            self.write_back = Some(tokio::task::spawn_blocking(move || handle.sync_data()));
        }
        Ok(())
    }

    /// A failed sync is told once only: it must not be overheard, or the last one would seem to have synced everything.
    async fn written_back_ok(&mut self) -> Result<(), RegistryError> {
        let Some(write_back) = self.write_back.take() else { return Ok(()) };
        write_back.await.map_err(|_| lost())?.map_err(io("syncing an upload"))
    }

    /// Writes what is gathered, and waits for it.
    async fn rest(&mut self) -> Result<(), RegistryError> {
        self.flush().await?;
        self.settle().await
    }

    async fn finish(mut self) -> Result<UploadFile, RegistryError> {
        self.rest().await?;
        self.written_back_ok().await?;
        self.file.take().ok_or_else(lost)
    }

    /// Keeps what is written and drops what is gathered.
    async fn abandon(mut self) -> Result<UploadFile, RegistryError> {
        self.gathered.clear();
        self.gathered_bytes = 0;
        self.finish().await
    }
}

fn lost() -> RegistryError {
    RegistryError::Internal("a write did not end".into())
}
