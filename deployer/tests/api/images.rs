//! Deploying does not bypass pulling: each way to name an image, and images that are not there.

use crate::support::{IMAGE, in_each_world};
use model::access::{Resource, Role};
use serde_json::{Value, json};

fn definition(image: &str) -> Value {
    json!({"family": "web", "containerDefinitions": [{"name": "app", "image": image, "memory": 64}]})
}

fn everything_but_pull() -> Vec<(Role, Resource)> {
    vec![
        (Role::Admin, Resource::family("web")),
        (Role::Admin, Resource::cluster("default")),
        (Role::Admin, Resource::service("default", "web")),
        (Role::Admin, Resource::service("default", "other")),
    ]
}

#[tokio::test]
async fn each_way_to_name_an_own_image_takes_pull() {
    in_each_world(|world| async move {
        let digest = world.push("acme/web", "v1", 1);
        let token = world.robot("deployer", &everything_but_pull()).await;
        let call = async |operation: &str, body: Value| world.call(&token, api::aws::Api::Ecs, operation, &body).await;
        for image in [
            "127.0.0.1:5000/acme/web:v1".to_owned(),
            "127.0.0.1:5000/acme/web".to_owned(),
            "registry.example.com/acme/web:v1".to_owned(),
            "REGISTRY.example.com/acme/web:v1".to_owned(),
            "acme/web:v1".to_owned(),
            format!("127.0.0.1:5000/acme/web@{digest}"),
            format!("acme/web:v1@{digest}"),
        ] {
            let answer = call("RegisterTaskDefinition", definition(&image)).await;
            assert_eq!(answer.refused(), "AccessDeniedException", "{image}");
            let expected = "User: robot:deployer is not authorized to perform: ecs:RegisterTaskDefinition on resource: \
                            repository:acme/web because no grant gives pull on it";
            assert_eq!(answer.message(), expected, "{image}");
        }
        world.create_web(1).await;
        for (operation, body) in [
            ("CreateService", json!({"serviceName": "other", "taskDefinition": "web:1", "desiredCount": 1})),
            ("UpdateService", json!({"service": "web", "taskDefinition": "web:1"})),
            ("RunTask", json!({"taskDefinition": "web:1"})),
        ] {
            assert_eq!(call(operation, body).await.refused(), "AccessDeniedException", "{operation}");
        }
        // What names no image takes none.
        call("UpdateService", json!({"service": "web", "desiredCount": 2})).await.ok();
        // Images of other registries are theirs to guard.
        for image in ["docker.io/library/nginx", "127.0.0.1:5001/acme/web:v1", "nginx"] {
            call("RegisterTaskDefinition", definition(image)).await.ok();
        }
    })
    .await;
}

#[tokio::test]
async fn an_own_image_that_is_not_there_is_refused_when_it_is_to_run() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let missing = world.ecs("RegisterTaskDefinition", definition("127.0.0.1:5000/acme/web:v9")).await.ok();
        assert_eq!(missing["taskDefinition"]["revision"], 2, "as in ECS, it may be registered before it is pushed");
        for (operation, body) in [
            ("CreateService", json!({"serviceName": "other", "taskDefinition": "web:2", "desiredCount": 1})),
            ("UpdateService", json!({"service": "web", "taskDefinition": "web:2"})),
            ("RunTask", json!({"taskDefinition": "web:2"})),
        ] {
            let answer = world.ecs(operation, body).await;
            assert_eq!(answer.refused(), "ClientException", "{operation}");
            assert!(answer.message().contains("127.0.0.1:5000/acme/web:v9 does not exist"), "{}", answer.message());
        }
    })
    .await;
}

#[tokio::test]
async fn the_tag_is_resolved_once_for_a_deployment() {
    in_each_world(|world| async move {
        let first = world.push("acme/web", "v1", 1);
        world.create_web(1).await;
        let id = world.web_id().await;
        let images = |world: &crate::support::World| {
            let (db, id) = (world.deployer.context().db.clone(), id.clone());
            async move {
                let deployments = deployer::store::deployments::of_service(&mut db.read().await.unwrap(), &id).await.unwrap();
                deployments.into_iter().map(|deployment| deployment.images["app"].digest.clone().unwrap()).collect::<Vec<_>>()
            }
        };
        let second = world.push("acme/web", "v1", 2);
        assert_eq!(images(&world).await, std::slice::from_ref(&first));
        world.pass(1);
        world.ecs("UpdateService", json!({"service": "web", "forceNewDeployment": true})).await.ok();
        assert_eq!(images(&world).await, [second, first], "{IMAGE} is looked at anew by force");
    })
    .await;
}

#[tokio::test]
async fn what_reaches_into_the_host_takes_admin_on_the_cluster() {
    in_each_world(|world| async move {
        let mut document = definition(IMAGE);
        document["volumes"] = json!([{"name": "etc", "host": {"sourcePath": "/etc"}}]);
        world.ecs("RegisterTaskDefinition", document).await.ok();
        let mut document = definition(IMAGE);
        document["networkMode"] = json!("host");
        world.ecs("RegisterTaskDefinition", document).await.ok();
        let mut grants = everything_but_pull();
        grants[1].0 = Role::Operate;
        grants.push((Role::Pull, Resource::repository("acme/web")));
        let token = world.robot("deployer", &grants).await;
        for revision in ["web:1", "web:2"] {
            for (operation, body) in [
                ("CreateService", json!({"serviceName": "other", "taskDefinition": revision, "desiredCount": 1})),
                ("RunTask", json!({"taskDefinition": revision})),
            ] {
                let answer = world.call(&token, api::aws::Api::Ecs, operation, &body).await;
                assert_eq!(answer.refused(), "AccessDeniedException", "{operation} {revision}");
                assert!(answer.message().contains("no grant gives admin on it"), "{}", answer.message());
            }
        }
    })
    .await;
}
