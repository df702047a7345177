//! Agents that fall silent, come back, or say things late.

use crate::agent::FakeAgent;
use crate::world::{HEALTHY_AFTER, LEASE, World};
use deployer::agents::lease;
use model::task::TaskStatus;
use platform::db::testing::{on_each_database, sqlite};
use serde_json::json;
use std::time::Duration;

/// Time passes, and the sweep with it, while only `heard` are heard.
async fn silence(world: &World, heard: &mut [&mut FakeAgent], secs: u64) -> usize {
    let mut lost = 0;
    for _ in 0..secs {
        world.advance(Duration::from_secs(1));
        for agent in heard.iter_mut() {
            agent.poll(world).await;
        }
        lost += lease::sweep(&world.context).await.unwrap().len();
    }
    lost
}

#[tokio::test]
async fn a_lost_host_is_made_up_for_and_has_its_surplus_stopped_when_it_returns() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        world.definition(1, json!({})).await;
        let service = world.service(2, "user:admin").await;
        let (mut stays, mut goes) = (FakeAgent::start(&world, "a").await, FakeAgent::start(&world, "b").await);
        world.settle().await;
        stays.obey(&world).await;
        goes.obey(&world).await;
        world.advance(HEALTHY_AFTER);
        world.settle().await;
        stays.poll(&world).await;
        goes.poll(&world).await;
        assert_eq!((stays.orders.len(), goes.orders.len()), (1, 1));
        assert_eq!(silence(&world, &mut [&mut stays], LEASE.as_secs() - 1).await, 0);
        assert_eq!(silence(&world, &mut [&mut stays], 2).await, 1);
        world.settle().await;
        stays.obey(&world).await;
        assert_eq!(stays.to_run().len(), 2, "made up for on the other host");
        assert_eq!(goes.to_run().len(), 1, "nobody told the lost host anything");
        world.advance(HEALTHY_AFTER);
        world.settle().await;
        let refused: Result<api::agent::PollResponse, _> = goes.call(&world, "poll", &goes.poll_request()).await;
        assert_eq!(refused.unwrap_err(), api::agent::AgentErrorCode::Register);
        goes.register(&world).await;
        world.settle().await;
        goes.obey(&world).await;
        assert!(goes.orders.is_empty(), "its task was ordered to stop");
        assert_eq!(world.tasks(&service).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_host_that_returns_in_time_keeps_its_tasks() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({})).await;
    let service = world.service(1, "user:admin").await;
    let mut agent = FakeAgent::start(&world, "a").await;
    world.settle().await;
    agent.obey(&world).await;
    assert_eq!(silence(&world, &mut [], LEASE.as_secs() - 1).await, 0);
    agent.poll(&world).await;
    world.settle().await;
    assert_eq!(world.tasks(&service).await.len(), 1);
}

#[tokio::test]
async fn reports_that_come_late_or_twice_change_nothing() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        world.definition(1, json!({})).await;
        world.service(1, "user:admin").await;
        let mut agent = FakeAgent::start(&world, "a").await;
        world.settle().await;
        agent.poll(&world).await;
        let id = agent.to_run()[0].clone();
        let running = agent.observed(&world, &id, TaskStatus::Running, None);
        let stopped = agent.observed(&world, &id, TaskStatus::Stopped, Some(3));
        agent.report(&world, vec![running.clone(), stopped.clone()], vec![]).await;
        let after = world.task(&id).await.unwrap();
        agent.report(&world, vec![running, stopped], vec![]).await;
        assert_eq!(world.task(&id).await.unwrap(), after);
    })
    .await;
}

#[tokio::test]
async fn another_instances_task_cannot_be_reported_on() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({})).await;
    world.service(1, "user:admin").await;
    let mut owner = FakeAgent::start(&world, "a").await;
    world.settle().await;
    owner.poll(&world).await;
    let id = owner.to_run()[0].clone();
    let mut other = FakeAgent::start(&world, "b").await;
    other.tell(&world, &id, TaskStatus::Stopped, Some(1)).await;
    assert_eq!(world.task(&id).await.unwrap().last_status, TaskStatus::Pending);
}
