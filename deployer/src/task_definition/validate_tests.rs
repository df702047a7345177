//! Tables of documents that are taken and that are refused.

use super::super::fields::DOCUMENT;
use super::*;
use crate::aws::fields;
use serde_json::json;

fn outcome(document: Value) -> Result<Validated, String> {
    let Value::Object(document) = fields::without_nulls(document) else { panic!("an object") };
    fields::check(&document, DOCUMENT).map_err(|error| error.to_string())?;
    validate(document).map_err(|error| error.to_string())
}

/// A good document whose only container is changed by `change`.
fn container(change: &Value) -> Value {
    let mut container = json!({"name": "app", "image": "acme/web:v1", "memory": 64});
    for (name, value) in change.as_object().unwrap() {
        container[name] = value.clone();
    }
    json!({"family": "web", "containerDefinitions": [container]})
}

#[test]
fn good_documents_are_taken() {
    for document in [
        container(&json!({})),
        container(&json!({"memory": null, "memoryReservation": 32})),
        container(&json!({"cpu": 256, "memory": 64, "memoryReservation": 32, "stopTimeout": 5, "user": "1000:1000"})),
        container(&json!({"portMappings": [{"containerPort": 80}, {"containerPort": 53, "hostPort": 53, "protocol": "udp"}]})),
        container(&json!({"healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5, "timeout": 2, "retries": 1, "startPeriod": 0}})),
        container(&json!({"linuxParameters": null, "links": [], "privileged": false, "dnsServers": [], "ulimits": []})),
        container(
            &json!({"environment": [{"name": "A", "value": ""}], "dockerLabels": {"team": "x"}, "entryPoint": ["/app"], "command": []}),
        ),
        json!({"family": "web", "cpu": "0.5 vCPU", "memory": "1 GB", "requiresCompatibilities": ["EC2"], "networkMode": "bridge",
               "containerDefinitions": [{"name": "app", "image": "127.0.0.1:5000/acme/web"}]}),
        json!({"family": "web", "volumes": [{"name": "data"}, {"name": "etc", "host": {"sourcePath": "/etc"}}], "containerDefinitions": [
               {"name": "app", "image": "a", "memory": 64, "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": true}]}]}),
    ] {
        assert!(outcome(document.clone()).is_ok(), "{document}: {:?}", outcome(document.clone()));
    }
}

#[test]
fn task_sizes_come_back_in_units() {
    let document = json!({"family": "web", "cpu": "1 vCPU", "memory": 2048, "containerDefinitions": [{"name": "app", "image": "a"}]});
    let validated = outcome(document).unwrap();
    assert_eq!((&validated.document["cpu"], &validated.document["memory"]), (&json!("1024"), &json!("2048")));
    assert_eq!(validated.definition.cpu.as_deref(), Some("1024"));
}

#[test]
fn bad_containers_are_refused_by_the_field() {
    let long = "x".repeat(DOCUMENT_BYTES_MAX);
    for (change, expected) in [
        (json!({"name": ""}), "containerDefinitions[0].name is missing"),
        (json!({"name": "a/b"}), "containerDefinitions[0].name has"),
        (json!({"image": null}), "containerDefinitions[0].image is missing"),
        (json!({"image": "UPPER:x:y"}), "containerDefinitions[0].image"),
        (json!({"memory": 5}), "containerDefinitions[0].memory has"),
        (json!({"memory": null}), "at least one of memory and memoryReservation"),
        (json!({"memory": 64, "memoryReservation": 64}), "greater than memoryReservation"),
        (json!({"memory": "64"}), "cannot be read"),
        (json!({"cpu": -1}), "containerDefinitions[0].cpu"),
        (json!({"essential": false}), "essential"),
        (json!({"portMappings": [{"containerPort": 0}]}), "portMappings[0].containerPort"),
        (json!({"portMappings": [{"containerPort": 70000}]}), "cannot be read"),
        (
            json!({"portMappings": [{"containerPort": 1, "hostPort": 8080}, {"containerPort": 2, "hostPort": 8080}]}),
            "host port 8080 is used twice",
        ),
        (json!({"portMappings": [{"containerPort": 1, "protocol": "sctp"}]}), "portMappings[0].protocol = sctp"),
        (json!({"portMappings": [{"containerPort": 1, "containerPortRange": "1-2"}]}), "containerPortRange is not supported"),
        (json!({"environment": [{"name": "A=B", "value": "x"}]}), "environment[0]"),
        (json!({"mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]}), "no volume of that name"),
        (json!({"healthCheck": {"command": ["true"]}}), "healthCheck.command"),
        (json!({"healthCheck": {"command": ["CMD", "true"], "interval": 4}}), "healthCheck.interval"),
        (json!({"healthCheck": {"command": ["CMD", "true"], "timeout": 61}}), "healthCheck.timeout"),
        (json!({"healthCheck": {"command": ["CMD", "true"], "retries": 11}}), "healthCheck.retries"),
        (json!({"healthCheck": {"command": ["CMD", "true"], "startPeriod": 301}}), "healthCheck.startPeriod"),
        (json!({"stopTimeout": 100_000}), "stopTimeout"),
        (json!({"user": "a b"}), "user"),
        (json!({"workingDirectory": "relative"}), "workingDirectory"),
        (json!({"dockerLabels": {"io.berth.task": "x"}}), "dockerLabels"),
        (json!({"command": [long]}), "longer than"),
        (json!({"privileged": true}), "containerDefinitions[0].privileged is not supported by Berth"),
        (json!({"linuxParameters": {"initProcessEnabled": true}}), "containerDefinitions[0].linuxParameters is not supported by Berth"),
        (json!({"logConfiguration": {"logDriver": "awslogs"}}), "logConfiguration.logDriver = awslogs"),
        (json!({"secrets": [{"name": "A", "valueFrom": "b"}]}), "secrets is not supported"),
        (json!({"dependsOn": [{"containerName": "a", "condition": "START"}]}), "dependsOn is not supported"),
    ] {
        let message = outcome(container(&change)).expect_err(&change.to_string());
        assert!(message.contains(expected), "{change}: {message}");
    }
}

#[test]
fn bad_documents_are_refused_by_the_field() {
    let app = json!({"name": "app", "image": "a", "memory": 64});
    let many: Vec<Value> = (0..11).map(|n| json!({"name": format!("c{n}"), "image": "a", "memory": 64})).collect();
    for (document, expected) in [
        (json!({"containerDefinitions": [app]}), "family is missing"),
        (json!({"family": "a/b", "containerDefinitions": [app]}), "family:"),
        (json!({"family": "web", "containerDefinitions": []}), "Container list cannot be empty"),
        (json!({"family": "web", "containerDefinitions": [app, app]}), "two containers are named app"),
        (json!({"family": "web", "containerDefinitions": many}), "at most 10"),
        (json!({"family": "web", "networkMode": "awsvpc", "containerDefinitions": [app]}), "networkMode = awsvpc"),
        (json!({"family": "web", "requiresCompatibilities": ["FARGATE"], "containerDefinitions": [app]}), "FARGATE"),
        (json!({"family": "web", "taskRoleArn": "arn:aws:iam::1:role/x", "containerDefinitions": [app]}), "taskRoleArn is not supported"),
        (json!({"family": "web", "cpu": "much", "containerDefinitions": [app]}), "cpu has to be in"),
        (json!({"family": "web", "cpu": "1", "containerDefinitions": [app]}), "cpu has to be between"),
        (json!({"family": "web", "memory": "32", "containerDefinitions": [app]}), "more than the task's 32 MiB"),
        (json!({"family": "web", "volumes": [{"name": "a"}, {"name": "a"}], "containerDefinitions": [app]}), "two volumes are named a"),
        (json!({"family": "web", "volumes": [{"name": "a", "host": {"sourcePath": "../x"}}], "containerDefinitions": [app]}), "sourcePath"),
        (
            json!({"family": "web", "volumes": [{"name": "a", "efsVolumeConfiguration": {"fileSystemId": "x"}}], "containerDefinitions": [app]}),
            "volumes[0].efsVolumeConfiguration is not supported",
        ),
        (
            json!({"family": "web", "networkMode": "none", "containerDefinitions":
                [{"name": "app", "image": "a", "memory": 64, "portMappings": [{"containerPort": 1}]}]}),
            "networkMode none",
        ),
        (
            json!({"family": "web", "networkMode": "host", "containerDefinitions":
                [{"name": "app", "image": "a", "memory": 64, "portMappings": [{"containerPort": 1, "hostPort": 2}]}]}),
            "networkMode host",
        ),
    ] {
        let message = outcome(document.clone()).expect_err(&document.to_string());
        assert!(message.contains(expected), "{document}: {message}");
    }
}

#[test]
fn what_reaches_into_the_host_is_known() {
    let host = json!({"family": "web", "volumes": [{"name": "a", "host": {"sourcePath": "/etc"}}],
                      "containerDefinitions": [{"name": "app", "image": "a", "memory": 64}]});
    assert!(super::super::wants_cluster_admin(&outcome(host).unwrap().definition).is_some());
    assert!(super::super::wants_cluster_admin(&outcome(container(&json!({}))).unwrap().definition).is_none());
}
