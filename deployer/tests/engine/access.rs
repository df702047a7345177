//! Deploying does not bypass pulling, and nobody sees what is not theirs.

use crate::agent::FakeAgent;
use crate::world::World;
use http::{Method, StatusCode};
use model::task::{StopCode, TaskStatus};
use platform::db::testing::{on_each_database, sqlite};
use serde_json::{Value, json};

pub async fn user(world: &World, name: &str) {
    let (status, body) = world.api(Method::POST, "/api/v1/users", Some(json!({"name": name}))).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
}

async fn grant(world: &World, principal: &str, role: &str, kind: &str, pattern: &str) -> String {
    let body = json!({"principal": principal, "role": role, "kind": kind, "pattern": pattern});
    let (status, made) = world.api(Method::POST, "/api/v1/grants", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

pub async fn token(world: &World, principal: &str) -> String {
    let body = json!({"principal": principal, "label": "test"});
    let (status, made) = world.api(Method::POST, "/api/v1/tokens", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["secret"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_task_start_names_the_grant_that_was_revoked_and_goes_on_when_it_is_back() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        user(&world, "bob").await;
        world.definition(1, json!({})).await;
        let service = world.service(1, "user:bob").await;
        let mut agent = FakeAgent::start(&world, "a").await;
        world.settle().await;
        assert!(world.tasks(&service).await.is_empty());
        let messages = world.messages().await;
        let expected = "(service web) was unable to start a task: user:bob may not pull acme/web, \
                        because no grant gives pull on repository:acme/web";
        assert_eq!(messages, [expected]);
        let refused = {
            let mut connection = world.context.db.read().await.unwrap();
            let cluster = service.cluster.clone();
            deployer::store::tasks::of_cluster_filtered(&mut connection, &cluster, model::task::DesiredStatus::Stopped).await.unwrap()
        };
        assert_eq!((refused.len(), refused[0].last_status), (1, TaskStatus::Stopped));
        assert_eq!(refused[0].stop_code, Some(StopCode::TaskFailedToStart));
        assert!(refused[0].stopped_reason.as_ref().unwrap().contains("no grant gives pull on repository:acme/web"));
        assert!(agent.poll(&world).await.tasks.is_empty(), "nothing was ordered");
        grant(&world, "user:bob", "pull", "repository", "acme/*").await;
        world.advance(std::time::Duration::from_secs(1));
        world.settle().await;
        assert_eq!(world.tasks(&service).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn events_are_seen_by_those_who_may_view_what_they_are_about() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    user(&world, "bob").await;
    world.definition(1, json!({})).await;
    world.service(1, "user:admin").await;
    let _agent = FakeAgent::start(&world, "a").await;
    world.settle().await;
    let bob = token(&world, "user:bob").await;
    let (status, page) = world.api_as(&bob, Method::GET, "/api/v1/events?after=0", None).await;
    assert_eq!((status, page["items"].as_array().map(Vec::len)), (StatusCode::OK, Some(0)), "{page}");
    let last = page["next"].as_i64().unwrap();
    assert!(last > 0);
    grant(&world, "user:bob", "view", "service", "default/web").await;
    let (_, page) = world.api_as(&bob, Method::GET, "/api/v1/events?after=0&subject=service:default/web", None).await;
    assert_eq!(page["items"][0]["kind"], "deployment.started", "{page}");
    let (_, page) = world.api_as(&bob, Method::GET, "/api/v1/events?after=0&subject=service:default/web&kind=service.", None).await;
    assert!(page["items"][0]["message"].as_str().unwrap().contains("has started 1 tasks"), "{page}");
    let (_, page) = world.api_as(&bob, Method::GET, "/api/v1/events", None).await;
    let subjects = |page: &Value| page["items"].as_array().unwrap().iter().map(|event| event["subject"].clone()).collect::<Vec<_>>();
    assert!(subjects(&page).iter().all(|subject| subject == "service:default/web"), "{page}");
    let (_, page) = world.api(Method::GET, "/api/v1/events?limit=1000", None).await;
    assert!(subjects(&page).iter().any(|subject| subject.as_str().unwrap().starts_with("join-token:")));
    let (status, problem) = world.api(Method::GET, "/api/v1/events?limit=0", None).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_request")));
    let (status, problem) = world.api_as(&bob, Method::GET, "/api/v1/unknown-containers", None).await;
    assert_eq!((status, problem["missing"]["resource"].as_str()), (StatusCode::FORBIDDEN, Some("server:berth")));
}
