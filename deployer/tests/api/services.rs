//! Services: what clients read back, deployments, deletion.

use crate::support::in_each_world;
use serde_json::{Value, json};

async fn describe(world: &crate::support::World) -> Value {
    world.ecs("DescribeServices", json!({"services": ["web"]})).await.ok()["services"][0].clone()
}

#[tokio::test]
async fn a_new_service_has_the_defaults_of_ecs() {
    in_each_world(|world| async move {
        world.create_web(3).await;
        let service = describe(&world).await;
        for (name, expected) in [
            ("serviceArn", json!("arn:aws:ecs:eu-home-1:123456789012:service/default/web")),
            ("status", json!("ACTIVE")),
            ("desiredCount", json!(3)),
            ("runningCount", json!(0)),
            ("launchType", json!("EC2")),
            ("schedulingStrategy", json!("REPLICA")),
            ("deploymentController", json!({"type": "ECS"})),
            ("propagateTags", json!("NONE")),
            ("enableECSManagedTags", json!(false)),
            ("enableExecuteCommand", json!(false)),
            ("availabilityZoneRebalancing", json!("DISABLED")),
            ("loadBalancers", json!([])),
            ("placementStrategy", json!([])),
            ("taskDefinition", json!("arn:aws:ecs:eu-home-1:123456789012:task-definition/web:1")),
        ] {
            assert_eq!(service[name], expected, "{name}");
        }
        assert_eq!(service["deploymentConfiguration"]["maximumPercent"], 200);
        assert_eq!(service["deploymentConfiguration"]["minimumHealthyPercent"], 100);
        assert!(service.get("tags").is_none() && service.get("roleArn").is_none());
        let deployment = &service["deployments"][0];
        assert_eq!((&deployment["status"], &deployment["rolloutState"]), (&json!("PRIMARY"), &json!("IN_PROGRESS")));
        assert!(deployment["id"].as_str().unwrap().starts_with("ecs-svc/"));
    })
    .await;
}

#[tokio::test]
async fn settings_come_back_as_they_were_given() {
    in_each_world(|world| async move {
        world.register_web().await;
        let request = json!({
            "serviceName": "web", "taskDefinition": "web:1", "desiredCount": 2, "launchType": "EC2", "schedulingStrategy": "REPLICA",
            "deploymentConfiguration": {"maximumPercent": 150, "minimumHealthyPercent": 50, "deploymentCircuitBreaker": {"enable": true, "rollback": true,
                "resetOnHealthyTask": false, "thresholdConfiguration": {"type": "COUNT", "value": 7}}},
            "placementStrategy": [{"type": "spread", "field": "attribute:ecs.availability-zone"}, {"type": "binpack", "field": "memory"}],
            "placementConstraints": [{"type": "distinctInstance"}], "enableECSManagedTags": true, "propagateTags": "NONE",
            "deploymentController": {"type": "ECS"}, "tags": [{"key": "team", "value": "x"}], "healthCheckGracePeriodSeconds": 7,
            "loadBalancers": [], "networkConfiguration": null, "availabilityZoneRebalancing": "DISABLED"
        });
        world.ecs("CreateService", request.clone()).await.ok();
        let described = world.ecs("DescribeServices", json!({"services": ["web"], "include": ["TAGS"]})).await.ok();
        let service = &described["services"][0];
        for name in ["desiredCount", "placementStrategy", "placementConstraints", "enableECSManagedTags", "tags", "healthCheckGracePeriodSeconds"] {
            assert_eq!(service[name], request[name], "{name}");
        }
        assert_eq!(service["deploymentConfiguration"]["maximumPercent"], 150);
        let breaker = "/deploymentConfiguration/deploymentCircuitBreaker";
        assert_eq!(service.pointer(breaker), request.pointer(breaker));
    })
    .await;
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        for (change, expected) in [
            (json!({"loadBalancers": [{"targetGroupArn": "x"}]}), "loadBalancers"),
            (json!({"serviceRegistries": [{"registryArn": "x"}]}), "serviceRegistries"),
            (json!({"capacityProviderStrategy": [{"capacityProvider": "x"}]}), "capacityProviderStrategy"),
            (json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["x"]}}}), "networkConfiguration"),
            (json!({"enableExecuteCommand": true}), "enableExecuteCommand"),
            (
                json!({"deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true,
                    "thresholdConfiguration": {"type": "BOUNDED_PERCENT", "value": 101}}}}),
                "thresholdConfiguration.value",
            ),
            (json!({"deploymentConfiguration": {"maximumPercent": 150}}), "no deployment of 1 tasks"),
            (json!({"deploymentConfiguration": {"strategy": "BLUE_GREEN"}}), "deploymentConfiguration.strategy"),
            (json!({"placementConstraints": [{"type": "memberOf", "expression": "x"}]}), "memberOf"),
            (json!({"placementStrategy": [{"type": "spread", "field": "rack"}]}), "placementStrategy"),
            (json!({"deploymentConfiguration": {"maximumPercent": 100, "minimumHealthyPercent": 100}}), "maximumPercent 100"),
            (json!({"propagateTags": "SERVICE"}), "propagateTags"),
        ] {
            let mut request = change.clone();
            request["service"] = json!("web");
            let answer = world.ecs("UpdateService", request).await;
            assert_eq!(answer.refused(), "InvalidParameterException", "{change}");
            assert!(answer.message().contains(expected), "{change}: {}", answer.message());
        }
    })
    .await;
}

#[tokio::test]
async fn an_update_makes_a_new_deployment_only_for_a_definition_or_by_force() {
    in_each_world(|world| async move {
        let first = world.create_web(1).await["deployments"][0]["id"].clone();
        world.register_web().await;
        let scaled = world.ecs("UpdateService", json!({"service": "web", "desiredCount": 4})).await.ok();
        assert_eq!(scaled["service"]["desiredCount"], 4);
        assert_eq!(scaled["service"]["deployments"].as_array().unwrap().len(), 1);
        world.pass(1);
        let updated = world.ecs("UpdateService", json!({"service": "web", "taskDefinition": "web:2"})).await.ok()["service"].clone();
        let deployments = updated["deployments"].as_array().unwrap();
        assert_eq!(deployments.len(), 2, "the old one stands in the same answer, or waiters would pass too early");
        assert_eq!((&deployments[0]["status"], &deployments[1]["status"]), (&json!("PRIMARY"), &json!("ACTIVE")));
        assert_eq!(deployments[1]["id"], first);
        assert_ne!(deployments[0]["id"], first);
        assert!(deployments[0]["taskDefinition"].as_str().unwrap().ends_with("web:2"));
        world.pass(1);
        let forced = world.ecs("UpdateService", json!({"service": "web", "forceNewDeployment": true})).await.ok();
        assert_ne!(forced["service"]["deployments"][0]["id"], deployments[0]["id"]);
    })
    .await;
}

#[tokio::test]
async fn nothing_but_a_definition_or_force_makes_a_deployment() {
    in_each_world(|world| async move {
        let first = world.create_web(2).await["deployments"].clone();
        for change in [
            json!({"desiredCount": 3}),
            json!({"deploymentConfiguration": {"maximumPercent": 150, "minimumHealthyPercent": 50}}),
            json!({"deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}}}),
            json!({"placementStrategy": [{"type": "random"}]}),
            json!({"placementConstraints": [{"type": "distinctInstance"}]}),
            json!({"healthCheckGracePeriodSeconds": 9}),
            json!({"enableECSManagedTags": true}),
            json!({"forceNewDeployment": false}),
        ] {
            let mut request = change.clone();
            request["service"] = json!("web");
            let service = world.ecs("UpdateService", request).await.ok()["service"].clone();
            let listed = service["deployments"].as_array().unwrap();
            assert_eq!((listed.len(), &listed[0]["id"]), (1, &first[0]["id"]), "{change}");
        }
        assert_eq!(
            world.ecs("ListServiceDeployments", json!({"service": "web"})).await.ok()["serviceDeployments"].as_array().unwrap().len(),
            1
        );
    })
    .await;
}

#[tokio::test]
async fn a_scaling_to_where_nothing_could_move_is_done_and_said() {
    in_each_world(|world| async move {
        world.create_web(4).await;
        let settings = json!({"service": "web", "deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 125}});
        world.ecs("UpdateService", settings).await.ok();
        let scaled = world.ecs("UpdateService", json!({"service": "web", "desiredCount": 3})).await.ok()["service"].clone();
        assert_eq!(scaled["desiredCount"], 3);
        let said = scaled["events"][0]["message"].as_str().unwrap();
        assert!(said.contains("no deployment of 3 tasks"), "{said}");
        let forced = world.ecs("UpdateService", json!({"service": "web", "forceNewDeployment": true})).await;
        assert_eq!(forced.refused(), "InvalidParameterException", "it would wait for ever");
    })
    .await;
}

#[tokio::test]
async fn force_resolves_tags_anew_on_the_authority_of_the_caller() {
    in_each_world(|world| async move {
        use model::access::{Resource, Role};
        world.create_web(1).await;
        let deploy = (Role::Deploy, Resource::service("default", "web"));
        let token = world.robot("without-pull", std::slice::from_ref(&deploy)).await;
        let force = json!({"service": "web", "forceNewDeployment": true});
        assert_eq!(world.call(&token, api::aws::Api::Ecs, "UpdateService", &force).await.refused(), "AccessDeniedException");
        let moved = world.push("acme/web", "v1", 9);
        world.pass(1);
        let token = world.robot("with-pull", &[deploy, (Role::Pull, Resource::repository("acme/web"))]).await;
        world.call(&token, api::aws::Api::Ecs, "UpdateService", &force).await.ok();
        let id = world.web_id().await;
        let mut tx = world.deployer.context().db.read().await.unwrap();
        let primary = deployer::store::deployments::of_service(&mut tx, &id).await.unwrap().remove(0);
        assert_eq!(primary.images["app"].digest, Some(moved));
        assert_eq!(primary.principal.unwrap().to_string(), "robot:with-pull");
    })
    .await;
}

#[tokio::test]
async fn counts_are_those_of_the_tasks() {
    in_each_world(|world| async move {
        world.create_web(2).await;
        let id = world.web_id().await;
        world.task(1, Some(&id)).await;
        world.task(2, Some(&id)).await;
        world.task(3, None).await;
        let service = describe(&world).await;
        assert_eq!((&service["runningCount"], &service["pendingCount"]), (&json!(2), &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn creation_is_repeated_by_its_client_token_only() {
    in_each_world(|world| async move {
        world.register_web().await;
        let request = |token: &str| json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1, "clientToken": token});
        let first = world.ecs("CreateService", request("a")).await.ok();
        let again = world.ecs("CreateService", request("a")).await.ok();
        assert_eq!(first["service"]["deployments"][0]["id"], again["service"]["deployments"][0]["id"]);
        let other = world.ecs("CreateService", request("b")).await;
        assert_eq!((other.refused(), other.message()), ("InvalidParameterException", "Creation of service was not idempotent."));
    })
    .await;
}

#[tokio::test]
async fn a_deleted_service_drains_and_takes_no_change() {
    in_each_world(|world| async move {
        world.create_web(1).await;
        let answer = world.ecs("DeleteService", json!({"service": "web"})).await;
        assert_eq!(answer.message(), "The service cannot be stopped while it is scaled above 0.");
        let gone = world.ecs("DeleteService", json!({"service": "web", "force": true})).await.ok();
        assert_eq!((&gone["service"]["status"], &gone["service"]["desiredCount"]), (&json!("DRAINING"), &json!(0)));
        assert_eq!(world.ecs("UpdateService", json!({"service": "web", "desiredCount": 1})).await.refused(), "ServiceNotActiveException");
        let again = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1});
        assert_eq!(world.ecs("CreateService", again).await.message(), "Unable to Start a service that is still Draining.");
        assert_eq!(describe(&world).await["status"], "DRAINING");
    })
    .await;
}

#[tokio::test]
async fn services_are_named_by_arn_too_and_missing_ones_are_failures() {
    in_each_world(|world| async move {
        let arn = world.create_web(1).await["serviceArn"].clone();
        let described = world.ecs("DescribeServices", json!({"cluster": "default", "services": [arn, "none"]})).await.ok();
        assert_eq!(described["services"][0]["serviceName"], "web");
        assert_eq!(described["failures"][0]["reason"], "MISSING");
        assert_eq!(described["failures"][0]["arn"], "arn:aws:ecs:eu-home-1:123456789012:service/default/none");
    })
    .await;
}
