//! The long poll: answers when there is news for the instance, at the latest after one heartbeat.
//!
//! An open poll is woken by commits of this process that concern its instance, and looks every second where other processes write
//! too. The answer is a heartbeat as well: an agent that polls is heard.

use super::certificate::Peer;
use super::error::Refusal;
use super::orders::{self, News};
use crate::context::Context;
use crate::store;
use api::agent::{AgentErrorCode, LogRequest, POLL_SECS_MAX, PollRequest, PollResponse, TaskOrder};
use axum::Json;
use axum::extract::State;
use model::ids::{InstanceId, TaskId};
use platform::db::{DbError, Tx};
use platform::failpoint;
use std::sync::Arc;
use std::time::Duration;

/// Most tasks an agent may say it knows.
const KNOWN_MAX: usize = 20_000;
/// How often a poll looks again where other servers write to the same database.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// After this long an answer has certainly left the process.
const SENT_AFTER: Duration = Duration::from_millis(100);

/// `POST /agent/v1/poll`
pub async fn poll(
    State(context): State<Arc<Context>>,
    Peer(instance): Peer,
    Json(request): Json<PollRequest>,
) -> Result<Json<PollResponse>, Refusal> {
    if request.known.len() > KNOWN_MAX {
        return Err(Refusal::invalid(format!("at most {KNOWN_MAX} known tasks")));
    }
    if !context.agents.hear(&instance.id, context.clock.now()) {
        return Err(Refusal::new(AgentErrorCode::Register, "register first"));
    }
    let deadline = tokio::time::Instant::now() + context.config.heartbeat.min(Duration::from_secs(POLL_SECS_MAX));
    let mut own = context.agents.subscribe(&instance.id);
    let mut all = context.orders_wake.subscribe();
    let stopping = context.agents.stopping();
    loop {
        let answer = look(&context, &instance.id, &request).await?;
        let now = tokio::time::Instant::now();
        if answer.is_news() || now >= deadline || stopping.is_cancelled() {
            return Ok(Json(answer.into_response(&context)));
        }
        let until = if context.db.is_exclusive() { deadline } else { deadline.min(now + LOOK_PERIOD) };
        tokio::select! {
            // Cancel-safe per docs of watch::Receiver::changed, CancellationToken::cancelled and sleep_until.
            changed = own.changed() => if changed.is_err() {
                return Err(Refusal::new(AgentErrorCode::Revoked, "the instance was removed"));
            },
            _ = all.changed() => {}
            () = stopping.cancelled() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// What one look found.
struct Answer {
    complete: bool,
    tasks: Vec<TaskOrder>,
    settled: Vec<TaskId>,
    unknown: Vec<TaskId>,
    log_requests: Vec<LogRequest>,
}

impl Answer {
    /// Unknown tasks alone are none: the agent learned of them with the complete set and keeps naming them.
    fn is_news(&self) -> bool {
        self.complete || !self.tasks.is_empty() || !self.settled.is_empty() || !self.log_requests.is_empty()
    }

    fn into_response(self, context: &Context) -> PollResponse {
        if !self.tasks.is_empty() {
            tokio::spawn(async {
                tokio::time::sleep(SENT_AFTER).await;
                failpoint::hit("order-sent");
            });
        }
        PollResponse {
            epoch: context.config.epoch,
            lease_ms: millis(context.config.lease),
            heartbeat_ms: millis(context.config.heartbeat),
            complete: self.complete,
            tasks: self.tasks,
            settled: self.settled,
            unknown: self.unknown,
            log_requests: self.log_requests,
        }
    }
}

async fn look(context: &Context, instance: &InstanceId, request: &PollRequest) -> Result<Answer, DbError> {
    let mut connection = context.db.read().await?;
    let unsettled = store::tasks::unsettled(&mut connection, instance).await?;
    let News { complete, changed, gone } = orders::news(request, context.config.epoch, &unsettled);
    let (settled, unknown) = split_gone(&mut connection, gone).await?;
    let tasks = orders::read(context, &mut connection, instance, &changed).await?;
    let log_requests = context.agents.logs.for_instance(instance, context.clock.now());
    Ok(Answer { complete, tasks, settled, unknown, log_requests })
}

/// Tells those that are settled from those without a row.
async fn split_gone(tx: &mut Tx, gone: Vec<TaskId>) -> Result<(Vec<TaskId>, Vec<TaskId>), DbError> {
    let (mut settled, mut unknown) = (Vec::new(), Vec::new());
    for id in gone {
        if store::tasks::exists(tx, &id).await? { settled.push(id) } else { unknown.push(id) }
    }
    Ok((settled, unknown))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
