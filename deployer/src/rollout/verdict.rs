//! When a deployment has failed, and what follows: it stops starting tasks, or the service goes back to what ran before. Pure.
//!
//! A rollback is never rolled back: when it fails too, nothing starts until somebody updates the service.

use super::observed::{FailedBy, Observed, Step};
use super::{breaker, words};
use model::service::{Deployment, RolloutState, ServiceDeploymentStatus, ServiceStatus};

/// Whether [`decide`] will look at [`Observed::way_back`], so that it is worth reading.
pub fn wants_way_back(observed: &Observed) -> bool {
    observed.primary().is_some_and(|primary| failed_by(observed, primary).is_some())
}

/// What ends the PRIMARY before it is COMPLETED, if anything does.
pub fn decide(observed: &Observed, primary: &Deployment) -> Option<Vec<Step>> {
    let by = failed_by(observed, primary)?;
    let (said, reason) = match by {
        FailedBy::CircuitBreaker => (words::failed(&primary.id), words::FAILED_TO_START),
        FailedBy::Request => (words::stopped_by_request(&primary.id), words::STOP_REQUESTED),
    };
    let reason = reason.to_owned();
    let wanted = by == FailedBy::Request || (observed.service.circuit_breaker.rollback && !is_rolling_back(observed));
    // ECS's own words for it, and the word that ecs-deploy looks for: a rollback can be over between two of its looks.
    let mut said: Vec<String> = (by == FailedBy::CircuitBreaker).then(|| words::IMPAIRED.to_owned()).into_iter().chain([said]).collect();
    let step = if let Some(back) = observed.way_back.as_ref().filter(|_| wanted) {
        said.push(words::rolling_back(&back.id));
        Step::RollBack { to: back.id.clone(), reason, by }
    } else {
        said.extend(wanted.then(|| words::NO_WAY_BACK.to_owned()));
        Step::Fail { reason, by }
    };
    Some(std::iter::once(step).chain(said.into_iter().map(|message| Step::Say { message })).collect())
}

/// The first look at a service deployment is its start.
pub fn begin(observed: &Observed) -> Option<Step> {
    (observed.under_way.as_ref()?.status == ServiceDeploymentStatus::Pending).then_some(Step::Begin)
}

fn failed_by(observed: &Observed, primary: &Deployment) -> Option<FailedBy> {
    if observed.service.status != ServiceStatus::Active || primary.rollout_state != RolloutState::InProgress {
        return None;
    }
    let requested = observed.under_way.as_ref().is_some_and(|of| of.status == ServiceDeploymentStatus::RollbackRequested);
    if requested {
        return Some(FailedBy::Request);
    }
    breaker::trips(&observed.service, primary).then_some(FailedBy::CircuitBreaker)
}

fn is_rolling_back(observed: &Observed) -> bool {
    observed.under_way.as_ref().is_some_and(|of| of.status == ServiceDeploymentStatus::RollbackInProgress)
}
