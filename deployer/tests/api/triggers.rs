//! Triggers: who may make them, which pushes they take, and what they leave on record.

use crate::support::{World, in_each_world, web};
use axum::http::StatusCode;
use deployer::triggers::intake;
use model::access::{Resource, Role};
use model::service::RolloutState;
use serde_json::{Value, json};

fn digest(content: u8) -> String {
    format!("sha256:{}", format!("{content:02x}").repeat(32))
}

async fn create(world: &World, token: &str, wish: Value) -> (StatusCode, Value) {
    let answer = world.v1(token, "POST", "/api/v1/triggers", wish).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_push_that_matches_is_deployed_by_digest() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let trigger = world.trigger("v*").await;
        world.pushed("acme/web:latest", 7).await;
        world.pushed("acme/web:v2", 2).await;
        let status = world.intake().await;
        assert_eq!((status.decisions, status.deployments), (2, 1));
        assert_eq!(world.primary().await, ("web:2".to_owned(), digest(2)));
        assert_eq!(world.history("").await, "2 taken, 1 skipped");
        let definition = world.ecs("DescribeTaskDefinition", json!({"taskDefinition": "web:2"})).await.ok()["taskDefinition"].clone();
        let image = format!("127.0.0.1:5000/acme/web:v2@{}", digest(2));
        assert_eq!((&definition["containerDefinitions"][0]["image"], &definition["registeredBy"]), (&json!(image), &json!("user:admin")));
        let pinned = |world: &World| {
            let db = world.deployer.context().db.clone();
            async move {
                platform::exchange::pinned_by(&mut db.read().await.unwrap(), "acme/web", &digest(2).parse().unwrap())
                    .await
                    .unwrap()
                    .is_some()
            }
        };
        assert!(pinned(&world).await, "the registry must keep what may run");
        let said = world.events("push.").await;
        assert_eq!(said.len(), 1, "a tag that no trigger follows is no news: {said:?}");
        assert!(said[0].starts_with("push.taken user:admin: push 2 of acme/web:v2"), "{said:?}");
        let decision =
            world.v1(&world.admin, "GET", &format!("/api/v1/trigger-decisions?trigger={trigger}&status=taken"), Value::Null).await.ok();
        assert_eq!(decision["items"][0]["task_definition"], "web:2");
        assert!(decision["items"][0]["deployment"].as_str().unwrap().starts_with("ecs-svc/"));
        assert_eq!(world.intake().await, intake::Status::default(), "a push is decided once");
    })
    .await;
}

#[tokio::test]
async fn the_copy_is_of_what_runs_and_not_of_the_latest_revision() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        world.trigger("v*").await;
        let mut other = web();
        other["containerDefinitions"][0]["environment"] = json!([{"name": "LATER", "value": "1"}]);
        world.ecs("RegisterTaskDefinition", other).await.ok();
        world.pushed("acme/web:v2", 2).await;
        world.intake().await;
        assert_eq!(world.primary().await.0, "web:3");
        let definition = world.ecs("DescribeTaskDefinition", json!({"taskDefinition": "web:3"})).await.ok();
        assert!(!definition.to_string().contains("LATER"), "{definition}");
    })
    .await;
}

#[tokio::test]
async fn a_storm_ends_on_its_last_push_with_few_deployments() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        world.trigger("v*").await;
        let mut deployments = 0;
        // Fifty pushes in two seconds, with a pass after each.
        for number in 1..=50 {
            world.pushed(&format!("acme/web:v{number}"), number).await;
            deployments += world.intake().await.deployments;
            world.clock.advance(std::time::Duration::from_millis(40));
        }
        world.pass(1);
        deployments += world.intake().await.deployments;
        assert_eq!(world.primary().await.1, digest(50));
        assert!((2..=4).contains(&deployments), "{deployments} deployments");
        let history = world.history("").await;
        assert_eq!(history.matches("taken").count(), deployments);
        // The first brings what the service was made with.
        assert_eq!(history.matches("skipped").count(), 1, "{history}");
        assert_eq!(history.matches("superseded").count(), 49 - deployments, "{history}");
        assert!(history.starts_with("50 taken"), "{history}");
    })
    .await;
}

#[tokio::test]
async fn what_runs_is_skipped_and_what_failed_is_tried_again() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        world.trigger("*").await;
        world.pushed("acme/web:again", 1).await;
        world.intake().await;
        assert_eq!((world.history("").await.as_str(), world.primary().await.0.as_str()), ("1 skipped", "web:1"));
        let skipped = world.v1(&world.admin, "GET", "/api/v1/trigger-decisions", Value::Null).await.ok()["items"][0].clone();
        assert_eq!(
            (&skipped["task_definition"], skipped["service_deployment"].is_string()),
            (&json!("web:1"), true),
            "what `wait` waits for"
        );
        for (content, state) in [(2, RolloutState::Failed), (2, RolloutState::InProgress)] {
            world.pushed("acme/web:v2", content).await;
            world.pass(2);
            assert_eq!(world.intake().await.deployments, 1, "{state:?}");
            world.end(state).await;
        }
        world.pushed("acme/web:v3", 2).await;
        world.pass(2);
        assert_eq!(world.intake().await.deployments, 0, "the same digest under way under another tag");
        assert_eq!(world.history("").await, "4 skipped, 3 taken, 2 taken, 1 skipped");
    })
    .await;
}

#[tokio::test]
async fn versions_never_go_down() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        world.trigger("^1").await;
        for (tag, content) in [("v1.2.0", 2), ("v1.1.0", 3)] {
            world.pushed(&format!("acme/web:{tag}"), content).await;
        }
        world.intake().await;
        assert_eq!(world.primary().await.1, digest(2));
        world.pass(2);
        world.pushed("acme/web:v1.1.9", 4).await;
        // What runs gets a higher version without a deployment; below that is lower from now on.
        world.pushed("acme/web:v1.5.0", 2).await;
        world.intake().await;
        world.pushed("acme/web:v1.4.0", 5).await;
        world.intake().await;
        assert_eq!(world.primary().await.1, digest(2));
        assert_eq!(world.history("").await, "5 skipped, 4 skipped, 3 skipped, 2 superseded, 1 taken");
    })
    .await;
}

#[tokio::test]
async fn only_what_is_pushed_after_a_trigger_was_made_counts() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        world.pushed("acme/web:v2", 2).await;
        world.trigger("v*").await;
        assert_eq!(world.intake().await, intake::Status::default());
        assert_eq!(world.history("").await, "");
    })
    .await;
}

#[tokio::test]
async fn making_one_takes_deploy_on_the_service_and_pull_on_the_repository() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let deploy = (Role::Deploy, Resource::service("default", "web"));
        let pull = (Role::Pull, Resource::repository("acme/web"));
        let wish = json!({"service": "default/web", "repository": "acme/web", "tag": "v*"});
        for (name, grants, missing) in [("a", vec![deploy.clone()], "pull"), ("b", vec![pull.clone()], "deploy")] {
            let token = world.robot(name, &grants).await;
            let (status, body) = create(&world, &token, wish.clone()).await;
            assert_eq!((status, &body["missing"]["role"]), (StatusCode::FORBIDDEN, &json!(missing)), "{body}");
        }
        let token = world.robot("c", &[deploy, pull]).await;
        let (status, made) = create(&world, &token, wish.clone()).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        assert_eq!((&made["container"], &made["kind"], &made["created_by"]), (&json!("app"), &json!("glob"), &json!("robot:c")));
        assert_eq!(create(&world, &token, wish).await.0, StatusCode::CONFLICT, "the same again");
        assert_eq!(world.events("trigger.created").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn bad_wishes_are_refused_with_the_reason() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let long = "a".repeat(300);
        for (change, words) in [
            (json!({"service": "a/b/c"}), "CLUSTER/NAME"),
            (json!({"service": "none"}), "no active service"),
            (json!({"container": "side"}), "there is no container side"),
            (json!({"repository": "A"}), "repository name"),
            (json!({"tag": "a b"}), "can be no tag"),
            (json!({"tag": "/[/"}), "regular expression"),
            (json!({"tag": "^x"}), "range of versions"),
            (json!({"tag": long}), "256"),
            (json!({"tag": ""}), "256"),
            (json!({"kind": "fuzzy"}), "fuzzy"),
            (json!({"exclude": ["^1"]}), "left out"),
            (json!({"unknown": 1}), "unknown"),
        ] {
            let mut wish = json!({"service": "web", "repository": "acme/web", "tag": "v*"});
            wish.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let (status, body) = create(&world, &world.admin, wish).await;
            assert!(status == StatusCode::BAD_REQUEST || status == StatusCode::NOT_FOUND, "{change}: {status} {body}");
            assert!(body["detail"].as_str().unwrap().contains(words), "{change}: {body}");
        }
        for number in 0..20 {
            world.trigger(&format!("v{number}")).await;
        }
        let (status, body) = create(&world, &world.admin, json!({"service": "web", "repository": "acme/web", "tag": "v20"})).await;
        assert_eq!((status, &body["code"]), (StatusCode::CONFLICT, &json!("limit_reached")));
    })
    .await;
}

#[tokio::test]
async fn triggers_are_seen_with_view_and_changed_with_deploy() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let id = world.trigger("v*").await;
        let path = format!("/api/v1/triggers/{id}");
        let nobody = world.robot("nobody", &[]).await;
        let viewer = world.robot("viewer", &[(Role::View, Resource::service("default", "web"))]).await;
        assert_eq!(world.v1(&nobody, "GET", &path, Value::Null).await.status, StatusCode::NOT_FOUND);
        assert_eq!(world.v1(&nobody, "GET", "/api/v1/triggers", Value::Null).await.ok()["items"], json!([]));
        assert_eq!(world.v1(&nobody, "GET", "/api/v1/trigger-decisions", Value::Null).await.ok()["items"], json!([]));
        assert_eq!(world.v1(&viewer, "GET", "/api/v1/triggers", Value::Null).await.ok()["items"][0]["id"], json!(id));
        let test = |tag: &str| format!("{path}/test?tag={tag}");
        assert_eq!(world.v1(&viewer, "GET", &test("v9"), Value::Null).await.ok(), json!({"matches": true}));
        let no = world.v1(&viewer, "GET", &test("main"), Value::Null).await.ok();
        assert_eq!(no, json!({"matches": false, "reason": "tag main does not match `v*`"}));
        for (method, path, body) in [
            ("DELETE", path.clone(), Value::Null),
            ("POST", "/api/v1/triggers/hold".into(), json!({"trigger": id, "reason": "x"})),
            ("POST", "/api/v1/triggers/resume".into(), json!({"service": "web"})),
        ] {
            assert_eq!(world.v1(&viewer, method, &path, body).await.status, StatusCode::FORBIDDEN, "{method} {path}");
        }
        assert_eq!(world.v1(&world.admin, "DELETE", &path, Value::Null).await.status, StatusCode::NO_CONTENT);
        assert_eq!(world.v1(&world.admin, "DELETE", &path, Value::Null).await.status, StatusCode::NOT_FOUND);
        assert!(world.events("trigger.removed").await[0].starts_with("trigger.removed user:admin: trigger "));
    })
    .await;
}

#[tokio::test]
async fn what_is_pushed_while_a_trigger_is_held_waits_for_it() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        world.trigger("v*").await;
        world.pushed("acme/web:v2", 2).await;
        let held = world.v1(&world.admin, "POST", "/api/v1/triggers/hold", json!({"service": "web", "reason": "freeze"})).await.ok();
        assert_eq!(held["items"][0]["held"]["reason"], "freeze");
        world.pushed("acme/web:v3", 3).await;
        world.pushed("acme/web:v4", 4).await;
        assert_eq!(world.intake().await.deployments, 0);
        assert_eq!(world.history("").await, "3 held, 2 held, 1 skipped");
        assert_eq!(world.intake().await, intake::Status::default());
        world.v1(&world.admin, "POST", "/api/v1/triggers/resume", json!({"service": "web"})).await.ok();
        assert_eq!(world.intake().await.deployments, 1);
        assert_eq!(world.history("").await, "3 taken, 2 superseded, 1 skipped");
        assert_eq!(world.primary().await.1, digest(4));
        assert_eq!((world.events("trigger.held").await.len(), world.events("trigger.resumed").await.len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn triggers_go_with_their_service_and_do_not_pass_to_another_of_its_name() {
    in_each_world(|world| async move {
        world.create_web(0).await;
        let id = world.trigger("v*").await;
        world.pushed_by("robot:ci", None, "acme/web:v2", 2).await;
        world.intake().await;
        assert_eq!(world.history("").await, "1 waiting");
        world.ecs("DeleteService", json!({"service": "web", "force": true})).await.ok();
        assert_eq!(world.v1(&world.admin, "GET", &format!("/api/v1/triggers/{id}"), Value::Null).await.status, StatusCode::NOT_FOUND);
        assert_eq!(world.history("").await, "1 rejected");
        world.pushed("acme/web:v3", 3).await;
        assert_eq!(world.intake().await, intake::Status::default());
    })
    .await;
}

#[tokio::test]
async fn the_pushes_of_one_pass_are_bounded_and_none_is_left_out() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        world.trigger("v*").await;
        let mut memory = intake::Memory::default();
        for number in 1..=1005 {
            world.pushed(&format!("acme/web:{}{number}", if number % 2 == 0 { "v" } else { "x" }), 2).await;
        }
        let first = intake::run(world.deployer.context(), &mut memory).await.unwrap();
        let second = intake::run(world.deployer.context(), &mut memory).await.unwrap();
        assert_eq!((first.decisions, second.decisions), (1000, 5));
        let third = intake::run(world.deployer.context(), &mut memory).await.unwrap();
        assert_eq!(third, intake::Status::default());
        world.pushed("acme/web:v1006", 3).await;
        world.pass(2);
        let fourth = intake::run(world.deployer.context(), &mut memory).await.unwrap();
        assert_eq!((fourth.decisions, fourth.deployments), (1, 1), "what a pass remembers leaves nothing out");
    })
    .await;
}

#[tokio::test]
async fn two_servers_decide_each_push_once() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        world.trigger("v*").await;
        for number in 2..6 {
            world.pushed(&format!("acme/web:v{number}"), number).await;
        }
        let (one, two, three) = tokio::join!(world.intake(), world.intake(), world.intake());
        assert_eq!(one.deployments + two.deployments + three.deployments, 1);
        assert_eq!(world.history("").await, "4 taken, 3 superseded, 2 superseded, 1 superseded");
    })
    .await;
}

#[tokio::test]
async fn the_last_push_says_what_became_of_it() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let id = world.trigger("v*").await;
        let last = async |token: &str, query: &str| world.v1(token, "GET", &format!("/api/v1/pushes/last?{query}"), Value::Null).await;
        assert_eq!(last(&world.admin, "repository=acme/web&tag=v9").await.status, StatusCode::NOT_FOUND);
        world.pushed("acme/web:v2", 2).await;
        let before = last(&world.admin, "repository=acme/web&tag=v2").await.ok();
        assert_eq!((&before["undecided"], &before["decisions"]), (&json!([id]), &json!([])));
        world.intake().await;
        let after = last(&world.admin, "repository=acme/web&tag=v2").await.ok();
        assert_eq!((&after["decisions"][0]["status"], &after["undecided"]), (&json!("taken"), &json!([])));
        assert_eq!(after["push"]["digest"], json!(digest(2)));
        let by_digest = last(&world.admin, &format!("repository=acme/web&digest={}", digest(2))).await.ok();
        assert_eq!(by_digest["push"]["sequence"], 1);
        world.pushed("acme/web:latest", 3).await;
        let unfollowed = last(&world.admin, "repository=acme/web").await.ok();
        assert_eq!((&unfollowed["decisions"], &unfollowed["undecided"]), (&json!([]), &json!([])));
        let nobody = world.robot("nobody", &[]).await;
        assert_eq!(last(&nobody, "repository=acme/web&tag=v2").await.status, StatusCode::FORBIDDEN);
        let puller = world.robot("puller", &[(Role::Pull, Resource::repository("acme/web"))]).await;
        assert_eq!(last(&puller, "repository=acme/web&tag=v2").await.ok()["decisions"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn every_path_of_the_berth_api_asks_who_you_are() {
    in_each_world(|world| async move {
        let (_, document) = world.deployer.v1_router().split_for_parts();
        let document: Value = serde_json::from_str(&document.to_json().unwrap()).unwrap();
        let mut seen = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let path = path.replace("{id}", "t-000000000000");
                for token in ["", "berth_nonsense"] {
                    let answer = world.v1(token, &method.to_uppercase(), &path, json!({})).await;
                    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
                }
                seen += 1;
            }
        }
        assert!(seen >= 14, "{seen} paths");
    })
    .await;
}
