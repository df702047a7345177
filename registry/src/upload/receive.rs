//! A request body on its way to disk: taken as it comes, for as long as something comes.

use super::file::UploadFile;
use super::sessions::Session;
use super::writer::Writer;
use crate::context::Context;
use crate::error::RegistryError;
use crate::quota::Room;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long gathered bytes wait for more, in milliseconds.
const GATHER_MS_MAX: u64 = 20;
/// Longest time without a byte before an upload's request ends, in seconds.
const IDLE_SECS_MAX: u64 = 60;
/// What is read of a refused body, so that the client gets to see why.
const DRAIN_BYTES_MAX: usize = 8 * 1024 * 1024;
const DRAIN_SECS_MAX: u64 = 5;

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Complete,
    Broken,
    TooLarge,
    OverQuota,
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

/// What a body may have.
pub struct Limit {
    pub bytes: u64,
    /// Room in the repository, where that is limited.
    pub room: Option<Room>,
}

/// Writes at most `limit` of `body` to the end of `file`.
pub async fn receive(
    ctx: &Context,
    session: &Session,
    file: UploadFile,
    mut body: Body,
    limit: &Limit,
    taken_over: &CancellationToken,
) -> Received {
    let before = file.length();
    let mut writer = Writer::new(file, &ctx.receiving);
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
                if bytes > limit.bytes {
                    break Ended::TooLarge;
                }
                // What is on disk is counted already.
                if limit.room.as_ref().is_some_and(|room| !room.has(before + bytes - session.length())) {
                    break Ended::OverQuota;
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
        session.advance(writer.on_disk());
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
