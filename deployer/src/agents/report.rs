//! Takes what an agent observed. Never refused because a task is unknown; written only where it says something new.

use super::certificate::Peer;
use super::error::Refusal;
use super::join::event;
use super::merge::merge;
use crate::context::Context;
use crate::rollout::backoff::{self, End};
use crate::rollout::failures;
use crate::store::unknown::UnknownRow;
use crate::{store, task_events};
use api::agent::{LOG_TAIL_BYTES_MAX, LogTail, REPORTS_MAX, ReportRequest, ReportResponse, TaskReport, UnknownContainer};
use axum::Json;
use axum::extract::State;
use model::Timestamp;
use model::instance::Instance;
use model::task::{Task, TaskStatus};
use platform::db::{DbError, Tx};
use platform::events;
use std::sync::Arc;
use std::time::Duration;

/// Unknown containers kept of one instance; further ones are left out.
const UNKNOWN_MAX: usize = 2_000;

/// What a report changed.
#[derive(Debug, Clone, Copy, Default)]
struct Changes {
    tasks: usize,
    settled: usize,
}

/// What one report made of its task.
struct Written {
    after: Task,
    /// Whether people see a difference.
    seen: bool,
}

/// `POST /agent/v1/report`
pub async fn report(
    State(context): State<Arc<Context>>,
    Peer(instance): Peer,
    Json(request): Json<ReportRequest>,
) -> Result<Json<ReportResponse>, Refusal> {
    if request.tasks.len() > REPORTS_MAX {
        return Err(Refusal::invalid(format!("at most {REPORTS_MAX} tasks in one report")));
    }
    let (now, healthy_after, id) = (context.clock.now(), context.config.healthy_after, instance.id.clone());
    context.agents.hear(&id, now);
    let (instance, request) = (Arc::new(instance), Arc::new(request));
    let changes = context
        .db
        .write(move |tx| {
            let (instance, request) = (instance.clone(), request.clone());
            Box::pin(async move { write(tx, &instance, &request, now, healthy_after).await })
        })
        .await?;
    if changes.tasks > 0 {
        context.rollout_wake.wake();
    }
    if changes.settled > 0 {
        context.agents.wake(&id);
    }
    Ok(Json(ReportResponse { epoch: context.config.epoch }))
}

async fn write(
    tx: &mut Tx,
    instance: &Instance,
    request: &ReportRequest,
    now: Timestamp,
    healthy_after: Duration,
) -> Result<Changes, DbError> {
    let mut changes = Changes::default();
    let mut seen = Vec::new();
    for report in &request.tasks {
        let Some(written) = write_task(tx, instance, report, now, healthy_after).await? else { continue };
        changes.tasks += 1;
        changes.settled += usize::from(written.after.last_status == TaskStatus::Stopped);
        seen.extend(written.seen.then_some(written.after));
    }
    task_events::append(tx, now, &seen).await?;
    write_unknown(tx, instance, &request.unknown, now).await?;
    Ok(changes)
}

/// What the task is now; nothing when that is not news.
async fn write_task(
    tx: &mut Tx,
    instance: &Instance,
    report: &TaskReport,
    now: Timestamp,
    healthy_after: Duration,
) -> Result<Option<Written>, DbError> {
    let task = store::tasks::get(tx, &report.task_id).await?;
    // Another instance's task is none of this agent's business.
    let Some(before) = task.filter(|task| task.instance_id.as_ref() == Some(&instance.id)) else { return Ok(None) };
    let after = merge(&before, report, now);
    if after == before {
        return Ok(None);
    }
    if !store::tasks::update_observed(tx, &after).await? {
        return Err(DbError::Conflict);
    }
    let settled = after.last_status == TaskStatus::Stopped;
    let ordered = backoff::was_ordered(&before);
    if before.healthy_at.is_none() && after.healthy_at.is_some() {
        failures::proven(tx, &after, now).await?;
    }
    // Counted as soon as it leaves, so that the wait stands before the planner thinks of a replacement.
    if before.last_status <= TaskStatus::Running && after.last_status > TaskStatus::Running {
        let end = if ordered { End::Ordered } else { End::Itself };
        failures::record(tx, &after, end, now, healthy_after).await?;
    }
    if settled && !ordered {
        failures::say(tx, &after, now).await?;
    }
    if settled {
        write_tails(tx, &after, &report.log_tails).await?;
    }
    Ok(Some(Written { seen: task_events::differ(&before, &after), after }))
}

/// The last lines of the task's containers, as far as they are within what was agreed.
async fn write_tails(tx: &mut Tx, task: &Task, tails: &[LogTail]) -> Result<(), DbError> {
    let mut bytes = 0;
    for tail in tails.iter().filter(|tail| task.containers.iter().any(|container| container.name == tail.container)) {
        bytes += tail.text.len();
        if bytes > LOG_TAIL_BYTES_MAX {
            return Ok(());
        }
        // PostgreSQL keeps no text with zero bytes.
        let content = tail.text.replace('\0', "\u{fffd}");
        store::log_tails::put(tx, &task.id, &store::log_tails::LogTail { container: tail.container.clone(), content }).await?;
    }
    Ok(())
}

async fn write_unknown(tx: &mut Tx, instance: &Instance, unknown: &[UnknownContainer], now: Timestamp) -> Result<(), DbError> {
    let had = store::unknown::any_of(tx, &instance.id).await?;
    if unknown.is_empty() && !had {
        return Ok(());
    }
    let row = |container: &UnknownContainer| UnknownRow {
        instance_id: instance.id.clone(),
        runtime_id: cut(&container.runtime_id),
        name: cut(&container.name),
        task_id: container.task_id.clone(),
        image: cut(&container.image),
        status: cut(&container.status),
        seen_at: now,
    };
    let rows: Vec<UnknownRow> = unknown.iter().take(UNKNOWN_MAX).map(row).collect();
    store::unknown::replace(tx, &instance.id, &rows).await?;
    if !had {
        let message = format!("instance {} ({}) runs {} containers that no task here explains", instance.id, instance.name, rows.len());
        events::append(tx, now, event(instance, "instance.unknown-containers", message)).await?;
    }
    Ok(())
}

/// At most 512 characters of what a host calls its things.
fn cut(text: &str) -> String {
    text.chars().take(512).collect()
}
