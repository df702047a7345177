//! What the registry's garbage collector must keep: pins come and go with what needs them.

use crate::service_deployments::settle;
use crate::support::{World, in_each_world};
use platform::exchange;
use serde_json::json;

/// Who pins the image that was pushed with `content`.
async fn pinned_by(world: &World, content: u8) -> Option<String> {
    let digest = format!("sha256:{}", format!("{content:02x}").repeat(32)).parse().unwrap();
    exchange::pinned_by(&mut world.deployer.context().db.read().await.unwrap(), "acme/web", &digest).await.unwrap()
}

#[tokio::test]
async fn a_task_definition_pins_the_digests_that_it_names_until_it_is_deregistered() {
    in_each_world(|world| async move {
        let digest = world.push("acme/web", "v1", 1);
        let definition =
            json!({"family": "job", "containerDefinitions": [{"name": "c", "image": format!("acme/web@{digest}"), "memory": 64}]});
        world.ecs("RegisterTaskDefinition", definition).await.ok();
        assert_eq!(pinned_by(&world, 1).await.as_deref(), Some("task-definition:job:1"));
        world.ecs("DeregisterTaskDefinition", json!({"taskDefinition": "job:1"})).await.ok();
        assert_eq!(pinned_by(&world, 1).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_service_pins_what_its_tags_meant_as_far_back_as_it_can_be_rolled_back() {
    in_each_world(|world| async move {
        world.instance(1).await;
        world.create_web(1).await;
        assert!(pinned_by(&world, 1).await.is_some_and(|holder| holder.starts_with("service:")), "by its deployment: a tag pins nothing");
        world.ecs("DeregisterTaskDefinition", json!({"taskDefinition": "web:1"})).await.ok();
        assert!(pinned_by(&world, 1).await.is_some(), "what runs goes on");
        world.register_web().await;
        for content in 2..15 {
            settle(&world).await;
            world.pass(1);
            world.push("acme/web", "v1", content);
            world.ecs("UpdateService", json!({"service": "web", "taskDefinition": "web:2", "forceNewDeployment": true})).await.ok();
        }
        let mut pinned = Vec::new();
        for content in 1..15 {
            if pinned_by(&world, content).await.is_some() {
                pinned.push(content);
            }
        }
        assert_eq!(pinned, (3..15).collect::<Vec<u8>>(), "what begins, what runs, and the ten completed ones before");
        world.ecs("DeleteService", json!({"service": "web", "force": true})).await.ok();
        for content in 1..15 {
            assert_eq!(pinned_by(&world, content).await, None, "{content}");
        }
    })
    .await;
}
