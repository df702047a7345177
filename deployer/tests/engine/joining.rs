//! Who may speak the agent protocol.

use crate::agent::{FakeAgent, call, join_request, send};
use crate::world::{World, digest};
use api::agent::{AgentErrorCode, JoinResponse, PollResponse, RenewRequest, RenewResponse};
use axum::body::Body;
use http::{Request, StatusCode};
use platform::db::testing::{on_each_database, sqlite};
use serde_json::json;

#[tokio::test]
async fn a_join_token_works_once_and_the_certificate_from_then_on() {
    on_each_database(|db| async move {
        let world = World::new(db).await;
        let token = world.join_token().await;
        let joined: Result<JoinResponse, _> = call(&world, None, "join", &join_request(token.clone(), "a")).await;
        assert_eq!(joined.unwrap().cluster, "default");
        let again: Result<JoinResponse, _> = call(&world, None, "join", &join_request(token, "a")).await;
        assert_eq!(again.unwrap_err(), AgentErrorCode::JoinToken);
        let wrong: Result<JoinResponse, _> = call(&world, None, "join", &join_request("nonsense".into(), "a")).await;
        assert_eq!(wrong.unwrap_err(), AgentErrorCode::JoinToken);
    })
    .await;
}

#[tokio::test]
async fn a_failed_join_leaves_the_token_and_no_instance() {
    let (db, _folder) = sqlite().await;
    let world = World::new(db).await;
    let token = world.join_token().await;
    let mut request = join_request(token.clone(), "a");
    request.certificate_request = "no request".into();
    let refused: Result<JoinResponse, _> = call(&world, None, "join", &request).await;
    assert_eq!(refused.unwrap_err(), AgentErrorCode::Invalid);
    let mut request = join_request(token.clone(), "a");
    request.attributes = (0..101).map(|n| (n.to_string(), String::new())).collect();
    let refused: Result<JoinResponse, _> = call(&world, None, "join", &request).await;
    assert_eq!(refused.unwrap_err(), AgentErrorCode::Invalid);
    let joined: Result<JoinResponse, _> = call(&world, None, "join", &join_request(token, "a")).await;
    assert!(joined.is_ok());
}

#[tokio::test]
async fn nobody_without_a_certificate_of_ours_gets_anything() {
    let (db, _folder) = sqlite().await;
    let world = World::new(db).await;
    for (method, path) in [
        ("POST", "/agent/v1/renew"),
        ("POST", "/agent/v1/register"),
        ("POST", "/agent/v1/poll"),
        ("POST", "/agent/v1/report"),
        ("POST", "/agent/v1/logs/1"),
        ("GET", "/agent/v1/images/a/manifests/b"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::from("{}")).unwrap();
        assert_eq!(send(&world, None, request).await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_revoked_certificate_and_an_agent_that_did_not_register_are_told_so() {
    let (db, _folder) = sqlite().await;
    let world = World::new(db).await;
    let agent = FakeAgent::join(&world, "a").await;
    let poll: Result<PollResponse, _> = agent.call(&world, "poll", &agent.poll_request()).await;
    assert_eq!(poll.unwrap_err(), AgentErrorCode::Register);
    agent.register(&world).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let renewed: RenewResponse = agent.call(&world, "renew", &RenewRequest { certificate_request: request }).await.unwrap();
    assert!(renewed.certificate.starts_with("-----BEGIN CERTIFICATE"));
    let (instance, now) = (agent.instance.clone(), world.now());
    world
        .write(move |tx| {
            let instance = instance.clone();
            Box::pin(async move { identity::authority::revoke(tx, &instance, now).await.map(|_| ()) })
        })
        .await;
    let poll: Result<PollResponse, _> = agent.call(&world, "poll", &agent.poll_request()).await;
    assert_eq!(poll.unwrap_err(), AgentErrorCode::Revoked);
}

#[tokio::test]
async fn the_image_gate_gives_what_the_tasks_of_the_instance_need() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({})).await;
    world.service(1, "user:admin").await;
    let (mut first, second) = (FakeAgent::start(&world, "a").await, FakeAgent::start(&world, "b").await);
    world.settle().await;
    first.poll(&world).await;
    let (with, without) = if first.orders.is_empty() { (&second, &first) } else { (&first, &second) };
    let path = format!("/agent/v1/images/acme/web/blobs/{}", digest('c'));
    let get = |path: String| Request::get(path).body(Body::empty()).unwrap();
    let served = send(&world, Some(with.certificate()), get(path.clone())).await;
    assert_eq!(served.status(), StatusCode::OK);
    let body = axum::body::to_bytes(served.into_body(), 1 << 16).await.unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = json!({"repository": "acme/web", "roots": [digest('a')], "manifest": false, "digest": digest('c')});
    assert_eq!(seen, expected);
    assert_eq!(send(&world, Some(without.certificate()), get(path)).await.status(), StatusCode::FORBIDDEN);
    let other = format!("/agent/v1/images/acme/other/manifests/{}", digest('a'));
    assert_eq!(send(&world, Some(with.certificate()), get(other)).await.status(), StatusCode::FORBIDDEN);
}
