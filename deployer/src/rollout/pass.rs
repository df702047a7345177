//! One pass over the services: plan and apply for each that may need it.
//!
//! Cheap when nothing happens, and with many services: `changes` tells which were touched since the last pass, and a plan says when
//! to look again by itself. The memory saves work and nothing else; without it (after a start) every service is looked at once.

use super::apply::{self, Applied};
use super::fleet::Fleet;
use super::observe::observe;
use super::observed::{Plan, Profile};
use super::pace::{Pace, STOPS_PER_MINUTE_MAX};
use super::plan::plan;
use crate::context::Context;
use crate::store;
use identity::Snapshot;
use model::Timestamp;
use model::ids::TaskDefinitionId;
use model::service::ServiceStatus;
use platform::db::DbError;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;

/// Services looked at in one pass; those beyond get the next one, which follows at once.
const SERVICES_MAX: i64 = 200;

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    pub looked_at: usize,
    pub changed: usize,
    /// Plans that were not written, since what they were made from had changed.
    pub outdated: usize,
}

/// What earlier passes found, to save looking again.
#[derive(Debug, Default)]
pub struct Memory {
    /// Services touched by changes up to this one are in `due`, or were looked at since.
    seen: i64,
    /// Services to look at, and from when on.
    due: BTreeMap<String, Timestamp>,
    pub(super) profiles: HashMap<TaskDefinitionId, Profile>,
    pace: Pace,
    pub(super) fleet: Fleet,
}

/// Looks at services that may need it, and writes what their plans say.
pub async fn run(context: &Context, memory: &mut Memory) -> Result<Status, DbError> {
    let now = context.clock.now();
    let more = note_changes(context, memory, now).await?;
    let work: Vec<String> = memory.due.iter().filter(|(_, from)| **from <= now).map(|(id, _)| id.clone()).collect();
    let mut status = Status::default();
    if !work.is_empty() {
        let snapshot = context.identity.snapshot().await.map_err(|error| DbError::Other(error.to_string()))?;
        for id in &work {
            look(context, memory, &snapshot, id, now, &mut status).await?;
        }
    }
    if more || status.changed + status.outdated > 0 {
        // What was written may uncover more, and what was outdated has to be planned again.
        context.rollout_wake.wake();
    }
    wake_in_time(context, memory, now);
    Ok(status)
}

/// The plan with no more stops than this minute has left.
fn paced(memory: &mut Memory, plan: Plan, now: Timestamp) -> Plan {
    let (steps, left_out) = memory.pace.limit(plan.steps, now);
    let mut paced = Plan { steps, ..plan };
    if left_out > 0 {
        tracing::warn!(left_out, "{left_out} stops wait: at most {STOPS_PER_MINUTE_MAX} tasks are stopped per minute");
        paced.look_again(now.plus(super::PASS_PERIOD));
    }
    paced
}

/// Makes the services touched since the last pass due; whether there may be more of them.
async fn note_changes(context: &Context, memory: &mut Memory, now: Timestamp) -> Result<bool, DbError> {
    let mut connection = context.db.read().await?;
    let changes = store::changes::services_after(&mut connection, memory.seen, SERVICES_MAX).await?;
    let full = i64::try_from(changes.len()).is_ok_and(|count| count == SERVICES_MAX);
    for change in changes {
        memory.seen = change.sequence;
        memory.due.insert(change.id, now);
    }
    Ok(full)
}

/// Plans one service. It stays due until that went well.
async fn look(
    context: &Context,
    memory: &mut Memory,
    snapshot: &Snapshot,
    id: &str,
    now: Timestamp,
    status: &mut Status,
) -> Result<(), DbError> {
    let began = Instant::now();
    let mut connection = context.db.read().await?;
    let service = store::services::by_id(&mut connection, id).await?;
    let Some(service) = service.filter(|service| service.status != ServiceStatus::Inactive) else {
        memory.due.remove(id);
        return Ok(());
    };
    let observed = observe(context, &mut connection, snapshot, memory, service, now).await?;
    drop(connection);
    let plan = paced(memory, plan(&observed, now), now);
    context.metrics.plan.observe(began.elapsed().as_secs_f64());
    status.looked_at += 1;
    if plan.steps.is_empty() {
        match plan.again_at {
            Some(again_at) => memory.due.insert(id.to_owned(), again_at),
            None => memory.due.remove(id),
        };
        return Ok(());
    }
    let began = Instant::now();
    match apply::apply(context, observed, plan.steps, now).await? {
        Applied::Written => status.changed += 1,
        Applied::Outdated => status.outdated += 1,
    }
    context.metrics.apply.observe(began.elapsed().as_secs_f64());
    Ok(())
}

/// The period is a second; what is due earlier gets a wake of its own.
fn wake_in_time(context: &Context, memory: &Memory, now: Timestamp) {
    let next = memory.due.values().filter(|from| **from > now).min();
    let wait = next.map(|from| from.since(now)).filter(|wait| *wait < super::PASS_PERIOD);
    if let Some(wait) = wait {
        let wake = context.rollout_wake.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait + Duration::from_millis(1)).await;
            wake.wake();
        });
    }
}
