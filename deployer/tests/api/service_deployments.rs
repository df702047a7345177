//! Service deployments as clients see them: listed, described, stopped; and `deployments[]`, which the waiters read.

use crate::support::{World, in_each_world};
use serde_json::{Value, json};

async fn describe(world: &World) -> Value {
    world.ecs("DescribeServices", json!({"services": ["web"]})).await.ok()["services"][0].clone()
}

async fn list(world: &World, change: Value) -> Vec<Value> {
    let mut request = json!({"service": "web"});
    request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    world.ecs("ListServiceDeployments", request).await.ok()["serviceDeployments"].as_array().unwrap().clone()
}

async fn describe_one(world: &World, brief: &Value) -> Value {
    let request = json!({"serviceDeploymentArns": [brief["serviceDeploymentArn"]]});
    world.ecs("DescribeServiceDeployments", request).await.ok()["serviceDeployments"][0].clone()
}

/// Plans and obeys until the one deployment is COMPLETED.
pub async fn settle(world: &World) {
    for _ in 0..8 {
        world.plan().await;
        world.obey().await;
    }
    world.plan().await;
}

/// `services-stable`: exactly one deployment, and as many tasks running as desired.
fn is_stable(service: &Value) -> bool {
    service["deployments"].as_array().unwrap().len() == 1 && service["runningCount"] == service["desiredCount"]
}

async fn settled(world: &World) {
    world.instance(1).await;
    world.create_web(2).await;
    world.register_web().await;
    settle(world).await;
    world.pass(1);
}

#[tokio::test]
async fn the_attempt_of_an_update_is_found_by_the_id_of_its_deployment() {
    in_each_world(|world| async move {
        settled(&world).await;
        let asked_at = world.now().as_secs_f64();
        world.pass(1);
        let updated = world.ecs("UpdateService", json!({"service": "web", "taskDefinition": "web:2"})).await.ok()["service"].clone();
        let id = updated["deployments"][0]["id"].as_str().unwrap().trim_start_matches("ecs-svc/").to_owned();
        // What terraform does: attempts since it asked, of which one brings the revision with the digits of the deployment.
        let since = list(&world, json!({"createdAt": {"after": asked_at}})).await;
        assert_eq!(since.len(), 1);
        assert!(since[0]["targetServiceRevisionArn"].as_str().unwrap().ends_with(&format!("service-revision/default/web/{id}")));
        assert_eq!(since[0]["status"], "PENDING");
        assert_eq!(list(&world, json!({"createdAt": {"before": asked_at}})).await.len(), 1, "the one that made the service");
        assert_eq!(list(&world, json!({"status": ["SUCCESSFUL"]})).await.len(), 1);
        let whole = describe_one(&world, &since[0]).await;
        assert_eq!(whole["targetServiceRevision"]["requestedTaskCount"], 2);
        assert_eq!(whole["sourceServiceRevisions"][0]["runningTaskCount"], 2);
        assert_eq!(whole["statusReason"], "user:admin updated the service.");
        assert_eq!(whole["deploymentCircuitBreaker"], json!({"status": "DISABLED", "failureCount": 0, "threshold": 3}));
        settle(&world).await;
        let whole = describe_one(&world, &since[0]).await;
        assert_eq!(whole["status"], "SUCCESSFUL");
        assert!(whole["startedAt"].is_f64() && whole["finishedAt"].is_f64() && whole.get("stoppedAt").is_none());
        let revision = json!({"serviceRevisionArns": [since[0]["targetServiceRevisionArn"], "arn:aws:ecs:eu-home-1:123456789012:service-revision/default/web/1"]});
        let described = world.ecs("DescribeServiceRevisions", revision).await.ok();
        let revision = &described["serviceRevisions"][0];
        assert!(revision["taskDefinition"].as_str().unwrap().ends_with("web:2"));
        assert!(revision["containerImages"][0]["imageDigest"].as_str().unwrap().starts_with("sha256:"));
        assert_eq!(described["failures"][0]["reason"], "MISSING");
    })
    .await;
}

#[tokio::test]
async fn the_waiter_passes_at_no_moment_before_the_roll_is_over() {
    in_each_world(|world| async move {
        settled(&world).await;
        assert!(is_stable(&describe(&world).await));
        let updated = world.ecs("UpdateService", json!({"service": "web", "taskDefinition": "web:2"})).await.ok()["service"].clone();
        let id = updated["deployments"][0]["id"].clone();
        assert!(!is_stable(&updated), "not in the answer that asks for it");
        for _ in 0..20 {
            let service = describe(&world).await;
            assert_eq!(service["deployments"][0]["id"], id, "the new one is PRIMARY all the time");
            let completed = service["deployments"][0]["rolloutState"] == "COMPLETED";
            assert_eq!(is_stable(&service), completed, "{service}");
            if completed {
                return;
            }
            world.plan().await;
            if is_stable(&describe(&world).await) {
                continue;
            }
            world.obey().await;
        }
        panic!("it does not complete");
    })
    .await;
}

#[tokio::test]
async fn a_stop_goes_back_and_is_refused_when_there_is_nothing_to_stop() {
    in_each_world(|world| async move {
        world.instance(1).await;
        world.create_web(2).await;
        world.register_web().await;
        let first = list(&world, json!({})).await.remove(0);
        let stop = |brief: &Value| json!({"serviceDeploymentArn": brief["serviceDeploymentArn"], "stopType": "ROLLBACK"});
        let refused = world.ecs("StopServiceDeployment", stop(&first)).await;
        assert_eq!(
            (refused.refused(), refused.message()),
            ("ConflictException", "The service has no completed deployment to roll back to.")
        );
        settle(&world).await;
        world.pass(1);
        assert_eq!(world.ecs("StopServiceDeployment", stop(&first)).await.refused(), "ConflictException", "it has ended");
        let before = describe(&world).await["deployments"][0]["id"].clone();
        let updated = world.ecs("UpdateService", json!({"service": "web", "taskDefinition": "web:2"})).await.ok()["service"].clone();
        world.plan().await;
        let brief = list(&world, json!({})).await.remove(0);
        assert_eq!(brief["status"], "IN_PROGRESS");
        let stopped = world.ecs("StopServiceDeployment", stop(&brief)).await.ok();
        assert_eq!(stopped["serviceDeploymentArn"], brief["serviceDeploymentArn"]);
        assert_eq!(describe_one(&world, &brief).await["status"], "ROLLBACK_REQUESTED");
        world.plan().await;
        let service = describe(&world).await;
        assert_eq!((&service["deployments"][0]["id"], &service["deployments"][1]["id"]), (&before, &updated["deployments"][0]["id"]));
        assert_eq!(service["deployments"][1]["rolloutState"], "FAILED");
        assert!(service["taskDefinition"].as_str().unwrap().ends_with("web:1"), "the service follows");
        settle(&world).await;
        let service = describe(&world).await;
        assert!(is_stable(&service) && service["deployments"][0]["id"] == before);
        let whole = describe_one(&world, &brief).await;
        assert_eq!(whole["status"], "ROLLBACK_SUCCESSFUL");
        assert_eq!(whole["rollback"]["reason"], "user:admin stopped the deployment.");
        assert!(
            whole["rollback"]["serviceRevisionArn"].as_str().unwrap().ends_with(before.as_str().unwrap().trim_start_matches("ecs-svc/"))
        );
    })
    .await;
}

#[tokio::test]
async fn attempts_are_listed_newest_first_in_pages() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        for _ in 0..4 {
            world.pass(1);
            world.ecs("UpdateService", json!({"service": "web", "forceNewDeployment": true})).await.ok();
        }
        let all = list(&world, json!({})).await;
        assert_eq!(all.len(), 5);
        let times: Vec<f64> = all.iter().map(|brief| brief["createdAt"].as_f64().unwrap()).collect();
        assert!(times.is_sorted_by(|one, next| one > next), "{times:?}");
        let page = world.ecs("ListServiceDeployments", json!({"service": "web", "maxResults": 3})).await.ok();
        let rest = world.ecs("ListServiceDeployments", json!({"service": "web", "nextToken": page["nextToken"]})).await.ok();
        let both: Vec<Value> = [&page, &rest].iter().flat_map(|page| page["serviceDeployments"].as_array().unwrap().clone()).collect();
        assert_eq!(both, all);
        assert!(all[1]["statusReason"].as_str().unwrap().starts_with("Superseded by deployment ecs-svc/"));
        assert_eq!(all.iter().filter(|brief| brief["status"] == "STOPPED").count(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_service_ends_its_attempt() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let brief = list(&world, json!({})).await.remove(0);
        world.ecs("DeleteService", json!({"service": "web", "force": true})).await.ok();
        assert_eq!(describe_one(&world, &brief).await["status"], "STOPPED");
    })
    .await;
}
