//! Tasks and container instances.

use crate::support::in_each_world;
use api::aws::Api;
use model::access::{Resource, Role};
use serde_json::json;

#[tokio::test]
async fn a_task_shows_its_containers_before_the_agent_said_anything() {
    in_each_world(|world| async move {
        world.register_web().await;
        world.instance(1).await;
        let id = world.task(1, None).await;
        let described = world.ecs("DescribeTasks", json!({"tasks": [id, "f".repeat(32)], "include": ["TAGS"]})).await.ok();
        let task = &described["tasks"][0];
        for (name, expected) in [
            ("lastStatus", json!("RUNNING")),
            ("desiredStatus", json!("RUNNING")),
            ("group", json!("family:web")),
            ("launchType", json!("EC2")),
            ("availabilityZone", json!("a")),
            ("connectivity", json!("CONNECTED")),
            ("tags", json!([{"key": "team", "value": "x"}])),
        ] {
            assert_eq!(task[name], expected, "{name}");
        }
        assert_eq!(task["containers"][0]["name"], "app");
        assert!(task["createdAt"].is_f64(), "timestamps are seconds with a fraction");
        assert_eq!(described["failures"][0]["reason"], "MISSING");
    })
    .await;
}

#[tokio::test]
async fn tasks_are_listed_by_filter_newest_first() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let service = world.web_id().await;
        let first = world.task(1, Some(&service)).await;
        world.pass(1);
        let second = world.task(2, None).await;
        let arn = |id: &model::ids::TaskId| format!("arn:aws:ecs:eu-home-1:123456789012:task/default/{id}");
        for (request, expected) in [
            (json!({}), json!([arn(&second), arn(&first)])),
            (json!({"serviceName": "web"}), json!([arn(&first)])),
            (json!({"family": "other"}), json!([])),
            (json!({"startedBy": "test", "maxResults": 2}), json!([arn(&second), arn(&first)])),
            (json!({"startedBy": "nobody"}), json!([])),
            (json!({"containerInstance": "1".repeat(32)}), json!([])),
            (json!({"desiredStatus": "STOPPED"}), json!([])),
            (json!({"launchType": "FARGATE"}), json!([])),
        ] {
            assert_eq!(world.ecs("ListTasks", request.clone()).await.ok()["taskArns"], expected, "{request}");
        }
        let page = world.ecs("ListTasks", json!({"maxResults": 1})).await.ok();
        let next = world.ecs("ListTasks", json!({"maxResults": 1, "nextToken": page["nextToken"]})).await.ok();
        assert_eq!(next["taskArns"], json!([arn(&first)]));
    })
    .await;
}

#[tokio::test]
async fn a_task_is_stopped_once_on_the_authority_of_its_service() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let service = world.web_id().await;
        let id = world.task(1, Some(&service)).await;
        let on_cluster = world.robot("on-cluster", &[(Role::Deploy, Resource::cluster("default"))]).await;
        let answer = world.call(&on_cluster, Api::Ecs, "StopTask", &json!({"task": id})).await;
        assert_eq!(answer.refused(), "AccessDeniedException");
        let on_service = world.robot("on-service", &[(Role::Deploy, Resource::service("default", "web"))]).await;
        let stopped = world.call(&on_service, Api::Ecs, "StopTask", &json!({"task": id, "reason": "why not"})).await.ok();
        for (name, expected) in
            [("desiredStatus", "STOPPED"), ("lastStatus", "RUNNING"), ("stopCode", "UserInitiated"), ("stoppedReason", "why not")]
        {
            assert_eq!(stopped["task"][name], expected, "{name}");
        }
        let again = world.ecs("StopTask", json!({"task": id, "reason": "again"})).await.ok();
        assert_eq!(again["task"]["stoppedReason"], "why not");
        assert_eq!(world.ecs("ListTasks", json!({"desiredStatus": "STOPPED"})).await.ok()["taskArns"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_run_is_placed_and_repeated_by_its_client_token_only() {
    in_each_world(|world| async move {
        world.register_web().await;
        world.instance(1).await;
        let request = json!({"taskDefinition": "web", "count": 2, "clientToken": "a", "startedBy": "ci",
            "overrides": {"containerOverrides": [{"name": "app", "command": ["migrate"], "environment": [{"name": "A", "value": "1"}]}]}});
        let first = world.ecs("RunTask", request.clone()).await.ok();
        assert_eq!((first["tasks"].as_array().unwrap().len(), &first["failures"]), (2, &json!([])));
        assert_eq!(first["tasks"][0]["overrides"]["containerOverrides"][0]["command"], json!(["migrate"]));
        assert_eq!((&first["tasks"][0]["startedBy"], &first["tasks"][0]["group"]), (&json!("ci"), &json!("family:web")));
        assert!(first["tasks"][0]["containers"][0]["imageDigest"].as_str().unwrap().starts_with("sha256:"));
        let again = world.ecs("RunTask", request.clone()).await.ok();
        let arns = |answer: &serde_json::Value| {
            let mut arns: Vec<String> = answer["tasks"].as_array().unwrap().iter().map(|task| task["taskArn"].to_string()).collect();
            arns.sort();
            arns
        };
        assert_eq!(arns(&first), arns(&again));
        let mut other = request;
        other["overrides"] = json!({});
        assert_eq!(world.ecs("RunTask", other).await.refused(), "ConflictException");
    })
    .await;
}

#[tokio::test]
async fn what_finds_no_place_is_a_failure_that_names_the_resource() {
    in_each_world(|world| async move {
        let mut document = crate::support::web();
        document["containerDefinitions"][0]["memory"] = json!(100_000);
        world.ecs("RegisterTaskDefinition", document).await.ok();
        world.instance(1).await;
        let answer = world.ecs("RunTask", json!({"taskDefinition": "web"})).await.ok();
        assert_eq!(answer["tasks"], json!([]));
        assert_eq!(answer["failures"][0]["reason"], "RESOURCE:MEMORY");
    })
    .await;
}

#[tokio::test]
async fn an_instance_shows_what_it_offers_and_what_is_left() {
    in_each_world(|world| async move {
        world.register_web().await;
        let id = world.instance(1).await;
        world.task(1, None).await;
        let list = world.ecs("ListContainerInstances", json!({})).await.ok();
        let arn = format!("arn:aws:ecs:eu-home-1:123456789012:container-instance/default/{id}");
        assert_eq!(list["containerInstanceArns"], json!([arn]));
        let described = world.ecs("DescribeContainerInstances", json!({"containerInstances": [arn, "f".repeat(32)]})).await.ok();
        let instance = &described["containerInstances"][0];
        assert_eq!(
            (&instance["status"], &instance["agentConnected"], &instance["runningTasksCount"]),
            (&json!("ACTIVE"), &json!(true), &json!(1))
        );
        assert_eq!(instance["registeredResources"][0]["integerValue"], 4096);
        assert_eq!(instance["remainingResources"][0]["integerValue"], 4096 - 256);
        assert_eq!(instance["remainingResources"][1]["integerValue"], 8192 - 64);
        assert_eq!(instance["remainingResources"][2]["stringSetValue"], json!(["22", "8080"]));
        assert_eq!(described["failures"][0]["reason"], "MISSING");
        assert_eq!(world.ecs("ListContainerInstances", json!({"status": "DRAINING"})).await.ok()["containerInstanceArns"], json!([]));
    })
    .await;
}
