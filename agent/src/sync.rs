//! The conversation with the server: register, then poll for as long as the agent runs. Orders go to the engine, which keeps them.
//!
//! Losing the server changes nothing on this host. The pause before the next attempt grows from a tenth of a second to two seconds,
//! with jitter; a server that revoked the certificate or does not know this instance is asked again only now and then.

use crate::client::{ClientError, Server};
use crate::config::{AgentConfig, REVOKED_RETRY};
use crate::engine::Engine;
use crate::facts;
use crate::random;
use crate::runtime::Runtime;
use api::agent::{AgentErrorCode, LogRequest, PollRequest, PollResponse, RegisterResponse};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause between attempts to reach the server: a host that was cut off is to be back soon after its link is.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A server that answers at once with nothing is not asked again at once.
const IDLE_POLL_MIN: Duration = Duration::from_millis(50);
/// Bounds of the heartbeat a server may ask for.
const HEARTBEAT_MS_MIN: u64 = 100;
const HEARTBEAT_MS_MAX: u64 = 60_000;

/// Why the conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// There is a newer certificate to go on with.
    Renewed,
    /// The server does not take this certificate any more, and there is a join token to try.
    Rejoin,
    /// The server is another control plane than the one joined, behind the same authority.
    OtherControlPlane(String),
}

/// What the conversation is about.
pub struct Sync<R, S> {
    pub config: AgentConfig,
    pub control_plane: String,
    pub engine: Arc<Engine<R>>,
    pub server: S,
    /// Whether a join token is at hand that was not used yet.
    pub can_rejoin: bool,
}

enum Next {
    Register,
    End(Ended),
}

impl<R: Runtime, S: Server> Sync<R, S> {
    /// Talks until aborted, or until another membership is needed. `on_logs` is called for people who wait for logs.
    pub async fn run(&self, on_logs: impl Fn(LogRequest)) -> Ended {
        loop {
            if let Err(ended) = self.register().await {
                return ended;
            }
            match self.poll(&on_logs).await {
                Next::Register => {}
                Next::End(ended) => return ended,
            }
        }
    }

    /// Registers, however long that takes.
    async fn register(&self) -> Result<(), Ended> {
        let mut retry = RETRY_MIN;
        loop {
            match self.try_register().await {
                Ok(answer) if answer.control_plane_id != self.control_plane => {
                    return Err(Ended::OtherControlPlane(answer.control_plane_id));
                }
                Ok(answer) => {
                    tracing::info!(instance.arn = answer.instance_arn, cluster = answer.cluster, "registered as {}", answer.instance_arn);
                    self.engine.set_image_host(&answer.image_host);
                    self.engine.report_all();
                    return Ok(());
                }
                Err(problem) => self.pause_after(&problem, &mut retry, RETRY_MAX).await?,
            }
        }
    }

    async fn try_register(&self) -> Result<RegisterResponse, Problem> {
        let engine = self.engine.runtime().info().await.map_err(|error| Problem::Docker(error.to_string()))?;
        let facts = facts::registration(&self.config, &engine, &self.engine.own_ports());
        Ok(self.server.register(&facts).await?)
    }

    /// Polls until the server asks for a registration.
    async fn poll(&self, on_logs: &impl Fn(LogRequest)) -> Next {
        // Epoch 0: the server answers at once, with everything.
        let (mut epoch, mut retry, mut retry_max) = (0, RETRY_MIN, RETRY_MAX);
        loop {
            let request = PollRequest { epoch, known: self.engine.known() };
            let begun = Instant::now();
            match self.server.poll(&request).await {
                Ok(answer) => {
                    let is_empty = answer.tasks.is_empty() && answer.settled.is_empty() && answer.log_requests.is_empty();
                    retry_max = Duration::from_millis(answer.heartbeat_ms.clamp(HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX));
                    match self.take(answer, on_logs) {
                        Some(heard) => (epoch, retry) = (heard, RETRY_MIN),
                        None => tokio::time::sleep(random::jitter(retry_max)).await,
                    }
                    if is_empty && begun.elapsed() < IDLE_POLL_MIN {
                        tokio::time::sleep(IDLE_POLL_MIN).await;
                    }
                }
                Err(error) if error.code() == Some(AgentErrorCode::Register) => return Next::Register,
                Err(error) => {
                    if let Err(ended) = self.pause_after(&error.into(), &mut retry, retry_max.min(RETRY_MAX)).await {
                        return Next::End(ended);
                    }
                }
            }
        }
    }

    /// Hands an answer to the engine; its epoch, unless it came from a server that has been replaced.
    fn take(&self, answer: PollResponse, on_logs: &impl Fn(LogRequest)) -> Option<i64> {
        if let Err(stale) = self.engine.take(&answer) {
            tracing::error!("{stale}");
            return None;
        }
        answer.log_requests.into_iter().for_each(on_logs);
        Some(answer.epoch)
    }

    async fn pause_after(&self, problem: &Problem, retry: &mut Duration, retry_max: Duration) -> Result<(), Ended> {
        match problem.code() {
            Some(AgentErrorCode::Revoked) if self.can_rejoin => return Err(Ended::Rejoin),
            Some(AgentErrorCode::Revoked) => {
                tracing::error!("the server does not take this agent any more; containers are kept: {problem}");
                tokio::time::sleep(random::jitter(REVOKED_RETRY)).await;
                return Ok(());
            }
            _ => {}
        }
        if *retry <= RETRY_MIN {
            tracing::warn!("the server is not there, containers run on: {problem}");
        } else {
            tracing::debug!("the server is still not there: {problem}");
        }
        tokio::time::sleep(random::jitter(*retry)).await;
        *retry = (*retry * 2).min(retry_max);
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Docker(String),
    #[error(transparent)]
    Server(#[from] ClientError),
}

impl Problem {
    fn code(&self) -> Option<AgentErrorCode> {
        if let Self::Server(error) = self { error.code() } else { None }
    }
}

#[cfg(test)]
mod tests;
