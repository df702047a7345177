//! The line between an agent and the server: real messages, carried as the network's chance decides. What was sent is on its way,
//! whatever becomes of the sender.

use crate::arena::Arena;
use crate::network::{Fate, Loss};
use crate::server::HEARTBEAT;
use agent::client::{ClientError, Code, Refusal, Server};
use api::agent::{AgentErrorCode, PollRequest, PollResponse, RegisterRequest, RegisterResponse, ReportRequest, ReportResponse};
use model::task::DesiredStatus;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Longest an agent waits for an answer, as in its HTTP client.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_TIMEOUT: Duration = Duration::from_secs(25);

#[derive(Clone)]
pub struct Link {
    arena: Arc<Arena>,
    host: usize,
    /// Cancelled when the agent dies, and its connections with it.
    hung_up: CancellationToken,
}

/// What the server said; nothing when the connection broke.
type Said = Result<Vec<u8>, Option<AgentErrorCode>>;

impl Link {
    pub fn new(arena: Arc<Arena>, host: usize, hung_up: CancellationToken) -> Self {
        Self { arena, host, hung_up }
    }

    async fn exchange<T: DeserializeOwned>(&self, path: &'static str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Malformed(error.to_string()))?;
        let fate = self.arena.fate();
        let (reply, answer) = oneshot::channel();
        tokio::spawn(self.clone().carry(path, body, fate, reply));
        let limit = if path == "poll" { POLL_TIMEOUT } else { CALL_TIMEOUT };
        let said = timeout(limit, answer).await.ok().and_then(Result::ok).unwrap_or(Err(None));
        match said {
            Ok(body) => serde_json::from_slice(&body).map_err(|error| ClientError::Malformed(error.to_string())),
            Err(Some(code)) => Err(ClientError::Refused(Refusal { code: Code(code), message: "refused".into() })),
            Err(None) => Err(ClientError::Status { status: 503 }),
        }
    }

    async fn carry(self, path: &'static str, body: Vec<u8>, fate: Fate, reply: oneshot::Sender<Said>) {
        sleep(fate.there).await;
        if self.arena.cut(self.host).stops_requests() || fate.lost == Loss::SilentThere {
            return silence(reply).await;
        }
        if fate.lost == Loss::There {
            return;
        }
        if let Some(wait) = fate.again.filter(|_| path != "poll") {
            let (link, body) = (self.clone(), body.clone());
            tokio::spawn(async move {
                sleep(wait).await;
                // Nobody waits for the second answer.
                let _ = link.arrive("again", path, body);
            });
        }
        let said = if path == "poll" { self.hold(body).await } else { Some(self.arrive("", path, body)) };
        sleep(fate.back).await;
        match said {
            Some(said) if !self.arena.cut(self.host).stops_answers() => match fate.lost {
                Loss::Back => {}
                Loss::SilentBack => silence(reply).await,
                _ => {
                    let _ = reply.send(said);
                }
            },
            _ => silence(reply).await,
        }
    }

    /// A request arrives.
    fn arrive(&self, how: &str, path: &'static str, body: Vec<u8>) -> Said {
        let body = if path == "register" { without_ports(&body) } else { body };
        let certificate = self.arena.members[self.host].certificate.clone();
        let said = self.arena.ask(false, move |runtime, machine| runtime.block_on(machine.agent(Some(&certificate), path, body)));
        if path != "poll" || said.is_err() {
            let outcome = match &said {
                Ok(_) => "ok".to_owned(),
                Err(code) => format!("{code:?}"),
            };
            self.arena.say(&format!("host-{} {path} {how} {outcome}", self.host));
        }
        said
    }

    /// A long poll: asked again whenever something changed, until there is news or the heartbeat is over. Nothing when the connection
    /// is gone.
    async fn hold(&self, body: Vec<u8>) -> Option<Said> {
        let deadline = Instant::now() + HEARTBEAT;
        let process = self.arena.process.load(Ordering::Relaxed);
        loop {
            // Made before the look: what comes after it is not missed.
            let news = self.arena.news[self.host].notified();
            let said = match self.arrive("", "poll", body.clone()) {
                Ok(answer) => answer,
                refused => return Some(refused),
            };
            let mut answer: PollResponse = serde_json::from_slice(&said).ok()?;
            if is_news(&answer) || Instant::now() >= deadline {
                return Some(Ok(self.answer(&mut answer)));
            }
            tokio::select! {
                biased;
                () = self.hung_up.cancelled() => return None,
                () = news => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            if self.arena.process.load(Ordering::Relaxed) != process {
                return Some(Err(None));
            }
            if self.arena.cut(self.host).stops_requests() {
                return None;
            }
        }
    }

    fn answer(&self, answer: &mut PollResponse) -> Vec<u8> {
        answer.heartbeat_ms = u64::try_from(HEARTBEAT.as_millis()).unwrap_or(u64::MAX);
        let body = serde_json::to_vec(answer).unwrap_or_default();
        if let Some(lie) = self.arena.lie(self.host, answer) {
            return lie;
        }
        let stops = answer.tasks.iter().filter(|order| order.desired_status == DesiredStatus::Stopped);
        let stops: Vec<_> = stops.map(|order| order.task_id.clone()).collect();
        let text = format!(
            "host-{} poll epoch {} complete {} tasks {} settled {} unknown {}",
            self.host,
            answer.epoch,
            answer.complete,
            answer.tasks.len(),
            answer.settled.len(),
            answer.unknown.len()
        );
        self.arena.say(&text);
        let now = self.arena.now();
        let mut state = self.arena.state();
        state.oracle.told(&stops, &answer.settled, now);
        drop(state);
        if !answer.tasks.is_empty() {
            self.arena.keep_answer(self.host, answer.epoch, &body);
        }
        body
    }
}

fn is_news(answer: &PollResponse) -> bool {
    answer.complete || !answer.tasks.is_empty() || !answer.settled.is_empty() || !answer.log_requests.is_empty()
}

/// The agent hears nothing until it gives up.
async fn silence(reply: oneshot::Sender<Said>) {
    sleep(POLL_TIMEOUT).await;
    drop(reply);
}

/// Ports that this very machine has in use are not part of the simulated one.
fn without_ports(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<RegisterRequest>(body) {
        Ok(request) => serde_json::to_vec(&RegisterRequest { reserved_ports: Vec::new(), ..request }).unwrap_or_default(),
        Err(_) => body.to_vec(),
    }
}

impl Server for Link {
    async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, ClientError> {
        self.exchange("register", request).await
    }

    async fn poll(&self, request: &PollRequest) -> Result<PollResponse, ClientError> {
        self.arena.obeys(self.host, request.epoch);
        self.exchange("poll", request).await
    }

    async fn report(&self, request: &ReportRequest) -> Result<ReportResponse, ClientError> {
        self.exchange("report", request).await
    }
}
