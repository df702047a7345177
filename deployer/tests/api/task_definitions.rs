//! Task definitions: revisions, what comes back, paging.

use crate::support::{IMAGE, in_each_world, web};
use serde_json::{Value, json};

#[tokio::test]
async fn revisions_count_up_and_are_never_given_twice() {
    in_each_world(|world| async move {
        for revision in 1..=3 {
            let registered = world.register_web().await;
            assert_eq!(registered["revision"], revision);
            assert_eq!(registered["taskDefinitionArn"], format!("arn:aws:ecs:eu-home-1:123456789012:task-definition/web:{revision}"));
        }
        let gone = world.ecs("DeregisterTaskDefinition", json!({"taskDefinition": "web:3"})).await.ok();
        assert_eq!(gone["taskDefinition"]["status"], "INACTIVE");
        assert_eq!(world.ecs("DescribeTaskDefinition", json!({"taskDefinition": "web"})).await.ok()["taskDefinition"]["revision"], 2);
        assert_eq!(world.register_web().await["revision"], 4);
        let answer = world.ecs("RunTask", json!({"taskDefinition": "web:3"})).await;
        assert_eq!((answer.refused(), answer.message()), ("ClientException", "TaskDefinition is inactive"));
        assert_eq!(
            world.ecs("DescribeTaskDefinition", json!({"taskDefinition": "web:3"})).await.ok()["taskDefinition"]["status"],
            "INACTIVE"
        );
    })
    .await;
}

#[tokio::test]
async fn a_document_comes_back_as_it_was_given() {
    in_each_world(|world| async move {
        let document = json!({
            "family": "web", "networkMode": "bridge", "cpu": "256", "memory": "128", "requiresCompatibilities": ["EC2"],
            "executionRoleArn": "arn:aws:iam::123456789012:role/ecs", "volumes": [{"name": "data"}],
            "containerDefinitions": [{
                "name": "app", "image": IMAGE, "cpu": 10, "memory": 64, "essential": true, "command": ["serve"],
                "environment": [{"name": "A", "value": "1"}], "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": false}],
                "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp", "appProtocol": "http"}],
                "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5}, "volumesFrom": [], "systemControls": [],
                "dockerLabels": {"team": "x"}, "stopTimeout": 3
            }]
        });
        let mut request = document.clone();
        request["tags"] = json!([{"key": "team", "value": "x"}]);
        request["taskRoleArn"] = Value::Null;
        world.ecs("RegisterTaskDefinition", request).await.ok();
        let described = world.ecs("DescribeTaskDefinition", json!({"taskDefinition": "web:1", "include": ["TAGS"]})).await.ok();
        assert_eq!(described["tags"], json!([{"key": "team", "value": "x"}]));
        for (name, value) in document.as_object().unwrap() {
            assert_eq!(described["taskDefinition"][name], *value, "{name}");
        }
        let added: Vec<&String> =
            described["taskDefinition"].as_object().unwrap().keys().filter(|name| document.get(name).is_none()).collect();
        let expected = ["compatibilities", "placementConstraints", "registeredAt", "registeredBy", "revision", "status", "taskDefinitionArn"];
        assert_eq!(added, expected);
    })
    .await;
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    in_each_world(|world| async move {
        for family in ["api", "web", "web", "web-worker"] {
            let mut document = web();
            document["family"] = json!(family);
            world.ecs("RegisterTaskDefinition", document).await.ok();
        }
        let mut request = json!({"maxResults": 3});
        let first = world.ecs("ListTaskDefinitions", request.clone()).await.ok();
        assert_eq!(first["taskDefinitionArns"].as_array().unwrap().len(), 3);
        request["nextToken"] = first["nextToken"].clone();
        let second = world.ecs("ListTaskDefinitions", request).await.ok();
        assert_eq!(second["taskDefinitionArns"], json!(["arn:aws:ecs:eu-home-1:123456789012:task-definition/web-worker:1"]));
        assert!(second.get("nextToken").is_none());
        let newest = world.ecs("ListTaskDefinitions", json!({"familyPrefix": "web", "sort": "DESC", "maxResults": 1})).await.ok();
        assert_eq!(newest["taskDefinitionArns"], json!(["arn:aws:ecs:eu-home-1:123456789012:task-definition/web:2"]));

        world.ecs("DeregisterTaskDefinition", json!({"taskDefinition": "api:1"})).await.ok();
        for (request, expected) in [
            (json!({}), json!(["api", "web", "web-worker"])),
            (json!({"status": "ACTIVE"}), json!(["web", "web-worker"])),
            (json!({"status": "INACTIVE"}), json!(["api"])),
            (json!({"familyPrefix": "web-"}), json!(["web-worker"])),
        ] {
            assert_eq!(world.ecs("ListTaskDefinitionFamilies", request).await.ok()["families"], expected);
        }
        let inactive = world.ecs("ListTaskDefinitions", json!({"status": "INACTIVE"})).await.ok();
        assert_eq!(inactive["taskDefinitionArns"].as_array().unwrap().len(), 1);
    })
    .await;
}
