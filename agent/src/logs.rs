//! Answers people who wait for logs: `docker logs` of the task's containers, streamed to the server as they come.
//!
//! Lines carry the container's name when there are several. A stream ends when the containers' output ends, or as soon as whoever
//! reads it goes away. Nothing is kept: what is not read fast enough holds Docker back, not memory.

use crate::client::HttpServer;
use crate::config::LOGS_SECS_MAX;
use crate::engine::Engine;
use crate::runtime::{LogOptions, Runtime, RuntimeError};
use api::agent::LogRequest;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Most log streams at once.
const STREAMS_MAX: usize = 64;
/// A line longer than this is passed on in pieces.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The requests being answered: the server repeats one until it hears of it.
#[derive(Clone, Default)]
pub(crate) struct Logs {
    active: Arc<Mutex<BTreeSet<String>>>,
}

impl Logs {
    /// Begins to answer a request, unless that is under way already.
    pub fn answer<R: Runtime>(&self, engine: &Arc<Engine<R>>, server: &HttpServer, request: LogRequest) {
        {
            let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
            if active.len() >= STREAMS_MAX || !active.insert(request.id.clone()) {
                return;
            }
        }
        let (engine, server, active) = (Arc::clone(engine), server.clone(), Arc::clone(&self.active));
        tokio::spawn(async move {
            let containers = engine.containers_of(&request.task_id, request.container.as_deref());
            let problem = containers.is_empty().then(|| format!("no container of task {} is on this host", request.task_id));
            let body = reqwest::Body::wrap_stream(lines(&engine, containers, &request));
            if let Err(error) = server.send_logs(&request.id, body, problem, Duration::from_secs(LOGS_SECS_MAX)).await {
                tracing::debug!(task.id = %request.task_id, "log stream {} ended: {error}", request.id);
            }
            active.lock().unwrap_or_else(PoisonError::into_inner).remove(&request.id);
        });
    }
}

/// The output that was asked for.
fn lines<R: Runtime>(
    engine: &Engine<R>,
    containers: Vec<(String, String)>,
    request: &LogRequest,
) -> BoxStream<'static, Result<Bytes, RuntimeError>> {
    let options = LogOptions { follow: request.follow, tail: request.tail, timestamps: request.timestamps, since: request.since };
    let several = containers.len() > 1;
    let streams = containers.into_iter().map(|(name, id)| {
        let output = engine.runtime().logs(&id, &options);
        // A container that is gone has no more to say; that is no reason to cut off the others.
        let output = output.or_else(|error| std::future::ready(if error.is_not_found() { Ok(Bytes::new()) } else { Err(error) }));
        if several { prefixed(output.boxed(), &name) } else { output.boxed() }
    });
    futures_util::stream::select_all(streams.collect::<Vec<_>>()).boxed()
}

/// Whole lines, each beginning with the container's name.
fn prefixed(output: BoxStream<'static, Result<Bytes, RuntimeError>>, name: &str) -> BoxStream<'static, Result<Bytes, RuntimeError>> {
    let prefix = format!("{name} | ");
    let state = (output, BytesMut::new(), false);
    let lines = futures_util::stream::unfold(state, move |(mut output, mut rest, ended)| {
        let prefix = prefix.clone();
        async move {
            if ended {
                return None;
            }
            match output.next().await {
                Some(Ok(chunk)) => {
                    rest.extend_from_slice(&chunk);
                    let whole = take_lines(&mut rest, &prefix, false);
                    Some((Ok(whole), (output, rest, false)))
                }
                Some(Err(error)) => Some((Err(error), (output, rest, true))),
                None => Some((Ok(take_lines(&mut rest, &prefix, true)), (output, rest, true))),
            }
        }
    });
    lines.try_filter(|chunk| std::future::ready(!chunk.is_empty())).boxed()
}

/// Takes the complete lines out of `rest`; at the end, or when a line is too long, also what is not complete.
fn take_lines(rest: &mut BytesMut, prefix: &str, all: bool) -> Bytes {
    let mut out = BytesMut::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(&rest.split_to(end + 1));
    }
    if !rest.is_empty() && (all || rest.len() > LINE_BYTES_MAX) {
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(&rest.split());
        out.extend_from_slice(b"\n");
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_of_several_containers_carry_their_names() {
        let chunks = [&b"one\ntw"[..], b"o\n", b"three"].map(|chunk| Ok(Bytes::from_static(chunk)));
        let output = prefixed(futures_util::stream::iter(chunks).boxed(), "app");
        let text: Vec<Bytes> = output.try_collect().await.unwrap();
        assert_eq!(text.concat(), b"app | one\napp | two\napp | three\n");
    }
}
