//! What a server that was restarted, or lost its database, does with agents that know more.

use crate::agent::{FakeAgent, unknown_container};
use crate::world::World;
use http::{Method, StatusCode};
use model::ids::TaskId;
use model::task::{DesiredStatus, TaskStatus};
use platform::db::testing::{on_each_database, sqlite};
use serde_json::json;

#[tokio::test]
async fn a_restarted_server_asks_to_register_and_gives_the_complete_set_under_a_higher_epoch() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        world.definition(1, json!({})).await;
        let service = world.service(2, "user:admin").await;
        let mut agent = FakeAgent::start(&world, "a").await;
        world.settle().await;
        agent.obey(&world).await;
        let before = agent.orders.clone();
        let mut world = world.restart().await;
        deployer::agents::lease::expect_connected(&world.context).await.unwrap();
        let refused: Result<api::agent::PollResponse, _> = agent.call(&world, "poll", &agent.poll_request()).await;
        assert_eq!(refused.unwrap_err(), api::agent::AgentErrorCode::Register);
        world.settle().await;
        agent.register(&world).await;
        let answer = agent.poll(&world).await;
        assert!(answer.complete && answer.epoch == 8);
        assert_eq!(agent.orders, before, "the same tasks, none twice");
        world.settle().await;
        assert_eq!(world.tasks(&service).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_task_without_a_row_is_unknown_and_never_ordered_to_stop() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({})).await;
    world.service(1, "user:admin").await;
    let mut agent = FakeAgent::start(&world, "a").await;
    world.settle().await;
    agent.poll(&world).await;
    let ghost = TaskId::from_random(42);
    let mut request = agent.poll_request();
    request.known.insert(ghost.clone(), 1);
    request.epoch = 0;
    let answer: api::agent::PollResponse = agent.call(&world, "poll", &request).await.unwrap();
    assert_eq!(answer.unknown, std::slice::from_ref(&ghost));
    assert!(answer.tasks.iter().all(|order| order.desired_status == DesiredStatus::Running));
    // Its reports are taken without complaint and change nothing.
    agent.tell(&world, &ghost, TaskStatus::Running, None).await;
    assert!(world.task(&ghost).await.is_none());
}

#[tokio::test]
async fn unknown_containers_are_listed_until_the_agent_stops_reporting_them() {
    on_each_database(|db| async move {
        let world = World::new(db).await;
        let mut agent = FakeAgent::start(&world, "a").await;
        agent.poll(&world).await;
        agent.report(&world, vec![], vec![unknown_container("one"), unknown_container("two")]).await;
        let (status, page) = world.api(Method::GET, "/api/v1/unknown-containers?limit=1", None).await;
        assert_eq!((status, page["items"][0]["name"].as_str()), (StatusCode::OK, Some("one")));
        let next = page["next"].as_str().unwrap();
        let (_, page) = world.api(Method::GET, &format!("/api/v1/unknown-containers?after={next}"), None).await;
        assert_eq!((page["items"][0]["name"].as_str(), page.get("next")), (Some("two"), None));
        agent.report(&world, vec![], vec![]).await;
        let (_, page) = world.api(Method::GET, "/api/v1/unknown-containers", None).await;
        assert_eq!(page["items"], json!([]));
    })
    .await;
}
