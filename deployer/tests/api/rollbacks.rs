//! Going back: to what, by whom, and what it does to the triggers.

use crate::support::{World, in_each_world};
use axum::http::StatusCode;
use model::access::{Resource, Role};
use model::service::RolloutState;
use serde_json::{Value, json};

fn digest(content: u8) -> String {
    format!("sha256:{}", format!("{content:02x}").repeat(32))
}

/// A service that completed `web:1` (content 1) and `web:2` (content 2, by a push), with its trigger.
async fn with_two_revisions(world: &World) -> String {
    world.create_web(1).await;
    world.end(RolloutState::Completed).await;
    let trigger = world.trigger("v*").await;
    world.pass(2);
    world.pushed("acme/web:v2", 2).await;
    world.intake().await;
    world.end(RolloutState::Completed).await;
    world.pass(2);
    trigger
}

async fn rollback(world: &World, token: &str, wish: Value) -> (StatusCode, Value) {
    let answer = world.v1(token, "POST", "/api/v1/rollbacks", wish).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn back_is_a_new_deployment_and_holds_the_triggers() {
    in_each_world(|world| async move {
        let trigger = with_two_revisions(&world).await;
        let (status, body) = rollback(&world, &world.admin, json!({"service": "web", "reason": "checkout is broken"})).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        assert_eq!((&body["from"], &body["to"], &body["held"]), (&json!("web:2"), &json!("web:1"), &json!([trigger])));
        assert_eq!(world.primary().await, ("web:1".to_owned(), digest(1)));
        // Not undone by what was pushed before, nor by what is pushed now.
        assert_eq!(world.intake().await.deployments, 0);
        world.pushed("acme/web:v3", 3).await;
        world.intake().await;
        assert_eq!((world.history("").await.as_str(), world.primary().await.0.as_str()), ("2 held, 1 taken", "web:1"));
        let shown = world.v1(&world.admin, "GET", &format!("/api/v1/triggers/{trigger}"), Value::Null).await.ok();
        assert_eq!((&shown["held"]["reason"], &shown["held"]["by"]), (&json!("checkout is broken"), &json!("user:admin")));
        world.v1(&world.admin, "POST", "/api/v1/triggers/resume", json!({"service": "web"})).await.ok();
        world.intake().await;
        assert_eq!(world.primary().await, ("web:3".to_owned(), digest(3)));
    })
    .await;
}

#[tokio::test]
async fn a_push_that_nobody_decided_yet_does_not_undo_a_rollback() {
    in_each_world(|world| async move {
        with_two_revisions(&world).await;
        world.pushed("acme/web:v3", 3).await;
        assert_eq!(rollback(&world, &world.admin, json!({"service": "web"})).await.0, StatusCode::CREATED);
        world.intake().await;
        world.v1(&world.admin, "POST", "/api/v1/triggers/resume", json!({"service": "web"})).await.ok();
        world.pass(5);
        world.intake().await;
        assert_eq!((world.history("").await.as_str(), world.primary().await.0.as_str()), ("2 skipped, 1 taken", "web:1"));
    })
    .await;
}

#[tokio::test]
async fn the_digests_are_those_that_ran() {
    in_each_world(|world| async move {
        with_two_revisions(&world).await;
        // The tag of web:1 has moved since.
        world.push("acme/web", "v1", 1);
        world.push("acme/web", "old", 1);
        world.push("acme/web", "v1", 77);
        let (status, body) = rollback(&world, &world.admin, json!({"service": "web", "to": "1"})).await;
        assert_eq!((status, world.primary().await.1), (StatusCode::CREATED, digest(1)), "{body}");
    })
    .await;
}

#[tokio::test]
async fn an_image_that_is_gone_is_refused_before_tasks_fail() {
    in_each_world(|world| async move {
        with_two_revisions(&world).await;
        world.push("acme/web", "v1", 77);
        let (status, body) = rollback(&world, &world.admin, json!({"service": "web"})).await;
        assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &json!("image_is_gone")), "{body}");
        assert_eq!(world.primary().await.0, "web:2");
        assert!(world.events("trigger.held").await.is_empty(), "nothing is held by what was not done");
    })
    .await;
}

#[tokio::test]
async fn there_has_to_be_a_way_back() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let refused = async |wish: Value, code: &str| {
            let (status, body) = rollback(&world, &world.admin, wish.clone()).await;
            assert!(status.is_client_error(), "{wish}: {body}");
            assert_eq!(body["code"], code, "{wish}: {body}");
        };
        refused(json!({"service": "web"}), "no_way_back").await;
        refused(json!({"service": "web", "to": "web:1"}), "no_way_back").await;
        refused(json!({"service": "web", "to": "9"}), "no_way_back").await;
        refused(json!({"service": "web", "to": "web:x"}), "invalid_request").await;
        refused(json!({"service": "none"}), "not_found").await;
        refused(json!({"service": "none", "to": "1"}), "not_found").await;
        refused(json!({"service": "web", "reason": "x".repeat(501)}), "invalid_request").await;
    })
    .await;
}

#[tokio::test]
async fn going_back_takes_what_deploying_by_hand_takes() {
    in_each_world(|world| async move {
        with_two_revisions(&world).await;
        let nobody = world.robot("nobody", &[]).await;
        let viewer = world.robot("viewer", &[(Role::View, Resource::service("default", "web"))]).await;
        let deployer = world.robot("deployer", &[(Role::Deploy, Resource::service("default", "web"))]).await;
        let wish = || json!({"service": "web"});
        assert_eq!(rollback(&world, &nobody, wish()).await.0, StatusCode::NOT_FOUND);
        let (status, body) = rollback(&world, &viewer, wish()).await;
        assert_eq!((status, &body["missing"]["role"]), (StatusCode::FORBIDDEN, &json!("deploy")));
        let (status, body) = rollback(&world, &deployer, wish()).await;
        assert_eq!((status, &body["missing"]["role"]), (StatusCode::FORBIDDEN, &json!("pull")));
        world.grant(&"robot:deployer".parse().unwrap(), Role::Pull, &Resource::repository("acme/web")).await;
        assert_eq!(rollback(&world, &deployer, wish()).await.0, StatusCode::CREATED);
    })
    .await;
}
