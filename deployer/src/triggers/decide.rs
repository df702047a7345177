//! What becomes of the pushes that nobody has decided yet. Pure.
//!
//! One service at a time, since its triggers share its deployments. The newest push that matches is taken, for a range of versions the
//! highest; what it leaves behind is superseded. Decisions are final but for two: one that waits for approval, which somebody takes or
//! a newer push supersedes, and one that was held, which is decided again when the trigger is resumed.

use super::filter::{Answer, TagFilter, version};
use model::trigger::{Push, TagKind, Trigger};
use model::{Digest, Tag, Timestamp};
use semver::Version;
use std::collections::BTreeMap;
use std::time::Duration;

/// Pushes make at most one deployment of a service in this time. The first push after a pause does not wait.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// A service as its triggers see it.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What its containers run, by name.
    pub running: BTreeMap<String, Running>,
    /// Whether the PRIMARY deployment has failed: what it was to run may be tried again.
    pub failed: bool,
    /// When a push last made a deployment.
    pub last_at: Option<Timestamp>,
    pub triggers: Vec<TriggerView>,
}

/// The image of a container in the PRIMARY deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Absent for an image of another registry.
    pub repository: Option<String>,
    pub digest: Option<Digest>,
    /// The tag it was deployed by, and those that pushes gave it since.
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone)]
pub struct TriggerView {
    pub trigger: Trigger,
    /// Pushes without a decision, or with one that was held, in their order.
    pub open: Vec<Candidate>,
    /// Pushes that wait for approval.
    pub waiting: Vec<Push>,
}

#[derive(Debug, Clone)]
pub struct Candidate {
    pub push: Push,
    /// What who pushed may not do, when that is something that deploying takes.
    pub missing: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Id of the trigger.
    pub trigger: String,
    /// Sequence of the push.
    pub push: i64,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Take,
    /// What it brings runs already.
    Runs,
    /// The tag is none of the trigger's.
    NoMatch(String),
    Skip(String),
    Wait(String),
    Hold(String),
    Supersede {
        by: i64,
    },
}

/// Decisions, and when to decide what had to be left: too soon after the last deployment that is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub decisions: Vec<Decision>,
    pub again_at: Option<Timestamp>,
}

/// What one trigger makes of its pushes.
#[derive(Debug, Default)]
struct Lane {
    decisions: Vec<Decision>,
    /// The push that the container should run as far as this trigger goes: taken, or running already.
    winner: Option<i64>,
}

/// Later pushes rank higher; in a range of versions higher versions do, and of one version the later push.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(Option<Version>, i64);

pub fn decide(view: &View, now: Timestamp) -> Outcome {
    let lanes: Vec<Lane> = view.triggers.iter().map(|trigger| lane(view, trigger)).collect();
    let winners = newest_of_each_container(view, &lanes);
    let mut decisions = Vec::new();
    for (of, lane) in view.triggers.iter().zip(lanes) {
        let winner = winners.get(of.trigger.container.as_str()).copied();
        decisions.extend(lane.decisions.into_iter().map(|decision| settle(decision, winner)));
        decisions.extend(overtaken(of, winner, &decisions));
    }
    let takes = decisions.iter().any(|decision| decision.verdict == Verdict::Take);
    match view.last_at.map(|last| last.plus(INTERVAL)).filter(|at| takes && *at > now) {
        Some(at) => Outcome { decisions: Vec::new(), again_at: Some(at) },
        None => of_one_pusher(view, decisions, now),
    }
}

/// A deployment is on the authority of one pusher: of the newest push that is taken. What others would have deployed at the same
/// time, in other containers, stays undecided until the next deployment.
fn of_one_pusher(view: &View, mut decisions: Vec<Decision>, now: Timestamp) -> Outcome {
    let push = |decision: &Decision| {
        let of = view.triggers.iter().find(|of| of.trigger.id == decision.trigger)?;
        of.open.iter().map(|candidate| &candidate.push).find(|push| push.sequence == decision.push)
    };
    let taken: Vec<(String, &Push)> = decisions
        .iter()
        .filter(|decision| decision.verdict == Verdict::Take)
        .filter_map(|decision| Some((decision.trigger.clone(), push(decision)?)))
        .collect();
    let Some((_, newest)) = taken.iter().max_by_key(|(_, push)| push.sequence) else { return Outcome { decisions, again_at: None } };
    let others = taken.iter().filter(|(_, push)| (&push.principal, &push.scope) != (&newest.principal, &newest.scope));
    let later: Vec<&String> = others.map(|(trigger, _)| trigger).collect();
    let again_at = (!later.is_empty()).then(|| now.plus(INTERVAL));
    decisions.retain(|decision| !later.contains(&&decision.trigger));
    Outcome { decisions, again_at }
}

/// Several triggers may follow for one container: the newest of what they would have it run, with its trigger.
fn newest_of_each_container<'a>(view: &'a View, lanes: &[Lane]) -> BTreeMap<&'a str, (&'a str, i64)> {
    let mut newest: BTreeMap<&str, (&str, i64)> = BTreeMap::new();
    for (of, lane) in view.triggers.iter().zip(lanes) {
        let Some(push) = lane.winner else { continue };
        let mine = (of.trigger.id.as_str(), push);
        let best = newest.entry(of.trigger.container.as_str()).or_insert(mine);
        if push > best.1 {
            *best = mine;
        }
    }
    newest
}

/// A push that its trigger would take, or let wait, gives way to that of another trigger of the same container.
fn settle(decision: Decision, winner: Option<(&str, i64)>) -> Decision {
    let verdict = match (decision.verdict, winner) {
        (Verdict::Take, Some((trigger, by))) if trigger != decision.trigger => {
            if by == decision.push {
                Verdict::Skip(format!("trigger {trigger} follows this push already"))
            } else {
                Verdict::Supersede { by }
            }
        }
        (Verdict::Wait(_), Some((trigger, by))) if trigger != decision.trigger && by > decision.push => Verdict::Supersede { by },
        (verdict, _) => verdict,
    };
    Decision { verdict, ..decision }
}

/// What waits and is older than what another trigger of the container follows.
fn overtaken(of: &TriggerView, winner: Option<(&str, i64)>, decided: &[Decision]) -> Vec<Decision> {
    let Some((_, by)) = winner.filter(|(trigger, _)| *trigger != of.trigger.id) else { return Vec::new() };
    let is_decided = |push: &Push| decided.iter().any(|decision| decision.trigger == of.trigger.id && decision.push == push.sequence);
    let older = of.waiting.iter().filter(|push| push.sequence < by && !is_decided(push));
    older.map(|push| decision(&of.trigger, push, Verdict::Supersede { by })).collect()
}

fn decision(trigger: &Trigger, push: &Push, verdict: Verdict) -> Decision {
    Decision { trigger: trigger.id.clone(), push: push.sequence, verdict }
}

fn lane(view: &View, of: &TriggerView) -> Lane {
    let trigger = &of.trigger;
    let mut lane = Lane::default();
    let mut candidates = Vec::new();
    let filter = TagFilter::new(&trigger.tag, &trigger.exclude);
    for candidate in &of.open {
        let verdict = match filter.as_ref().map(|filter| filter.test(&candidate.push.tag)) {
            Err(error) => Err(Verdict::Skip(error.to_string())),
            Ok(Answer::No(why)) => Err(Verdict::NoMatch(why)),
            Ok(Answer::Match(version)) => stays(view, trigger, &candidate.push, version.as_ref()).map(|()| version),
        };
        match verdict {
            Ok(version) => candidates.push((Rank(version, candidate.push.sequence), candidate)),
            Err(verdict) => lane.decisions.push(decision(trigger, &candidate.push, verdict)),
        }
    }
    candidates.sort_by(|a, b| a.0.cmp(&b.0));
    rank(view, of, &candidates, &mut lane);
    lane
}

/// Whether a push that matches can be deployed at all.
fn stays(view: &View, trigger: &Trigger, push: &Push, version: Option<&Version>) -> Result<(), Verdict> {
    if let Some(hold) = &trigger.held {
        let before = push.sequence <= hold.push;
        let skip = || Verdict::Skip(format!("the trigger was held after this push: {}", hold.reason));
        return Err(if before { skip() } else { Verdict::Hold(hold.reason.clone()) });
    }
    let Some(running) = view.running.get(&trigger.container) else {
        return Err(Verdict::Skip(format!("the service runs no container {}", trigger.container)));
    };
    match (version, floor(trigger, running)) {
        (Some(version), Some(floor)) if *version < floor => {
            Err(Verdict::Skip(format!("version {version} is lower than {floor}, which the service runs")))
        }
        _ => Ok(()),
    }
}

/// The version below which a range of versions never goes.
fn floor(trigger: &Trigger, running: &Running) -> Option<Version> {
    let same = running.repository.as_deref() == Some(trigger.repository.as_str());
    running.tags.iter().filter(|_| same && trigger.tag.kind == TagKind::Semver).filter_map(version).max()
}

/// Takes the highest push of somebody who may deploy, and lets the highest one above it wait. The others are superseded.
fn rank(view: &View, of: &TriggerView, candidates: &[(Rank, &Candidate)], lane: &mut Lane) {
    let trigger = &of.trigger;
    let mut say = |push: &Push, verdict| lane.decisions.push(decision(trigger, push, verdict));
    let runs = |push: &Push| !view.failed && is_running(view, trigger, push);
    let winner = candidates.iter().rposition(|(_, candidate)| candidate.missing.is_none());
    let mut taken = None;
    if let Some(Candidate { push, .. }) = winner.map(|at| candidates[at].1) {
        taken = Some(push).filter(|push| !runs(push));
        say(push, if taken.is_some() { Verdict::Take } else { Verdict::Runs });
        lane.winner = Some(push.sequence);
    }
    let above = candidates.len().checked_sub(1).filter(|last| winner.is_none_or(|winner| *last > winner));
    if let Some(Candidate { push, missing }) = above.map(|at| candidates[at].1) {
        let runs = taken.map_or_else(|| runs(push), |taken| taken.digest == push.digest);
        say(push, if runs { Verdict::Runs } else { Verdict::Wait(missing.clone().unwrap_or_default()) });
    }
    let marks: Vec<usize> = winner.into_iter().chain(above).collect();
    for (at, (_, candidate)) in candidates.iter().enumerate() {
        let next = marks.iter().find(|mark| **mark >= at).filter(|mark| **mark > at);
        if let Some(mark) = next {
            say(&candidate.push, Verdict::Supersede { by: candidates[*mark].1.push.sequence });
        }
    }
    for push in &of.waiting {
        let mine = Rank(version(&push.tag).filter(|_| trigger.tag.kind == TagKind::Semver), push.sequence);
        if let Some((_, candidate)) = marks.last().map(|mark| &candidates[*mark]).filter(|(rank, _)| *rank > mine) {
            say(push, Verdict::Supersede { by: candidate.push.sequence });
        }
    }
}

fn is_running(view: &View, trigger: &Trigger, push: &Push) -> bool {
    view.running.get(&trigger.container).is_some_and(|running| {
        running.repository.as_deref() == Some(push.repository.as_str()) && running.digest.as_ref() == Some(&push.digest)
    })
}

#[cfg(test)]
mod tests;
