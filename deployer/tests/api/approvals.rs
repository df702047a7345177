//! A push by somebody who may not deploy waits, and is approved or rejected by somebody who may.

use crate::support::{World, in_each_world};
use axum::http::StatusCode;
use model::access::{Resource, Role};
use serde_json::{Value, json};

const PUSHER: &str = "robot:pusher";

fn push() -> (Role, Resource) {
    (Role::Push, Resource::repository("acme/web"))
}

fn deploy() -> (Role, Resource) {
    (Role::Deploy, Resource::service("default", "web"))
}

/// A service with a trigger, and a robot that may push and no more.
async fn with_pusher(world: &World) -> String {
    world.create_web(1).await;
    world.robot("pusher", &[push()]).await;
    world.trigger("v*").await
}

async fn decision(world: &World) -> Value {
    let page = world.v1(&world.admin, "GET", "/api/v1/trigger-decisions", Value::Null).await.ok();
    page["items"][0].clone()
}

async fn answer(world: &World, token: &str, id: &Value, verb: &str, body: Value) -> (StatusCode, Value) {
    let path = format!("/api/v1/trigger-decisions/{}/{verb}", id.as_str().unwrap());
    let answer = world.v1(token, "POST", &path, body).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_push_without_deploy_waits_outside_of_the_deployments() {
    in_each_world(|world| async move {
        with_pusher(&world).await;
        world.pushed_by(PUSHER, None, "acme/web:v2", 2).await;
        assert_eq!(world.intake().await.deployments, 0);
        let waiting = decision(&world).await;
        assert_eq!(waiting["status"], "waiting");
        let reason = "robot:pusher pushed, and no grant gives them deploy on service:default/web";
        assert_eq!(waiting["reason"], reason);
        let service = world.ecs("DescribeServices", json!({"services": ["web"]})).await.ok()["services"][0].clone();
        assert_eq!(service["deployments"].as_array().unwrap().len(), 1);
        assert!(world.events("push.waiting").await[0].contains("waits for approval"));
    })
    .await;
}

#[tokio::test]
async fn who_may_deploy_approves() {
    in_each_world(|world| async move {
        with_pusher(&world).await;
        world.pushed_by(PUSHER, None, "acme/web:v2", 2).await;
        world.intake().await;
        let id = decision(&world).await["id"].clone();
        let approver = world.robot("approver", &[deploy()]).await;
        let viewer = world.robot("viewer", &[(Role::View, Resource::service("default", "web")), push()]).await;
        let nobody = world.robot("nobody", &[push()]).await;
        assert_eq!(answer(&world, &nobody, &id, "approve", json!({})).await.0, StatusCode::NOT_FOUND);
        assert_eq!(answer(&world, &viewer, &id, "approve", json!({})).await.0, StatusCode::FORBIDDEN);
        let (status, body) = answer(&world, &approver, &id, "approve", json!({})).await;
        assert_eq!((status, &body["missing"]["role"]), (StatusCode::FORBIDDEN, &json!("pull")), "approving does not bypass pulling");
        assert_eq!(world.primary().await.0, "web:1");
        world.grant(&"robot:approver".parse().unwrap(), Role::Pull, &Resource::repository("acme/web")).await;
        let (status, body) = answer(&world, &approver, &id, "approve", json!({})).await;
        assert_eq!((status, &body["status"], &body["decided_by"]), (StatusCode::OK, &json!("approved"), &json!("robot:approver")));
        assert_eq!(world.primary().await.0, "web:2");
        assert!(world.events("push.approved").await[0].starts_with("push.approved robot:approver: push 1 of acme/web:v2"));
        let (status, body) = answer(&world, &approver, &id, "approve", json!({})).await;
        assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &json!("not_waiting")));
        assert_eq!(world.intake().await.decisions, 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_rejected_stays_rejected() {
    in_each_world(|world| async move {
        with_pusher(&world).await;
        world.pushed_by(PUSHER, None, "acme/web:v2", 2).await;
        world.intake().await;
        let id = decision(&world).await["id"].clone();
        let (status, body) = answer(&world, &world.admin, &id, "reject", json!({"reason": "not on a Friday"})).await;
        assert_eq!((status, &body["status"], &body["reason"]), (StatusCode::OK, &json!("rejected"), &json!("not on a Friday")));
        assert_eq!(answer(&world, &world.admin, &id, "approve", json!({})).await.0, StatusCode::CONFLICT);
        world.grant(&PUSHER.parse().unwrap(), Role::Deploy, &Resource::service("default", "web")).await;
        assert_eq!(world.intake().await.decisions, 0, "a grant that comes later changes nothing that was decided");
        assert_eq!(world.primary().await.0, "web:1");
    })
    .await;
}

#[tokio::test]
async fn a_newer_push_that_is_taken_ends_the_waiting() {
    in_each_world(|world| async move {
        with_pusher(&world).await;
        world.pushed_by(PUSHER, None, "acme/web:v2", 2).await;
        world.intake().await;
        world.pushed_by(PUSHER, None, "acme/web:v3", 3).await;
        world.intake().await;
        assert_eq!(world.history("").await, "2 waiting, 1 superseded");
        world.pushed("acme/web:v4", 4).await;
        world.intake().await;
        assert_eq!(world.history("").await, "3 taken, 2 superseded, 1 superseded");
        let superseded = world.v1(&world.admin, "GET", "/api/v1/trigger-decisions?status=superseded", Value::Null).await.ok();
        assert_eq!(superseded["items"][0]["superseded_by"], 3);
    })
    .await;
}

#[tokio::test]
async fn an_approval_ends_the_waiting_of_what_is_older() {
    in_each_world(|world| async move {
        with_pusher(&world).await;
        world.pushed_by(PUSHER, None, "acme/web:v2", 2).await;
        world.intake().await;
        // Both wait only when a range of versions has the newer push below the older one.
        let other = json!({"service": "web", "repository": "acme/web", "tag": "^1"});
        world.v1(&world.admin, "POST", "/api/v1/triggers", other).await;
        world.pushed_by(PUSHER, None, "acme/web:v1.5.0", 3).await;
        world.intake().await;
        world.pushed_by(PUSHER, None, "acme/web:v1.2.0", 4).await;
        world.intake().await;
        let waiting = world.v1(&world.admin, "GET", "/api/v1/trigger-decisions?status=waiting&tag=v1.2.0", Value::Null).await.ok();
        let semver = world.v1(&world.admin, "GET", "/api/v1/triggers", Value::Null).await.ok()["items"].clone();
        let semver = semver.as_array().unwrap().iter().find(|trigger| trigger["kind"] == "semver").unwrap()["id"].clone();
        let newest = waiting["items"].as_array().unwrap().iter().find(|decision| decision["trigger"] == semver).unwrap()["id"].clone();
        assert_eq!(answer(&world, &world.admin, &newest, "approve", json!({})).await.0, StatusCode::OK);
        let of_semver = world.history(&format!("?trigger={}", semver.as_str().unwrap())).await;
        assert_eq!(of_semver, "3 approved, 2 superseded");
    })
    .await;
}

#[tokio::test]
async fn a_token_that_was_not_given_deploy_does_not_deploy_either() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        world.trigger("v*").await;
        let only_push = json!([{"role": "push", "kind": "repository", "pattern": "acme/web"}]).to_string();
        world.pushed_by("user:admin", Some(&only_push), "acme/web:v2", 2).await;
        world.intake().await;
        let waiting = decision(&world).await;
        let reason = "user:admin pushed with a token that was not given deploy on service:default/web";
        assert_eq!((&waiting["status"], &waiting["reason"]), (&json!("waiting"), &json!(reason)));
        let with_deploy = json!([{"role": "push", "kind": "repository", "pattern": "acme/**"}, {"role": "deploy", "kind": "service", "pattern": "default/*"}]);
        world.pushed_by("user:admin", Some(&with_deploy.to_string()), "acme/web:v3", 3).await;
        world.intake().await;
        assert_eq!(world.history("").await, "2 taken, 1 superseded");
        world.pass(2);
        world.pushed_by("user:admin", Some("nonsense"), "acme/web:v4", 4).await;
        world.intake().await;
        assert_eq!(decision(&world).await["status"], "waiting", "what cannot be read gives nothing");
    })
    .await;
}

#[tokio::test]
async fn each_image_of_the_definition_and_the_host_count() {
    in_each_world(|world| async move {
        world.push("acme/side", "v1", 9);
        let document = json!({"family": "web", "networkMode": "host", "containerDefinitions": [
            {"name": "app", "image": "127.0.0.1:5000/acme/web:v1", "memory": 64},
            {"name": "side", "image": "127.0.0.1:5000/acme/side:v1", "memory": 64, "essential": false}]});
        world.ecs("RegisterTaskDefinition", document).await.ok();
        world.ecs("CreateService", json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1})).await.ok();
        let wish = json!({"service": "web", "repository": "acme/web", "tag": "v*", "container": "app"});
        assert_eq!(world.v1(&world.admin, "POST", "/api/v1/triggers", wish).await.status, StatusCode::CREATED);
        world.robot("pusher", &[push(), deploy()]).await;
        let mut content = 10;
        for (grant, missing) in [
            (None, "pull on repository:acme/side"),
            (Some((Role::Pull, Resource::repository("acme/side"))), "admin on cluster:default"),
            (Some((Role::Admin, Resource::cluster("default"))), ""),
        ] {
            if let Some((role, resource)) = grant {
                world.grant(&PUSHER.parse().unwrap(), role, &resource).await;
            }
            content += 1;
            world.pushed_by(PUSHER, None, &format!("acme/web:v{content}"), content).await;
            world.intake().await;
            let decision = decision(&world).await;
            assert!(decision["reason"].as_str().unwrap().contains(missing), "{missing}: {decision}");
            assert_eq!(decision["status"], if missing.is_empty() { "taken" } else { "waiting" });
        }
    })
    .await;
}
