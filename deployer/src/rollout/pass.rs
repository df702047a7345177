//! One pass over the services: plan and apply for each that may need it.
//!
//! Cheap when nothing happens: two sums tell which services changed since a plan found nothing to do, and only those are read. The
//! memory saves work and nothing else; without it (after a start) every service is looked at once.

use super::apply::{self, Applied};
use super::observe::observe;
use super::observed::{Plan, Profile};
use super::pace::{Pace, STOPS_PER_MINUTE_MAX};
use super::plan::plan;
use crate::context::Context;
use crate::store;
use model::Timestamp;
use model::ids::TaskDefinitionId;
use model::service::Service;
use platform::db::DbError;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

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
    quiet: HashMap<String, Quiet>,
    pub(super) profiles: HashMap<TaskDefinitionId, Profile>,
    pace: Pace,
}

/// A service for which there was nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Quiet {
    sums: Sums,
    until: Option<Timestamp>,
}

/// Equal sums: service, deployments and tasks are as they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    service_version: i64,
    deployments: i64,
    deployments_changed: i64,
    tasks: i64,
    task_versions: i64,
}

/// Looks at every service that may need it, and writes what its plan says.
pub async fn run(context: &Context, memory: &mut Memory) -> Result<Status, DbError> {
    let now = context.clock.now();
    let work = changed_services(context, memory, now).await?;
    let mut status = Status::default();
    if work.is_empty() {
        wake_in_time(context, memory, now);
        return Ok(status);
    }
    let snapshot = context.identity.snapshot().await.map_err(|error| DbError::Other(error.to_string()))?;
    for (service, sums) in work {
        let id = service.id.clone();
        let mut connection = context.db.read().await?;
        let observed = observe(context, &mut connection, &snapshot, memory, service, now).await?;
        drop(connection);
        let plan = paced(memory, plan(&observed, now), now);
        status.looked_at += 1;
        if plan.steps.is_empty() {
            memory.quiet.insert(id, Quiet { sums, until: plan.again_at });
            continue;
        }
        memory.quiet.remove(&id);
        match apply::apply(context, observed, plan.steps, now).await? {
            Applied::Written => status.changed += 1,
            Applied::Outdated => status.outdated += 1,
        }
    }
    if status.changed + status.outdated > 0 {
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

/// Services that are not known to be quiet, with the sums they have now.
async fn changed_services(context: &Context, memory: &mut Memory, now: Timestamp) -> Result<Vec<(Service, Sums)>, DbError> {
    let mut connection = context.db.read().await?;
    let services = store::services::all_unfinished(&mut connection).await?;
    let deployments = store::deployments::tallies(&mut connection).await?;
    let tasks = store::tasks::tallies(&mut connection).await?;
    drop(connection);
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    for tally in deployments {
        let of = sums.entry(tally.service_id).or_default();
        (of.deployments, of.deployments_changed) = (tally.count, tally.changed);
    }
    for tally in tasks {
        let of = sums.entry(tally.service_id).or_default();
        (of.tasks, of.task_versions) = (tally.count, tally.versions);
    }
    let with_sums = services.into_iter().map(|service| {
        let of = sums.get(&service.id).copied().unwrap_or_default();
        let of = Sums { service_version: service.version, ..of };
        (service, of)
    });
    let all: Vec<_> = with_sums.collect();
    let ids: HashSet<&str> = all.iter().map(|(service, _)| service.id.as_str()).collect();
    memory.quiet.retain(|id, _| ids.contains(id.as_str()));
    let wants = |service: &Service, sums: &Sums| {
        let quiet = memory.quiet.get(&service.id).filter(|quiet| quiet.sums == *sums);
        quiet.is_none_or(|quiet| quiet.until.is_some_and(|until| until <= now))
    };
    Ok(all.into_iter().filter(|(service, sums)| wants(service, sums)).collect())
}

/// The period is a second; what is due earlier gets a wake of its own.
fn wake_in_time(context: &Context, memory: &Memory, now: Timestamp) {
    let next = memory.quiet.values().filter_map(|quiet| quiet.until).filter(|until| *until > now).min();
    let wait = next.map(|until| until.since(now)).filter(|wait| *wait < super::PASS_PERIOD);
    if let Some(wait) = wait {
        let wake = context.rollout_wake.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait + Duration::from_millis(1)).await;
            wake.wake();
        });
    }
}
