//! Hosts that drain, are taken out, and are lost many at once, against the operations and the sweep.

use crate::agent::FakeAgent;
use crate::world::{HEALTHY_AFTER, LEASE, World};
use api::agent::{AgentErrorCode, PollResponse};
use axum::body::Body;
use deployer::agents::lease;
use http::{Method, Request, StatusCode};
use model::task::TaskStatus;
use platform::db::testing::on_each_database;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt as _;

async fn ecs(world: &World, operation: &str, body: Value) -> (StatusCode, Value) {
    let request = Request::post("/")
        .header("authorization", format!("Bearer {}", world.token))
        .header("x-amz-target", format!("{}.{operation}", api::aws::ECS_TARGET))
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = world.deployer.aws_router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn set_status(world: &World, agent: &FakeAgent, status: &str) -> Value {
    let (code, answer) =
        ecs(world, "UpdateContainerInstancesState", json!({"containerInstances": [agent.instance.as_str()], "status": status})).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    answer
}

/// A service of `count` healthy tasks on `hosts` agents, each in a zone of its own.
async fn running(world: &mut World, count: i64, hosts: usize) -> (model::service::Service, Vec<FakeAgent>) {
    world.definition(1, json!({})).await;
    let service = world.service(count, "user:admin").await;
    let mut agents = Vec::new();
    for zone in ["a", "b", "c", "d"].into_iter().take(hosts) {
        agents.push(FakeAgent::start(world, zone).await);
    }
    world.settle().await;
    for agent in &mut agents {
        agent.obey(world).await;
    }
    world.advance(HEALTHY_AFTER);
    world.settle().await;
    (service, agents)
}

#[tokio::test]
async fn a_draining_instance_gives_its_tasks_away_once_others_are_healthy() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        let (service, mut agents) = running(&mut world, 2, 2).await;
        let answer = set_status(&world, &agents[0], "DRAINING").await;
        assert_eq!(answer["containerInstances"][0]["status"], "DRAINING");
        world.settle().await;
        agents[0].obey(&world).await;
        agents[1].obey(&world).await;
        assert_eq!((agents[0].to_run().len(), agents[1].to_run().len()), (1, 2), "the old one serves until the new one is healthy");
        world.advance(HEALTHY_AFTER);
        world.settle().await;
        agents[0].obey(&world).await;
        assert!(agents[0].orders.is_empty());
        assert_eq!(world.tasks(&service).await.len(), 2);
        // Again: nothing changes, and nothing is said twice.
        set_status(&world, &agents[0], "DRAINING").await;
        world.settle().await;
        set_status(&world, &agents[0], "ACTIVE").await;
        let kinds = kinds_of_cluster(&world).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "instance.draining").count(), 1);
        assert!(kinds.contains(&"instance.activated".to_owned()), "{kinds:?}");
        let (_, none) =
            ecs(&world, "UpdateContainerInstancesState", json!({"containerInstances": ["f".repeat(32)], "status": "ACTIVE"})).await;
        assert_eq!(none["failures"][0]["reason"], "MISSING");
    })
    .await;
}

#[tokio::test]
async fn a_deregistered_instance_is_refused_and_its_tasks_are_made_up_for() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        let (service, mut agents) = running(&mut world, 2, 2).await;
        let id = agents[0].instance.to_string();
        let (status, refused) = ecs(&world, "DeregisterContainerInstance", json!({"containerInstance": id})).await;
        assert_eq!((status, refused["message"].as_str()), (StatusCode::BAD_REQUEST, Some("Found running tasks on the instance.")));
        let orphan = agents[0].to_run().remove(0);
        let (status, answer) = ecs(&world, "DeregisterContainerInstance", json!({"containerInstance": id, "force": true})).await;
        assert_eq!((status, answer["containerInstance"]["status"].as_str()), (StatusCode::OK, Some("INACTIVE")), "{answer}");
        let task = world.task(&orphan).await.unwrap();
        assert_eq!(task.last_status, TaskStatus::Stopped);
        assert!(task.stopped_reason.unwrap().contains("deregistered"));
        let refused: Result<PollResponse, _> = agents[0].call(&world, "poll", &agents[0].poll_request()).await;
        assert_eq!(refused.unwrap_err(), AgentErrorCode::Revoked);
        world.settle().await;
        agents[1].obey(&world).await;
        assert_eq!(agents[1].to_run().len(), 2);
        assert_eq!(world.deployments(&service).await[0].failed_tasks, 0, "nobody failed");
        // Again, and for what is INACTIVE: as it is.
        let (status, _) = ecs(&world, "DeregisterContainerInstance", json!({"containerInstance": id})).await;
        assert_eq!(status, StatusCode::OK);
        let (_, answer) = ecs(&world, "UpdateContainerInstancesState", json!({"containerInstances": [id], "status": "ACTIVE"})).await;
        assert_eq!(answer["failures"][0]["reason"], "INACTIVE");
    })
    .await;
}

#[tokio::test]
async fn a_poll_that_is_open_ends_when_its_instance_is_removed() {
    let (db, _folder) = platform::db::testing::sqlite().await;
    let mut world = World::new(db).await;
    let (_, mut agents) = running(&mut world, 1, 1).await;
    agents[0].obey(&world).await;
    let known = agents[0].poll_request();
    let (polled, _) = tokio::join!(agents[0].call::<PollResponse>(&world, "poll", &known), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ecs(&world, "DeregisterContainerInstance", json!({"containerInstance": agents[0].instance.as_str(), "force": true})).await
    });
    assert_eq!(polled.unwrap_err(), AgentErrorCode::Revoked);
}

async fn kinds_of_cluster(world: &World) -> Vec<String> {
    let mut connection = world.context.db.read().await.unwrap();
    let events = platform::events::of_subject(&mut connection, "cluster:default", 100).await.unwrap();
    events.into_iter().rev().map(|event| event.kind).collect()
}

/// Time passes while only the first agent is heard.
async fn only_the_first_is_heard(world: &World, agents: &mut [FakeAgent], secs: u64) {
    for _ in 0..secs {
        world.advance(Duration::from_secs(1));
        agents[0].poll(world).await;
        lease::sweep(&world.context).await.unwrap();
    }
}

#[tokio::test]
async fn many_instances_lost_at_once_are_waited_for_then_given_up() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        let (service, mut agents) = running(&mut world, 3, 3).await;
        only_the_first_is_heard(&world, &mut agents, LEASE.as_secs() + 1).await;
        world.settle().await;
        assert_eq!(world.tasks(&service).await.len(), 3, "nothing is started for the two that are lost");
        assert_eq!(kinds_of_cluster(&world).await.last().map(String::as_str), Some("cluster.brake-engaged"));
        assert!(world.messages().await.last().unwrap().contains("does not replace 2 tasks"), "{:?}", world.messages().await);
        world.advance(world.context.config.brake);
        only_the_first_is_heard(&world, &mut agents, 1).await;
        world.settle().await;
        agents[0].obey(&world).await;
        assert_eq!(agents[0].to_run().len(), 3);
        assert_eq!(kinds_of_cluster(&world).await.last().map(String::as_str), Some("cluster.brake-released"));
        only_the_first_is_heard(&world, &mut agents, 5).await;
        assert_eq!(kinds_of_cluster(&world).await.last().map(String::as_str), Some("cluster.brake-released"), "once");
    })
    .await;
}

#[tokio::test]
async fn the_brake_is_let_go_when_they_return_and_when_somebody_decides() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        let (service, mut agents) = running(&mut world, 3, 3).await;
        only_the_first_is_heard(&world, &mut agents, LEASE.as_secs() + 1).await;
        world.settle().await;
        agents[1].register(&world).await;
        agents[2].register(&world).await;
        only_the_first_is_heard(&world, &mut agents, 1).await;
        world.settle().await;
        assert_eq!(kinds_of_cluster(&world).await.last().map(String::as_str), Some("cluster.brake-released"));
        assert_eq!(world.tasks(&service).await.iter().filter(|task| task.connected).count(), 3, "as before");
        only_the_first_is_heard(&world, &mut agents, LEASE.as_secs() + 1).await;
        world.settle().await;
        assert_eq!(world.tasks(&service).await.len(), 3);
        let path = "/api/v1/clusters/default/replace-lost";
        assert_eq!(world.api(Method::POST, path, None).await, (StatusCode::OK, json!({"released": true})));
        assert_eq!(world.api(Method::POST, path, None).await, (StatusCode::OK, json!({"released": false})));
        only_the_first_is_heard(&world, &mut agents, 1).await;
        world.settle().await;
        agents[0].obey(&world).await;
        assert_eq!(agents[0].to_run().len(), 3);
    })
    .await;
}
