//! The intake of pushes: asks the tables which of them have no decision for a trigger yet, and decides.
//!
//! A background task: no input, woken by the registry and by whoever resumes a trigger, and on a period as well. What a service's
//! triggers see, the decisions and the deployment they make are one transaction. There is no high-water mark: a push counts as decided
//! when its decision is on record and not before. What is remembered from pass to pass saves work and nothing else: after a start, and
//! once a minute, all pushes are looked at.

use super::decide::{self, Decision, Outcome, Verdict};
use super::deploy;
use super::record::{self, Brought};
use super::revision::{self, Replacement};
use super::view::{self, Current};
use crate::context::Context;
use crate::store;
use identity::Snapshot;
use model::Timestamp;
use model::service::{Cause, CauseKind, ServiceDeployment};
use model::trigger::{DecisionStatus, Push, Trigger, TriggerDecision};
use platform::db::{DbError, Tx};
use platform::exchange;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// All pushes are looked at this often, not only those since nothing was undecided.
const WHOLE_LOOK_PERIOD: Duration = Duration::from_mins(1);

/// Attempts of a service that are looked through for the one that brought what runs.
const ATTEMPTS_MAX: i64 = 100;

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    pub services: usize,
    pub decisions: usize,
    pub deployments: usize,
}

/// What earlier passes found, to save looking again. Pushes are numbered from a row that stays locked until their commit, so none that is
/// numbered lower can appear later.
#[derive(Debug, Default)]
pub struct Memory {
    /// The push up to which nothing was undecided.
    quiet: i64,
    /// When all pushes were looked at.
    whole_at: Option<Timestamp>,
}

/// What was done for one service.
#[derive(Debug, Default)]
struct Done {
    decisions: usize,
    deployed: bool,
    again_at: Option<Timestamp>,
}

/// Decides every push that has no decision for a trigger yet.
pub async fn run(context: &Arc<Context>, memory: &mut Memory) -> Result<Status, DbError> {
    let now = context.clock.now();
    let whole = memory.whole_at.is_none_or(|at| now.since(at) >= WHOLE_LOOK_PERIOD);
    let after = if whole { 0 } else { memory.quiet };
    let mut connection = context.db.read().await?;
    let last = exchange::last_push(&mut connection).await?;
    let mut services: BTreeSet<String> = store::decisions::services_with_released(&mut connection).await?.into_iter().collect();
    if whole || last != memory.quiet {
        let undecided = store::decisions::services_with_undecided(&mut connection, after).await?;
        if undecided.is_empty() {
            *memory = Memory { quiet: last, whole_at: if whole { Some(now) } else { memory.whole_at } };
        }
        services.extend(undecided);
    }
    drop(connection);
    let mut status = Status::default();
    if services.is_empty() {
        return Ok(status);
    }
    let snapshot = context.identity.snapshot().await.map_err(|error| DbError::Other(error.to_string()))?;
    let mut again_at = None;
    for service_id in services {
        // One service that cannot be decided must not keep the others waiting.
        match decide_service(context, &snapshot, &service_id, after, now).await {
            Ok(done) => {
                status.services += 1;
                status.decisions += done.decisions;
                status.deployments += usize::from(done.deployed);
                again_at = again_at.into_iter().chain(done.again_at).min();
            }
            Err(error) => tracing::error!(service.id = %service_id, %error, "deciding the pushes of a service failed"),
        }
    }
    if status.deployments > 0 {
        context.rollout_wake.wake();
    }
    if let Some(at) = again_at {
        wake_later(context, at.since(now));
    }
    Ok(status)
}

fn wake_later(context: &Context, wait: Duration) {
    let wake = context.intake_wake.clone();
    tokio::spawn(async move {
        tokio::time::sleep(wait + Duration::from_millis(1)).await;
        wake.wake();
    });
}

async fn decide_service(
    context: &Arc<Context>,
    snapshot: &Arc<Snapshot>,
    service_id: &str,
    after: i64,
    now: Timestamp,
) -> Result<Done, DbError> {
    let (host, snapshot, service_id) = (context.config.image_host.clone(), snapshot.clone(), service_id.to_owned());
    let write = context.db.write(move |tx| {
        let (host, snapshot, service_id) = (host.clone(), snapshot.clone(), service_id.clone());
        Box::pin(async move {
            let service = store::services::by_id(tx, &service_id).await?;
            let Some(current) = Current::load(tx, service).await? else { return Ok(Done::default()) };
            let view = view::view(tx, &snapshot, &current, after).await?;
            let outcome = decide::decide(&view, now);
            write(tx, current, &view, &outcome, &host, now).await
        })
    });
    write.await
}

/// A decision with what it is about.
struct Subject<'a> {
    decision: &'a Decision,
    trigger: &'a Trigger,
    push: &'a Push,
}

async fn write(tx: &mut Tx, current: Current, view: &decide::View, outcome: &Outcome, host: &str, now: Timestamp) -> Result<Done, DbError> {
    let subjects: Vec<Subject> = outcome.decisions.iter().filter_map(|decision| subject(view, decision)).collect();
    let ran = running(tx, &current).await?;
    let begun = deploy(tx, current, &subjects, host, now).await?.map(Brought::from);
    for subject in &subjects {
        let deployment = match subject.decision.verdict {
            Verdict::Take => begun.clone(),
            Verdict::Runs => begun.clone().or_else(|| Some(ran.clone())),
            _ => None,
        };
        let quiet = matches!(subject.decision.verdict, Verdict::NoMatch(_));
        record::write(tx, row(subject, deployment, now), None, quiet, now).await?;
    }
    Ok(Done { decisions: subjects.len(), deployed: begun.is_some(), again_at: outcome.again_at })
}

/// What the service runs, and the attempt that brought it.
async fn running(tx: &mut Tx, current: &Current) -> Result<Brought, DbError> {
    let primary = &current.primary;
    let attempts = store::service_deployments::of_service(tx, &current.service.id, ATTEMPTS_MAX).await?;
    let attempt = attempts.into_iter().find(|attempt| attempt.target == primary.id).map(|attempt| attempt.id);
    Ok(Brought { deployment: primary.id.clone(), attempt, task_definition: primary.task_definition.clone() })
}

fn subject<'a>(view: &'a decide::View, decision: &'a Decision) -> Option<Subject<'a>> {
    let of = view.triggers.iter().find(|of| of.trigger.id == decision.trigger)?;
    let mut pushes = of.open.iter().map(|candidate| &candidate.push).chain(&of.waiting);
    let push = pushes.find(|push| push.sequence == decision.push)?;
    Some(Subject { decision, trigger: &of.trigger, push })
}

/// One deployment with everything that is taken.
async fn deploy(
    tx: &mut Tx,
    current: Current,
    subjects: &[Subject<'_>],
    host: &str,
    now: Timestamp,
) -> Result<Option<ServiceDeployment>, DbError> {
    let taken: Vec<&Subject> = subjects.iter().filter(|subject| subject.decision.verdict == Verdict::Take).collect();
    let Some(newest) = taken.iter().max_by_key(|subject| subject.push.sequence) else { return Ok(None) };
    let cause = Cause {
        kind: CauseKind::Trigger,
        principal: newest.push.principal.clone(),
        trigger: Some(newest.trigger.id.clone()),
        push: Some(newest.push.sequence),
    };
    let replacements: Vec<Replacement> =
        taken.iter().map(|subject| Replacement { container: &subject.trigger.container, push: subject.push }).collect();
    let Current { mut service, primary, registered } = current;
    let revision = revision::copy(&registered, &primary.images, &replacements, host, &cause.principal, now)
        .map_err(|error| DbError::Other(error.to_string()))?;
    deploy::register(tx, &mut service, revision, &cause, now).await.map(Some)
}

fn row(subject: &Subject<'_>, deployment: Option<Brought>, now: Timestamp) -> TriggerDecision {
    let (status, reason, superseded_by) = match subject.decision.verdict.clone() {
        Verdict::Take => (DecisionStatus::Taken, String::new(), None),
        Verdict::Runs => (DecisionStatus::Skipped, record::RUNS_ALREADY.to_owned(), None),
        Verdict::NoMatch(why) | Verdict::Skip(why) => (DecisionStatus::Skipped, why, None),
        Verdict::Wait(why) => (DecisionStatus::Waiting, why, None),
        Verdict::Hold(why) => (DecisionStatus::Held, why, None),
        Verdict::Supersede { by } => (DecisionStatus::Superseded, String::new(), Some(by)),
    };
    let row = record::row(subject.trigger, subject.push, status, reason, now);
    let row = TriggerDecision { superseded_by, ..row };
    match deployment {
        Some(deployment) => record::with_deployment(row, deployment),
        None => row,
    }
}
