//! The planner by table: a fake host moves tasks forward, the plan is applied, time passes (`world`). Failed deployments are in
//! `rollback`, random worlds in `walk`.

mod rollback;
mod walk;
mod world;

use super::*;
use crate::placement::tests::candidate;
use crate::rollout::backoff::{self, End};
use crate::rollout::observed::Profile;
use model::ids::{ClusterName, DeploymentId, ServiceDeploymentId, TaskDefinitionId};
use model::instance::{InstanceStatus, Protocol, Resources};
use model::service::{
    BreakerStatus, Cause, CauseKind, CircuitBreaker, DeploymentStatus, Service, ServiceDeployment, ServiceDeploymentStatus,
};
use model::task::{DesiredStatus, HealthStatus, ServiceTask};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use world::*;

#[test]
fn a_new_service_starts_all_its_tasks_spread_out_and_completes_when_they_are_healthy() {
    let mut world = World::new(3, 100, 200);
    assert_eq!(World::starts(&world.plan()), 3);
    let mut instances: Vec<_> = world.observed.tasks.iter().map(|task| task.instance_id.clone()).collect();
    instances.sort();
    instances.dedup();
    assert_eq!(instances.len(), 3);
    world.progress(usize::MAX);
    let plan = world.plan();
    assert!(plan.steps.is_empty(), "running is not healthy yet: {plan:?}");
    assert_eq!(plan.again_at, Some(world.now.plus(HEALTHY_AFTER)));
    world.advance(HEALTHY_AFTER);
    let plan = world.plan();
    assert!(plan.steps.contains(&Step::Complete));
    assert_eq!(plan.steps.last(), Some(&Step::Say { message: words::STEADY.into() }));
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn a_roll_starts_what_fits_and_stops_old_tasks_only_for_healthy_new_ones() {
    let mut world = World::new(3, 100, 200);
    world.settle();
    world.update();
    let plan = world.plan();
    assert_eq!((World::starts(&plan), World::stops(&plan)), (3, 0));
    world.progress(4);
    world.advance(HEALTHY_AFTER);
    let plan = world.plan();
    assert_eq!((World::starts(&plan), World::stops(&plan)), (0, 1), "one new task is up, one old may go");
    world.settle();
    assert_eq!(world.observed.deployments.len(), 1);
    assert!(world.observed.tasks.iter().all(|task| task.task_definition.revision == 2));
}

#[test]
fn where_the_maximum_blocks_the_minimum_says_how_many_old_tasks_go_first() {
    // d=3 at 125 %: floor(3.75) = 3 leaves no room for a fourth.
    for (desired, minimum, maximum, stops) in
        [(4, 50, 100, 2), (2, 75, 100, 0), (4, 0, 100, 4), (1, 0, 100, 1), (1, 100, 150, 0), (3, 100, 125, 0)]
    {
        let mut world = World::new(desired, minimum, maximum);
        world.settle();
        world.update();
        let plan = world.plan();
        assert_eq!((World::starts(&plan), World::stops(&plan)), (0, stops), "{desired} {minimum} {maximum}");
        let stuck = plan.steps.contains(&Step::Say { message: words::STUCK.into() });
        assert_eq!(stuck, stops == 0);
        if stuck {
            assert!(world.plan().steps.is_empty(), "said once");
        }
    }
}

#[test]
fn a_stopped_task_is_replaced_at_once_and_a_failed_one_after_a_wait() {
    let mut world = World::new(2, 100, 200);
    world.settle();
    world.advance(HEALTHY_AFTER);
    world.crash(0);
    assert_eq!(World::starts(&world.plan()), 1);
    world.crash(1);
    let plan = world.plan();
    assert_eq!(World::starts(&plan), 0);
    assert_eq!(plan.again_at, Some(world.now.plus(Duration::from_millis(500))));
    world.advance(Duration::from_millis(500));
    assert_eq!(World::starts(&world.plan()), 1);
}

#[test]
fn an_unhealthy_task_stops_when_its_replacement_is_there() {
    let mut world = World::new(2, 100, 200);
    world.settle();
    world.observed.tasks[0].health_status = HealthStatus::Unhealthy;
    let plan = world.plan();
    assert_eq!((World::starts(&plan), World::stops(&plan)), (1, 0));
    world.progress(usize::MAX);
    let plan = world.plan();
    assert_eq!(World::stops(&plan), 0, "a replacement that is not healthy replaces nothing");
    world.advance(HEALTHY_AFTER);
    let plan = world.plan();
    let Some(reason) = plan.steps.iter().find_map(|step| if let Step::Stop { reason, .. } = step { Some(reason) } else { None }) else {
        panic!("{plan:?}")
    };
    assert_eq!(reason, words::UNHEALTHY);
    assert_eq!(World::stops(&plan), 1);
}

#[test]
fn of_two_that_are_unhealthy_one_goes_when_the_replacement_is_unhealthy_too() {
    let mut world = World::new(1, 100, 200);
    world.settle();
    world.observed.tasks[0].health_status = HealthStatus::Unhealthy;
    assert_eq!(World::starts(&world.plan()), 1);
    world.progress(usize::MAX);
    world.observed.tasks[1].health_status = HealthStatus::Unhealthy;
    assert_eq!(World::stops(&world.plan()), 1);
}

#[test]
fn unhealthy_tasks_go_one_at_a_time_where_nothing_may_start_beside_them() {
    let mut world = World::new(4, 50, 100);
    world.settle();
    world.observed.tasks.iter_mut().for_each(|task| task.health_status = HealthStatus::Unhealthy);
    assert_eq!(World::stops(&world.plan()), 1);
    assert_eq!(World::stops(&world.plan()), 0, "the one before is still leaving");
    world.settle();
    assert_eq!(world.observed.tasks.len(), 4);
}

#[test]
fn an_unhealthy_task_goes_first_where_nothing_may_start_beside_it() {
    let mut world = World::new(1, 100, 100);
    world.settle();
    world.observed.tasks[0].health_status = HealthStatus::Unhealthy;
    assert_eq!(World::stops(&world.plan()), 1);
}

#[test]
fn the_grace_period_ignores_unhealthy_verdicts() {
    let mut world = World::new(1, 100, 200);
    world.observed.service.health_check_grace_period_secs = 60;
    world.plan();
    world.progress(1);
    world.observed.tasks[0].health_status = HealthStatus::Unhealthy;
    let plan = world.plan();
    assert_eq!((plan.steps, plan.again_at), (vec![], Some(world.now.plus(Duration::from_mins(1)))));
    world.advance(Duration::from_mins(1));
    assert_eq!(World::starts(&world.plan()), 1);
}

#[test]
fn a_revoked_grant_starts_nothing_and_is_said_once() {
    let mut world = World::new(1, 100, 200);
    world.observed.missing_grant = Some("no grant gives pull".into());
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 2);
    assert!(matches!(&plan.steps[0], Step::Refuse { reason } if reason == "no grant gives pull"));
    let plan = world.plan();
    assert_eq!((plan.steps, plan.again_at), (vec![], Some(world.now)));
}

#[test]
fn a_task_that_fits_nowhere_is_explained_once() {
    let mut world = World::new(1, 100, 200);
    world.observed.profiles.get_mut(&definition(1)).unwrap().need.memory = 1_000_000;
    let plan = world.plan();
    let [Step::Say { message }] = &plan.steps[..] else { panic!("{plan:?}") };
    assert!(message.contains("Insufficient memory on 3 of 3 instances"), "{message}");
    let plan = world.plan();
    assert_eq!((plan.steps, plan.again_at), (vec![], Some(world.now)));
}

#[test]
fn a_fixed_port_waits_for_the_old_task_without_complaint() {
    let mut world = World::new(1, 0, 100);
    world.observed.instances.truncate(1);
    world.observed.profiles.get_mut(&definition(1)).unwrap().need.ports = [(Protocol::Tcp, 80)].into();
    world.settle();
    world.update();
    world.observed.recent_events.clear();
    world.settle();
    assert!(world.observed.recent_events.iter().all(|event| !event.contains("unable")), "{:?}", world.observed.recent_events);
}

#[test]
fn tasks_of_a_lost_host_are_replaced_and_stopped_when_it_returns() {
    let mut world = World::new(3, 100, 200);
    world.settle();
    let host = world.observed.instances[0].instance.id.clone();
    Arc::make_mut(&mut world.observed.instances[0].instance).agent_connected = false;
    for task in world.observed.tasks.iter_mut().filter(|task| task.instance_id.as_ref() == Some(&host)) {
        task.connected = false;
    }
    assert_eq!(World::starts(&world.plan()), 1);
    world.progress(usize::MAX);
    world.advance(HEALTHY_AFTER);
    let plan = world.plan();
    assert_eq!(World::stops(&plan), 1);
    world.observed.tasks.iter_mut().for_each(|task| task.connected = true);
    world.settle();
    assert_eq!(world.observed.tasks.len(), 3);
}

/// Puts the first host into DRAINING; its id.
fn drain_first(world: &mut World) -> model::ids::InstanceId {
    world.set_draining(0, true);
    world.observed.instances[0].instance.id.clone()
}

fn on(world: &World, host: &model::ids::InstanceId) -> usize {
    let wanted = |task: &&ServiceTask| task.instance_id.as_ref() == Some(host) && task.desired_status == DesiredStatus::Running;
    world.observed.tasks.iter().filter(wanted).count()
}

#[test]
fn a_draining_host_is_emptied_within_the_bounds_of_the_service() {
    // desired, minimum, maximum: what starts and what stops in the first plan, with one task on each of three hosts.
    for (desired, minimum, maximum, starts, stops) in
        [(3, 100, 200, 1, 0), (3, 100, 100, 0, 0), (3, 50, 100, 0, 1), (3, 0, 200, 1, 0), (6, 100, 200, 2, 0), (6, 50, 100, 0, 2)]
    {
        let mut world = World::new(desired, minimum, maximum);
        world.settle();
        world.observed.recent_events.clear();
        let host = drain_first(&mut world);
        let plan = world.plan();
        let case = format!("{desired} at {minimum} to {maximum} %");
        assert_eq!((World::starts(&plan), World::stops(&plan)), (starts, stops), "{case}");
        assert_eq!(plan.steps.contains(&Step::Say { message: words::STUCK.into() }), starts + stops == 0, "{case}");
        if starts + stops == 0 {
            assert_eq!(on(&world, &host), 1, "{case}: it serves on");
            continue;
        }
        world.settle();
        assert_eq!(on(&world, &host), 0, "{case}");
        assert_eq!(world.observed.tasks.len(), usize::try_from(desired).unwrap());
        assert_eq!(world.observed.primary().unwrap().rollout_state, RolloutState::Completed, "{case}: no deployment is made of it");
    }
}

#[test]
fn what_does_not_run_yet_leaves_a_draining_host_at_once() {
    let mut world = World::new(3, 100, 200);
    world.plan();
    let host = drain_first(&mut world);
    let plan = world.plan();
    assert_eq!((World::starts(&plan), World::stops(&plan)), (1, 1));
    assert_eq!(on(&world, &host), 0);
}

#[test]
fn a_host_that_is_active_again_keeps_what_still_runs_there() {
    let mut world = World::new(3, 100, 200);
    world.settle();
    let host = drain_first(&mut world);
    world.plan();
    world.set_draining(0, false);
    world.settle();
    assert_eq!((on(&world, &host), world.observed.tasks.len()), (1, 3));
}

#[test]
fn where_nothing_else_is_a_draining_host_serves_on() {
    let mut world = World::new(2, 100, 200);
    world.observed.instances.truncate(1);
    world.settle();
    let host = drain_first(&mut world);
    let plan = world.plan();
    assert_eq!((World::starts(&plan), World::stops(&plan)), (0, 0), "{plan:?}");
    assert!(plan.steps.iter().any(|step| matches!(step, Step::Say { message } if message.contains("is not ACTIVE"))), "{plan:?}");
    assert_eq!(on(&world, &host), 2);
}

#[test]
fn tasks_of_many_hosts_lost_at_once_are_waited_for() {
    let mut world = World::new(3, 100, 200);
    world.settle();
    let until = world.now.plus(Duration::from_mins(5));
    world.observed.braked_until = Some(until);
    world.set_heard(0, false);
    world.set_heard(1, false);
    let plan = world.plan();
    assert_eq!(plan.steps, [Step::Say { message: words::awaited(2) }]);
    assert_eq!(plan.again_at, Some(until));
    assert_eq!(world.plan().steps, [], "said once");
    // What is asked for by a person is done meanwhile.
    world.observed.service.desired_count = 4;
    assert_eq!(World::starts(&world.plan()), 1);
    world.now = until;
    assert_eq!(World::starts(&world.plan()), 2);
}

#[test]
fn a_deleted_service_stops_everything_and_becomes_inactive() {
    let mut world = World::new(3, 100, 200);
    world.settle();
    world.observed.service.status = ServiceStatus::Draining;
    assert_eq!(World::stops(&world.plan()), 3);
    world.progress(usize::MAX);
    assert!(world.plan().steps.is_empty());
    world.progress(usize::MAX);
    assert_eq!(world.plan().steps, [Step::Deactivate]);
    assert!(world.plan().steps.is_empty());
}

#[test]
fn scaling_in_keeps_the_zones_even() {
    let mut world = World::new(6, 100, 200);
    world.settle();
    world.observed.service.desired_count = 2;
    world.settle();
    let zones = |world: &World, zone: &str| {
        let on = |task: &&ServiceTask| {
            world.observed.instances.iter().any(|c| c.instance.zone() == zone && Some(&c.instance.id) == task.instance_id.as_ref())
        };
        world.observed.tasks.iter().filter(on).count()
    };
    assert_eq!((zones(&world, "a"), zones(&world, "b")), (1, 1));
}
