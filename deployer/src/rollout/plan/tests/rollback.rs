//! Deployments that fail: when the circuit breaker trips, what it goes back to, and what stays of the failed one.

use super::*;
use crate::rollout::observed::FailedBy;
use model::service::{BreakerThreshold, BreakerThresholdType};

fn breaker(rollback: bool) -> CircuitBreaker {
    CircuitBreaker { enable: true, rollback, ..CircuitBreaker::default() }
}

/// A service that is settled on revision 1 and is updated to a revision 2 whose tasks stop at once.
fn crashing(desired: i64, minimum: i64, maximum: i64, breaker: CircuitBreaker) -> World {
    let mut world = World::new(desired, minimum, maximum);
    world.observed.service.circuit_breaker = breaker;
    world.settle();
    world.advance(HEALTHY_AFTER);
    world.bad.insert(2);
    world.update();
    world
}

/// Plans and moves until a plan holds such a step, in steps of a tenth of a second.
fn until(world: &mut World, wanted: impl Fn(&Step) -> bool) -> (Plan, Duration) {
    let began = world.now;
    for _ in 0..1_000 {
        let plan = world.plan();
        if plan.steps.iter().any(&wanted) {
            return (plan, world.now.since(began));
        }
        world.progress(usize::MAX);
        world.advance(Duration::from_millis(100));
    }
    panic!("it does not come: {:#?}", world.observed);
}

fn says(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().filter_map(|step| if let Step::Say { message } = step { Some(message.as_str()) } else { None }).collect()
}

fn is_roll_back(step: &Step) -> bool {
    matches!(step, Step::RollBack { .. })
}

#[test]
fn a_crashing_revision_goes_back_at_once_and_healthy_never_falls() {
    let mut world = crashing(3, 100, 200, breaker(true));
    let (plan, took) = until(&mut world, is_roll_back);
    assert!(took <= Duration::from_millis(300), "three start together and fail together: {took:?}");
    assert_eq!(
        says(&plan),
        [
            "is unable to consistently start tasks successfully.",
            "(deployment ecs-svc/2) deployment failed: tasks failed to start.",
            "rolling back to deployment ecs-svc/1."
        ]
    );
    assert_eq!((World::starts(&plan), World::stops(&plan)), (0, 0), "the plan that goes back moves no task");
    let listed: Vec<_> = world.observed.deployments.iter().map(|of| (of.id.0.as_str(), of.status, of.rollout_state)).collect();
    assert_eq!(listed, [("1", DeploymentStatus::Primary, RolloutState::InProgress), ("2", DeploymentStatus::Active, RolloutState::Failed)]);
    assert_eq!(world.observed.service.task_definition.revision, 1);
    assert_eq!(world.census().primary_healthy(), 3, "what still ran counts for the revision that is wanted again");
    world.settle();
    assert_eq!(world.observed.deployments.len(), 1, "the failed one is gone from deployments[]");
    assert_eq!(world.observed.deployments[0].rollout_state, RolloutState::Completed);
}

#[test]
fn one_task_at_a_time_trips_within_three_seconds() {
    for (desired, minimum, maximum) in [(1, 100, 200), (3, 100, 150), (1, 0, 100)] {
        let (_, took) = until(&mut crashing(desired, minimum, maximum, breaker(true)), is_roll_back);
        assert!(took <= Duration::from_secs(3), "{desired} {minimum} {maximum}: {took:?}");
    }
}

#[test]
fn without_rollback_it_stops_starting_and_keeps_what_runs() {
    let mut world = crashing(3, 100, 200, breaker(false));
    let (plan, _) = until(&mut world, |step| matches!(step, Step::Fail { .. }));
    assert_eq!(says(&plan).last(), Some(&"(deployment ecs-svc/2) deployment failed: tasks failed to start."));
    world.settle();
    assert_eq!(world.observed.deployments[0].rollout_state, RolloutState::Failed);
    assert_eq!(world.observed.deployments.len(), 2, "a service that has not got there does not look stable");
    assert_eq!(world.census().healthy(), 3);
    world.crash(0);
    assert_eq!(World::starts(&world.plan()), 0, "FAILED starts nothing, of no revision");
}

#[test]
fn the_first_deployment_has_nothing_to_go_back_to() {
    let mut world = World::new(3, 100, 200);
    world.observed.service.circuit_breaker = breaker(true);
    world.bad.insert(1);
    let (plan, _) = until(&mut world, |step| matches!(step, Step::Fail { by: FailedBy::CircuitBreaker, .. }));
    assert_eq!(says(&plan).last(), Some(&words::NO_WAY_BACK));
    world.settle();
    assert_eq!(world.observed.tasks.len(), 0);
    world.update();
    world.settle();
    assert_eq!(world.observed.deployments[0].rollout_state, RolloutState::Completed, "an update starts anew");
}

#[test]
fn a_rollback_is_never_rolled_back() {
    let mut world = crashing(4, 0, 100, breaker(true));
    until(&mut world, is_roll_back);
    world.bad.insert(1);
    let (plan, _) = until(&mut world, |step| matches!(step, Step::Fail { .. } | Step::RollBack { .. }));
    assert!(!plan.steps.iter().any(is_roll_back), "{plan:?}");
    world.settle();
    assert_eq!(world.observed.deployments[0].rollout_state, RolloutState::Failed);
}

#[test]
fn disabled_it_keeps_trying_slower_and_slower() {
    let mut world = crashing(1, 100, 200, CircuitBreaker::default());
    let mut starts = 0;
    for _ in 0..600 {
        starts += World::starts(&world.plan());
        world.progress(usize::MAX);
        world.advance(Duration::from_millis(100));
    }
    assert!((5..=9).contains(&starts), "{starts} starts in a minute");
    assert_eq!(world.observed.deployments[0].rollout_state, RolloutState::InProgress);
}

#[test]
fn a_healthy_task_resets_the_count_unless_it_is_not_to() {
    for (reset_on_healthy_task, trips) in [(true, false), (false, true)] {
        let mut world = World::new(1, 100, 200);
        let threshold = BreakerThreshold { kind: BreakerThresholdType::Count, value: 2 };
        world.observed.service.circuit_breaker = CircuitBreaker { reset_on_healthy_task, threshold, ..breaker(false) };
        world.observed.service.desired_count = 2;
        world.plan();
        world.crash(0);
        world.progress(usize::MAX);
        world.advance(HEALTHY_AFTER);
        world.plan();
        world.crash(1);
        let plan = world.plan();
        assert_eq!(plan.steps.iter().any(|step| matches!(step, Step::Fail { .. })), trips, "{plan:?}");
    }
}

#[test]
fn failed_health_checks_of_running_tasks_count() {
    let mut world = World::new(2, 0, 100);
    world.observed.service.circuit_breaker = breaker(false);
    world.plan();
    for _ in 0..40 {
        world.progress(usize::MAX);
        world.observed.tasks.iter_mut().filter(|task| task.last_status == TaskStatus::Running).for_each(|task| {
            task.health_status = HealthStatus::Unhealthy;
        });
        world.advance(Duration::from_millis(500));
        world.plan();
    }
    assert_eq!(world.observed.deployments[0].rollout_state, RolloutState::Failed);
}

#[test]
fn the_threshold_follows_the_latest_desired_count() {
    let mut world = crashing(20, 100, 200, breaker(true));
    world.observed.deployments[0].breaker_consecutive = 9;
    assert!(!world.plan().steps.iter().any(is_roll_back));
    world.observed.service.desired_count = 4;
    assert!(world.plan().steps.iter().any(is_roll_back));
}

#[test]
fn a_stop_goes_back_though_the_breaker_is_off() {
    let mut world = crashing(2, 100, 200, CircuitBreaker::default());
    world.bad.clear();
    world.plan();
    world.observed.under_way.as_mut().unwrap().status = ServiceDeploymentStatus::RollbackRequested;
    let plan = world.plan();
    assert!(matches!(&plan.steps[0], Step::RollBack { to, by: FailedBy::Request, .. } if to.0 == "1"), "{plan:?}");
    world.settle();
    assert!(world.observed.tasks.iter().all(|task| task.task_definition.revision == 1));
}

#[test]
fn a_revoked_grant_fails_the_deployment() {
    let mut world = World::new(2, 100, 200);
    world.observed.service.circuit_breaker = breaker(false);
    world.observed.missing_grant = Some("no grant gives pull".into());
    let plan = world.plan();
    let refusals = plan.steps.iter().filter(|step| matches!(step, Step::Refuse { .. })).count();
    assert_eq!(refusals, 2, "each task that would have started is a failure: {plan:?}");
}

#[test]
fn going_back_skips_what_never_completed() {
    let mut world = crashing(2, 100, 200, breaker(true));
    world.update();
    world.bad.insert(3);
    until(&mut world, is_roll_back);
    assert_eq!(world.observed.deployments[0].task_definition.revision, 1);
    let began = world.observed.deployments.len();
    world.settle();
    assert!(began >= 2 && world.observed.deployments.len() == 1);
}

#[test]
fn many_updates_in_a_row_do_not_pile_up() {
    let mut world = crashing(2, 100, 200, breaker(true));
    for _ in 0..20 {
        world.update();
        world.plan();
        world.progress(usize::MAX);
        world.plan();
        world.progress(usize::MAX);
        world.plan();
    }
    assert!(world.observed.deployments.len() <= 4, "{}", world.observed.deployments.len());
    assert!(world.observed.deployments.iter().any(|of| of.rollout_state == RolloutState::Completed), "the way back stays");
    world.settle();
    assert!(world.observed.tasks.iter().all(|task| task.task_definition.revision == 22));
}
