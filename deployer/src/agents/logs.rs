//! The bridge for output: a person's request waits here, goes to the agent with its next poll answer, and is fed by the agent's POST.
//!
//! Nothing is kept: bytes flow through a channel of a few chunks, so that a slow reader slows the agent down.

use super::certificate::Peer;
use super::error::Refusal;
use crate::context::Context;
use api::agent::{AgentErrorCode, LOG_PROBLEM_HEADER, LogRequest};
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use model::Timestamp;
use model::ids::InstanceId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Requests that may wait for agents at once.
const OPEN_MAX: usize = 1_000;
/// Chunks between agent and reader.
const CHUNKS_MAX: usize = 16;
/// A request that was sent and not taken up for this long is sent again: the answer that carried it may be lost.
const SEND_AGAIN: Duration = Duration::from_secs(2);
/// Longest word of an agent about why there is no output, in characters.
const PROBLEM_CHARS_MAX: usize = 500;

/// Why there is no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("the agent did not answer in time")]
    NoAnswer,
    #[error("too many people wait for output already")]
    TooMany,
    /// The agent's words.
    #[error("{0}")]
    Problem(String),
}

type Chunks = mpsc::Receiver<Bytes>;

/// Requests that no agent has taken up yet.
#[derive(Debug, Default)]
pub struct Requests(Mutex<HashMap<String, Open>>);

#[derive(Debug)]
struct Open {
    instance: InstanceId,
    request: LogRequest,
    sent_at: Option<Timestamp>,
    answer: oneshot::Sender<Result<Chunks, String>>,
}

impl Requests {
    /// Requests for this instance to send now.
    pub(super) fn for_instance(&self, instance: &InstanceId, now: Timestamp) -> Vec<LogRequest> {
        let due = |open: &Open| open.sent_at.is_none_or(|sent_at| now.since(sent_at) >= SEND_AGAIN);
        let mut open = self.lock();
        let due = open.values_mut().filter(|open| open.instance == *instance && due(open));
        due.map(|open| {
            open.sent_at = Some(now);
            open.request.clone()
        })
        .collect()
    }

    fn insert(&self, open: Open) -> Result<(), LogError> {
        let mut all = self.lock();
        if all.len() >= OPEN_MAX {
            return Err(LogError::TooMany);
        }
        all.insert(open.request.id.clone(), open);
        Ok(())
    }

    fn take(&self, id: &str, instance: Option<&InstanceId>) -> Option<Open> {
        let mut all = self.lock();
        let ours = all.get(id).is_some_and(|open| instance.is_none_or(|instance| open.instance == *instance));
        if ours { all.remove(id) } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the request out again when nobody waits any more.
struct Waiting<'a> {
    context: &'a Context,
    id: String,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.context.agents.logs.take(&self.id, None);
    }
}

/// Asks the agent of `instance` for output, waits at most `wait` for it to begin, and returns what comes.
pub async fn open(
    context: &Context,
    instance: &InstanceId,
    request: LogRequest,
    wait: Duration,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, LogError> {
    let (answer, answered) = oneshot::channel();
    let waiting = Waiting { context, id: request.id.clone() };
    context.agents.logs.insert(Open { instance: instance.clone(), request, sent_at: None, answer })?;
    context.agents.wake(instance);
    let answered = tokio::time::timeout(wait, answered).await;
    drop(waiting);
    match answered {
        Ok(Ok(Ok(chunks))) => Ok(stream::unfold(chunks, |mut chunks| async { chunks.recv().await.map(|chunk| (chunk, chunks)) })),
        Ok(Ok(Err(problem))) => Err(LogError::Problem(problem)),
        Ok(Err(_)) | Err(_) => Err(LogError::NoAnswer),
    }
}

/// `POST /agent/v1/logs/{request_id}`
pub async fn answer(
    State(context): State<Arc<Context>>,
    Peer(instance): Peer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let nobody = || Refusal::new(AgentErrorCode::NotFound, "nobody waits for this output");
    let open = context.agents.logs.take(&id, Some(&instance.id)).ok_or_else(nobody)?;
    if let Some(problem) = headers.get(LOG_PROBLEM_HEADER) {
        let problem = String::from_utf8_lossy(problem.as_bytes()).chars().take(PROBLEM_CHARS_MAX).collect();
        open.answer.send(Err(problem)).map_err(|_| nobody())?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    open.answer.send(Ok(chunks)).map_err(|_| nobody())?;
    pump(body, sender, context.agents.stopping()).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Until the agent has no more, the reader goes away, or the server stops.
async fn pump(body: Body, sender: mpsc::Sender<Bytes>, stopping: CancellationToken) {
    let mut body = body.into_data_stream();
    loop {
        let chunk = tokio::select! {
            // Cancel-safe: the reader is gone for good.
            () = sender.closed() => return,
            // Cancel-safe per docs of CancellationToken.
            () = stopping.cancelled() => return,
            // Cancel-safe per docs of StreamExt::next.
            chunk = body.next() => chunk,
        };
        match chunk {
            Some(Ok(chunk)) => {
                if sender.send(chunk).await.is_err() {
                    return;
                }
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the output of a container was cut off");
                return;
            }
            None => return,
        }
    }
}
