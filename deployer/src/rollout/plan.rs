//! What to do next for one service. Pure: a picture and the time go in, steps come out.
//!
//! The rules are ECS's. Start what is missing of the PRIMARY while `maximumPercent` leaves room; stop older tasks as new ones count
//! as healthy, and earlier only where room or resources are wanting and `minimumHealthyPercent` allows it; replace what is
//! unhealthy or lost. A DRAINING instance is emptied like an older deployment. What stops by itself is not seen here any more and is
//! simply missing.
//!
//! Deliberately absent: any memory between plans. The same picture gives the same plan; applied, it is never wanted again.

use super::census::{Census, Counted, Standing, grace_ends_at, settles_at};
use super::observed::{Observed, Plan, Step};
use super::{breaker, verdict, words};
use crate::placement::scale_in::{Stoppable, choose_stops};
use crate::placement::{self, Request};
use model::Timestamp;
use model::ids::TaskId;
use model::service::{Deployment, DeploymentStatus, RolloutState, ServiceStatus};
use model::task::{HealthStatus, StopCode, TaskStatus};

/// Consecutive failures after which the service says that it cannot start its tasks.
const IMPAIRED_FAILURES: i64 = 3;

/// Whether the plan will look at [`Observed::instances`], so that they are worth reading.
pub fn wants_instances(observed: &Observed, now: Timestamp) -> bool {
    let Some(primary) = observed.primary() else { return false };
    let census = Census::of(observed, &primary.id, now);
    census.missing() > 0 || census.primary_good() > census.desired || census.older() > 0
}

pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(primary) = observed.primary() else { return plan };
    if observed.service.status == ServiceStatus::Inactive {
        return plan;
    }
    let census = Census::of(observed, &primary.id, now);
    mark_healthy(&census, &mut plan);
    if let Some(steps) = verdict::decide(observed, primary) {
        // Another deployment is PRIMARY then, or this one starts nothing: the next plan moves the tasks.
        plan.steps.extend(steps);
        return plan;
    }
    plan.steps.extend(verdict::begin(observed));
    let starts = start(observed, primary, &census, now, &mut plan);
    stop(observed, primary, &census, starts, &mut plan);
    finish(observed, primary, &census, now, &mut plan);
    if !plan.steps.contains(&Step::Complete) {
        retire(observed, &census, &mut plan);
    }
    look_again(observed, primary, &census, now, &mut plan);
    plan
}

fn mark_healthy(census: &Census<'_>, plan: &mut Plan) {
    let new = census.tasks.iter().filter(|counted| counted.standing == Standing::Healthy && counted.task.healthy_at.is_none());
    plan.steps.extend(new.map(|counted| Step::Healthy { task: counted.task.id.clone() }));
}

/// How starting went: what `stop` has to make room for.
#[derive(Debug, Clone, Copy, Default)]
struct Starts {
    /// Tasks that are missing and could not be started for want of room (`maximumPercent`) or resources.
    blocked: usize,
}

fn start(observed: &Observed, primary: &Deployment, census: &Census<'_>, now: Timestamp, plan: &mut Plan) -> Starts {
    if census.awaited > 0 {
        say_once(observed, &words::awaited(census.awaited), plan, |_| ());
    }
    let missing = census.missing();
    if missing == 0 || primary.rollout_state == RolloutState::Failed {
        return Starts::default();
    }
    if primary.not_before > now {
        if primary.consecutive_failures >= IMPAIRED_FAILURES {
            say_once(observed, words::IMPAIRED, plan, |_| ());
        }
        return Starts::default();
    }
    if let Some(reason) = &observed.missing_grant {
        refuse(observed, primary, reason, missing.min(census.room()), plan);
        plan.look_again(now);
        return Starts::default();
    }
    let wanted = missing.min(census.room());
    let placed = place(observed, primary, census, wanted, plan);
    if placed < wanted {
        plan.look_again(now);
    }
    Starts { blocked: missing - placed }
}

/// Says once why no task can start, with a failed task to show; to a circuit breaker each that would have started is one.
fn refuse(observed: &Observed, primary: &Deployment, reason: &str, wanted: usize, plan: &mut Plan) {
    let mut refusals = breaker::to_go(&observed.service, primary).min(wanted);
    let at = plan.steps.len();
    say_once(observed, &format!("was unable to start a task: {reason}"), plan, |_| refusals = refusals.max(1));
    plan.steps.splice(at..at, (0..refusals).map(|_| Step::Refuse { reason: reason.to_owned() }));
}

/// Places up to `wanted` tasks, each seeing the ones before it; returns how many found an instance.
fn place(observed: &Observed, primary: &Deployment, census: &Census<'_>, wanted: usize, plan: &mut Plan) -> usize {
    let Some(profile) = observed.profiles.get(&primary.task_definition) else { return 0 };
    let request = Request {
        need: &profile.need,
        strategies: &observed.service.placement_strategy,
        constraints: &observed.service.placement_constraints,
        random: observed.random,
    };
    let choice = placement::choose(&request, &observed.instances, wanted);
    let placed = choice.instances.len();
    plan.steps.extend(choice.instances.into_iter().map(|instance| Step::Start { instance }));
    if let Some(explanation) = choice.refused {
        // What the leaving tasks hold may be just what is short.
        if census.leaving() == 0 {
            say_once(observed, &explanation.event(), plan, |_| ());
        }
    }
    placed
}

fn stop(observed: &Observed, primary: &Deployment, census: &Census<'_>, starts: Starts, plan: &mut Plan) {
    let mut blocked = starts.blocked;
    stop_superseded(primary, census, plan);
    blocked -= stop_unhealthy(census, blocked, plan);
    stop_older(observed, primary, census, blocked, plan);
    stop_surplus(observed, primary, census, plan);
    stop_replaced(primary, census, plan);
    let moves = plan.moves_tasks() || census.count(|counted| matches!(counted.standing, Standing::Leaving | Standing::Starting)) > 0;
    if blocked > 0 && !moves && census.room() == 0 && census.older() > 0 {
        say_once(observed, words::STUCK, plan, |_| ());
    }
}

/// Tasks on their way out (of older deployments, on DRAINING instances) that serve nobody: not running yet, unhealthy, or lost.
fn stop_superseded(primary: &Deployment, census: &Census<'_>, plan: &mut Plan) {
    for counted in census.tasks.iter().filter(|counted| !counted.primary) {
        let useless = match counted.standing {
            Standing::Unhealthy | Standing::Lost => true,
            Standing::Starting => counted.task.last_status < TaskStatus::Running,
            Standing::Leaving | Standing::Healthy => false,
        };
        if useless {
            plan.steps.push(scaling(primary, counted.task.id.clone()));
        }
    }
}

/// Unhealthy tasks of the PRIMARY whose replacement is healthy; where they block their own replacement, one at a time.
fn stop_unhealthy(census: &Census<'_>, blocked: usize, plan: &mut Plan) -> usize {
    let unhealthy: Vec<_> = census.tasks.iter().filter(|counted| counted.primary && counted.standing == Standing::Unhealthy).collect();
    let replaced = (census.primary_healthy() + unhealthy.len()).saturating_sub(census.desired).min(unhealthy.len());
    let at_once = usize::from(replaced == 0 && census.leaving() == 0);
    let in_the_way = blocked.min(unhealthy.len() - replaced).min(at_once);
    for counted in unhealthy.into_iter().take(replaced + in_the_way) {
        plan.steps.push(Step::Stop {
            task: counted.task.id.clone(),
            code: StopCode::ServiceSchedulerInitiated,
            reason: words::UNHEALTHY.to_owned(),
        });
    }
    in_the_way
}

/// Running tasks of older deployments and on DRAINING instances: as many as the new ones make up for, or as the blocked ones need gone.
fn stop_older(observed: &Observed, primary: &Deployment, census: &Census<'_>, blocked: usize, plan: &mut Plan) {
    let healthy = census.healthy();
    let spare = healthy.saturating_sub(census.desired).max(blocked.min(healthy.saturating_sub(census.min_healthy)));
    let enough = healthy >= census.desired || (blocked > 0 && healthy >= census.min_healthy);
    let (sound, unproven): (Vec<&Counted<'_>>, Vec<_>) = census
        .tasks
        .iter()
        .filter(|counted| !counted.primary && matches!(counted.standing, Standing::Starting | Standing::Healthy))
        .filter(|counted| counted.task.last_status == TaskStatus::Running)
        .partition(|counted| counted.standing == Standing::Healthy);
    if enough {
        // They do not count as healthy, so stopping them takes nothing from what does.
        plan.steps.extend(unproven.iter().map(|counted| scaling(primary, counted.task.id.clone())));
    }
    let stops = choose_stops(sound.into_iter().map(|counted| stoppable(observed, counted)).collect(), spare);
    plan.steps.extend(stops.into_iter().map(|task| scaling(primary, task)));
}

/// Tasks of the PRIMARY over the desired count.
fn stop_surplus(observed: &Observed, primary: &Deployment, census: &Census<'_>, plan: &mut Plan) {
    let surplus = census.primary_good().saturating_sub(census.desired);
    if surplus == 0 {
        return;
    }
    let good = census.tasks.iter().filter(|counted| counted.primary && matches!(counted.standing, Standing::Healthy | Standing::Starting));
    let stops = choose_stops(good.map(|counted| stoppable(observed, counted)).collect(), surplus);
    plan.steps.extend(stops.into_iter().map(|task| scaling(primary, task)));
}

/// Lost tasks of the PRIMARY that are made up for elsewhere: when their host returns they stop.
fn stop_replaced(primary: &Deployment, census: &Census<'_>, plan: &mut Plan) {
    if census.primary_healthy() < census.desired {
        return;
    }
    for counted in census.tasks.iter().filter(|counted| counted.primary && counted.standing == Standing::Lost) {
        plan.steps.push(scaling(primary, counted.task.id.clone()));
    }
}

/// Older deployments without tasks to which nobody would go back, so that many updates in a row do not pile up. One that stays
/// keeps `deployments[]` from looking finished before it is.
fn retire(observed: &Observed, census: &Census<'_>, plan: &mut Plan) {
    let older: Vec<&Deployment> = observed.deployments.iter().filter(|deployment| deployment.status == DeploymentStatus::Active).collect();
    let empty = |deployment: &Deployment| census.count(|counted| counted.task.deployment_id.as_ref() == Some(&deployment.id)) == 0;
    let done = |deployment: &&&Deployment| deployment.rollout_state != RolloutState::Completed && empty(deployment);
    let stays = usize::from(older.iter().filter(done).count() == older.len());
    let gone = older.iter().filter(done).skip(stays);
    plan.steps.extend(gone.map(|deployment| Step::Retire { deployment: deployment.id.clone() }));
}

fn finish(observed: &Observed, primary: &Deployment, census: &Census<'_>, now: Timestamp, plan: &mut Plan) {
    if plan.moves_tasks() {
        return;
    }
    if observed.service.status == ServiceStatus::Draining {
        if census.tasks.iter().all(|counted| !counted.task.connected) {
            plan.steps.push(Step::Deactivate);
        }
        return;
    }
    if census.primary_healthy() != census.desired || census.primary_good() != census.desired || census.older() > 0 {
        return;
    }
    if primary.rollout_state == RolloutState::InProgress {
        plan.steps.retain(|step| *step != Step::Begin);
        plan.steps.push(Step::Complete);
        plan.steps.push(Step::Say { message: words::completed(&primary.id) });
    }
    if census.leaving() == 0 {
        let steady = words::of_service(&observed.service.name, words::STEADY);
        if plan.steps.contains(&Step::Complete) || observed.recent_events.first() != Some(&steady) {
            plan.steps.push(Step::Say { message: words::STEADY.to_owned() });
        }
    }
    let proven = |counted: &Counted<'_>| counted.task.healthy_at.is_some_and(|at| now >= at.plus(observed.healthy_after));
    if primary.consecutive_failures > 0 && census.tasks.iter().all(|counted| !counted.primary || proven(counted)) {
        plan.steps.push(Step::ResetFailures);
    }
}

/// The moments to come at which time alone changes what a plan would say.
fn look_again(observed: &Observed, primary: &Deployment, census: &Census<'_>, now: Timestamp, plan: &mut Plan) {
    let mut moments: Vec<Timestamp> = observed.braked_until.filter(|_| census.awaited > 0).into_iter().collect();
    if census.missing() > 0 {
        moments.push(primary.not_before);
    }
    for counted in &census.tasks {
        let task = counted.task;
        if counted.standing == Standing::Starting && task.last_status == TaskStatus::Running {
            let unhealthy = task.health_status == HealthStatus::Unhealthy;
            moments.push(if unhealthy { grace_ends_at(observed, task) } else { settles_at(task, observed.healthy_after) });
        }
        if let Some(healthy_at) = task.healthy_at.filter(|_| primary.consecutive_failures > 0) {
            moments.push(healthy_at.plus(observed.healthy_after));
        }
    }
    for moment in moments.into_iter().filter(|moment| *moment > now) {
        plan.look_again(moment);
    }
}

fn scaling(primary: &Deployment, task: TaskId) -> Step {
    Step::Stop { task, code: StopCode::ServiceSchedulerInitiated, reason: words::scaling(&primary.id) }
}

fn stoppable(observed: &Observed, counted: &Counted<'_>) -> Stoppable {
    let task = counted.task;
    let candidate = task.instance_id.as_ref().and_then(|instance| observed.candidate(instance));
    let strategies = &observed.service.placement_strategy;
    let (room, zone) = candidate.map(|candidate| placement::scale_in_view(strategies, candidate)).unwrap_or_default();
    let worth = match counted.standing {
        Standing::Healthy => 2,
        _ if task.last_status == TaskStatus::Running => 1,
        _ => 0,
    };
    Stoppable { task: task.id.clone(), worth, room, zone: zone.to_owned(), instance: task.instance_id.clone(), created_at: task.created_at }
}

/// Says it unless it was said since the service was last steady.
fn say_once(observed: &Observed, message: &str, plan: &mut Plan, first_time: impl FnOnce(&mut Plan)) {
    let name = &observed.service.name;
    let steady = words::of_service(name, words::STEADY);
    let whole = words::of_service(name, message);
    let said = observed.recent_events.iter().take_while(|event| **event != steady).any(|event| *event == whole);
    if !said {
        first_time(plan);
        plan.steps.push(Step::Say { message: message.to_owned() });
    }
}

#[cfg(test)]
mod tests;
