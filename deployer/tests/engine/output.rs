//! The bridge for output.

use crate::agent::{FakeAgent, send};
use crate::world::World;
use api::agent::{LOG_PROBLEM_HEADER, LogRequest};
use axum::body::Body;
use deployer::agents::logs::{LogError, open};
use http::{Method, Request, StatusCode};
use model::ids::TaskId;
use platform::db::testing::sqlite;
use serde_json::{Value, json};
use std::time::Duration;

async fn running() -> (World, FakeAgent, TaskId, tempfile::TempDir) {
    let (db, folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({})).await;
    world.service(1, "user:admin").await;
    let mut agent = FakeAgent::start(&world, "a").await;
    world.settle().await;
    agent.obey(&world).await;
    let id = agent.to_run()[0].clone();
    (world, agent, id, folder)
}

/// Answers the next log request that a poll brings.
async fn answer(world: &World, agent: &mut FakeAgent, problem: Option<&str>, body: &'static str) -> (LogRequest, StatusCode) {
    let request = loop {
        if let Some(request) = agent.poll(world).await.log_requests.pop() {
            break request;
        }
    };
    let mut post = Request::post(format!("/agent/v1/logs/{}", request.id));
    if let Some(problem) = problem {
        post = post.header(LOG_PROBLEM_HEADER, problem);
    }
    let status = send(world, Some(agent.certificate()), post.body(Body::from(body)).unwrap()).await.status();
    (request, status)
}

#[tokio::test]
async fn output_flows_from_the_agent_to_the_reader() {
    let (world, mut agent, id, _folder) = running().await;
    let path = format!("/api/v1/tasks/{id}/logs?container=web&tail=10&timestamps=true");
    let (read, (request, status)) = tokio::join!(world.api(Method::GET, &path, None), answer(&world, &mut agent, None, "hello\n"));
    assert_eq!(read, (StatusCode::OK, Value::String("hello\n".into())));
    assert_eq!((request.task_id, request.tail, request.timestamps, request.follow), (id, Some(10), true, false));
    assert_eq!(status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_agents_reason_reaches_the_reader() {
    let (world, mut agent, id, _folder) = running().await;
    let path = format!("/api/v1/tasks/{id}/logs");
    let answer = answer(&world, &mut agent, Some("the container is gone"), "");
    let ((status, problem), _) = tokio::join!(world.api(Method::GET, &path, None), answer);
    assert_eq!((status, problem["code"].as_str()), (StatusCode::CONFLICT, Some("no_output")));
    assert_eq!(problem["detail"], "the container is gone");
}

#[tokio::test]
async fn what_cannot_have_output_is_refused_by_name() {
    let (world, _agent, id, _folder) = running().await;
    for (path, word) in [
        (format!("/api/v1/tasks/{}/logs", TaskId::from_random(5)), "there is no task"),
        ("/api/v1/tasks/nonsense/logs".to_owned(), "there is no task"),
        (format!("/api/v1/tasks/{id}/logs?container=db"), "no such container; it has web"),
    ] {
        let (status, problem) = world.api(Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    let (status, _) = world.api(Method::GET, &format!("/api/v1/tasks/{id}/logs?tail=100001"), None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = world.api_as("wrong", Method::GET, &format!("/api/v1/tasks/{id}/logs"), None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_agent_that_does_not_answer_is_not_waited_for_forever() {
    let (world, mut agent, id, _folder) = running().await;
    let request = LogRequest { id: "1".into(), task_id: id, container: None, follow: false, tail: None, timestamps: false, since: None };
    let (instance, wait) = (agent.instance.clone(), Duration::from_millis(50));
    let opened = open(&world.context, &instance, request, wait).await.map(|_| ());
    assert_eq!(opened, Err(LogError::NoAnswer));
    assert!(agent.poll(&world).await.log_requests.is_empty(), "nobody waits any more");
    let late = Request::post("/agent/v1/logs/1").body(Body::from("late")).unwrap();
    assert_eq!(send(&world, Some(agent.certificate()), late).await.status(), StatusCode::NOT_FOUND);
}
