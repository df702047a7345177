//! Deployments that fail, from the first report of a crash to the revision of before, on real databases.

use crate::agent::FakeAgent;
use crate::world::{HEALTHY_AFTER, World};
use model::service::{BreakerStatus, CircuitBreaker, DeploymentStatus, RolloutState, Service, ServiceDeploymentStatus};
use model::task::TaskStatus;
use platform::db::testing::on_each_database;
use serde_json::json;
use std::time::Duration;

/// A service of three tasks that has settled on `web:1`, with its circuit breaker set to go back.
async fn settled(world: &mut World) -> (Service, FakeAgent) {
    world.definition(1, json!({})).await;
    world.definition(2, json!({})).await;
    let service = world.service(3, "user:admin").await;
    let breaker = CircuitBreaker { enable: true, rollback: true, ..CircuitBreaker::default() };
    world.change_service(&service.id, move |service| service.circuit_breaker = breaker).await;
    let mut agent = FakeAgent::start(world, "a").await;
    world.settle().await;
    agent.obey(world).await;
    world.advance(HEALTHY_AFTER);
    world.settle().await;
    world.advance(HEALTHY_AFTER);
    (service, agent)
}

/// The tasks of `revision` report that they could not start.
async fn crash(world: &mut World, agent: &mut FakeAgent, service: &Service, revision: i64) {
    agent.poll(world).await;
    for task in world.tasks(service).await.into_iter().filter(|task| task.task_definition.revision == revision) {
        agent.tell(world, &task.id, TaskStatus::Stopped, Some(1)).await;
    }
}

#[tokio::test]
async fn a_crashing_revision_is_rolled_back_and_every_waiter_can_tell() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        let (service, mut agent) = settled(&mut world).await;
        let first = world.deployments(&service).await[0].id.clone();
        world.update(&service, 2).await;
        let failed = world.deployments(&service).await[0].id.clone();
        world.settle().await;
        assert_eq!(world.attempts(&service).await[0].status, ServiceDeploymentStatus::InProgress);
        crash(&mut world, &mut agent, &service, 2).await;
        world.settle().await;
        // Nothing of the failed one is left and all of the first one runs, so it is over at once.
        let deployments = world.deployments(&service).await;
        assert_eq!(deployments.len(), 1, "whoever asked for {failed} finds it gone: {deployments:?}");
        assert_eq!((&deployments[0].id, deployments[0].status), (&first, DeploymentStatus::Primary));
        assert_eq!(deployments[0].rollout_state, RolloutState::Completed);
        assert_eq!(world.read_service(&service).await.task_definition.revision, 1);
        let tasks = world.tasks(&service).await;
        assert!(tasks.len() == 3 && tasks.iter().all(|task| task.task_definition.revision == 1));
        let attempt = world.attempts(&service).await.remove(0);
        assert_eq!((attempt.status, attempt.breaker_status), (ServiceDeploymentStatus::RollbackSuccessful, BreakerStatus::Triggered));
        assert_eq!((attempt.breaker_failures, attempt.breaker_threshold), (3, 3));
        assert_eq!(attempt.rollback.unwrap().target, Some(first.clone()));
        assert!(
            attempt.status_reason.contains("tasks failed to start.") && attempt.status_reason.contains("user:admin"),
            "{}",
            attempt.status_reason
        );
        let messages = world.messages().await;
        let said = |text: &str| messages.iter().filter(|message| **message == format!("(service web) {text}")).count();
        assert_eq!(said(&format!("(deployment {failed}) deployment failed: tasks failed to start.")), 1);
        assert_eq!(said(&format!("rolling back to deployment {first}.")), 1);
    })
    .await;
}

#[tokio::test]
async fn each_change_of_an_attempt_is_announced_with_its_cause() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        let (service, mut agent) = settled(&mut world).await;
        world.update(&service, 2).await;
        world.settle().await;
        crash(&mut world, &mut agent, &service, 2).await;
        world.settle().await;
        let events = world.announced().await;
        let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(
            kinds,
            ["deployment.started", "deployment.completed", "deployment.started", "deployment.failed", "deployment.rolled_back"]
        );
        let last = &events[4].detail;
        assert_eq!((&last["from"], &last["to"]), (&json!("web:1"), &json!("web:2")));
        assert_eq!(last["cause"], json!({"kind": "update", "principal": "user:admin", "trigger": null, "push": null}));
        assert_eq!(last["status"], "ROLLBACK_SUCCESSFUL");
    })
    .await;
}

#[tokio::test]
async fn the_first_deployment_fails_where_it_stands_and_starts_nothing() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        world.definition(1, json!({})).await;
        let service = world.service(1, "user:admin").await;
        let breaker = CircuitBreaker { enable: true, rollback: true, ..CircuitBreaker::default() };
        world.change_service(&service.id, move |service| service.circuit_breaker = breaker).await;
        let mut agent = FakeAgent::start(&world, "a").await;
        for _ in 0..3 {
            world.settle().await;
            crash(&mut world, &mut agent, &service, 1).await;
            world.advance(Duration::from_secs(2));
        }
        world.settle().await;
        world.advance(Duration::from_mins(10));
        world.settle().await;
        assert!(world.tasks(&service).await.is_empty());
        let deployment = world.deployments(&service).await.remove(0);
        assert_eq!((deployment.rollout_state, deployment.failed_tasks), (RolloutState::Failed, 3));
        let attempt = world.attempts(&service).await.remove(0);
        assert_eq!(attempt.status, ServiceDeploymentStatus::Stopped);
        assert!(attempt.finished_at.is_some() && attempt.rollback.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_newer_deployment_stops_the_one_under_way() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        let (service, _agent) = settled(&mut world).await;
        world.update(&service, 2).await;
        world.settle().await;
        world.update(&service, 1).await;
        let attempts = world.attempts(&service).await;
        let newest = &world.deployments(&service).await[0].id;
        let stopped = attempts.iter().find(|attempt| attempt.status == ServiceDeploymentStatus::Stopped).unwrap();
        assert!(stopped.status_reason.starts_with(&format!("Superseded by deployment {newest}.")), "{}", stopped.status_reason);
        assert_eq!(attempts.iter().filter(|attempt| attempt.finished_at.is_none()).count(), 1);
    })
    .await;
}
