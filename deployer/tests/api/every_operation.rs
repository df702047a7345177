//! Every operation of the router's own list: succeeding with exactly the grants it needs, refused for lack of each of them, refused
//! for bad input, refused without credentials.

use crate::support::{Answer, IMAGE, World, in_each_world, web};
use api::aws::Api;
use deployer::aws::OPERATIONS;
use model::access::{Resource, Role};
use serde_json::{Value, json};

/// How lack of a grant shows.
enum Denied {
    /// `AccessDeniedException`.
    Refused,
    /// A failure MISSING, as if it did not exist.
    Missing,
    /// Left out of the list at this place of the answer.
    LeftOut(&'static str),
    /// `RepositoryNotFoundException`, as if it did not exist.
    NotFound,
}

struct Example {
    operation: &'static str,
    request: fn(&Ids) -> Value,
    needs: Vec<(Role, Resource)>,
    denied: Denied,
    bad: Vec<(Value, &'static str)>,
}

/// What the world of an example holds: a service, a task without service, an instance, task definitions.
struct Ids {
    task: String,
    instance: String,
    /// ARNs of the service deployment under way of the service `rolled`, and of its target.
    service_deployment: String,
    service_revision: String,
}

fn cluster(role: Role) -> (Role, Resource) {
    (role, Resource::cluster("default"))
}

fn family(role: Role) -> (Role, Resource) {
    (role, Resource::family("web"))
}

fn service(role: Role, name: &str) -> (Role, Resource) {
    (role, Resource::service("default", name))
}

fn pull() -> (Role, Resource) {
    (Role::Pull, Resource::repository("acme/web"))
}

const INVALID: &str = "InvalidParameterException";
const CLIENT: &str = "ClientException";

fn examples() -> Vec<Example> {
    let mut examples = cluster_examples();
    examples.extend(task_definition_examples());
    examples.extend(service_examples());
    examples.extend(service_deployment_examples());
    examples.extend(task_examples());
    examples.extend(other_examples());
    examples
}

fn cluster_examples() -> Vec<Example> {
    vec![
        Example {
            operation: "CreateCluster",
            request: |_| json!({"clusterName": "prod"}),
            needs: vec![(Role::Admin, Resource::cluster("prod"))],
            denied: Denied::Refused,
            bad: vec![
                (json!({"clusterName": "a/b"}), INVALID),
                (json!({"clusterName": "prod", "capacityProviders": ["FARGATE"]}), INVALID),
            ],
        },
        Example {
            operation: "DescribeClusters",
            request: |_| json!({"clusters": ["default"]}),
            needs: vec![cluster(Role::View)],
            denied: Denied::Missing,
            bad: vec![(json!({"include": ["NONSENSE"]}), INVALID), (json!({"clusters": ["a b"]}), INVALID)],
        },
        Example {
            operation: "ListClusters",
            request: |_| json!({}),
            needs: vec![cluster(Role::View)],
            denied: Denied::LeftOut("/clusterArns"),
            bad: vec![(json!({"maxResults": 0}), INVALID), (json!({"nextToken": "%"}), INVALID)],
        },
        Example {
            operation: "DeleteCluster",
            request: |_| json!({"cluster": "empty"}),
            needs: vec![(Role::Admin, Resource::cluster("empty"))],
            denied: Denied::Refused,
            bad: vec![(json!({}), INVALID), (json!({"cluster": "unknown"}), "ClusterNotFoundException")],
        },
    ]
}

fn task_definition_examples() -> Vec<Example> {
    vec![
        Example {
            operation: "RegisterTaskDefinition",
            request: |_| web(),
            needs: vec![family(Role::Deploy), pull()],
            denied: Denied::Refused,
            bad: vec![
                (json!({"family": "web"}), CLIENT),
                (json!({"family": "web", "containerDefinitions": []}), CLIENT),
                (
                    json!({"family": "web", "containerDefinitions": [{"name": "a", "image": IMAGE, "memory": 64, "privileged": true}]}),
                    CLIENT,
                ),
            ],
        },
        Example {
            operation: "DescribeTaskDefinition",
            request: |_| json!({"taskDefinition": "web:1"}),
            needs: vec![family(Role::View)],
            denied: Denied::Refused,
            bad: vec![(json!({"taskDefinition": "web:99"}), CLIENT), (json!({}), INVALID)],
        },
        Example {
            operation: "ListTaskDefinitions",
            request: |_| json!({"familyPrefix": "web"}),
            needs: vec![family(Role::View)],
            denied: Denied::LeftOut("/taskDefinitionArns"),
            bad: vec![(json!({"status": "GONE"}), INVALID), (json!({"sort": "UP"}), INVALID)],
        },
        Example {
            operation: "ListTaskDefinitionFamilies",
            request: |_| json!({}),
            needs: vec![family(Role::View)],
            denied: Denied::LeftOut("/families"),
            bad: vec![(json!({"status": "GONE"}), INVALID)],
        },
        Example {
            operation: "DeregisterTaskDefinition",
            request: |_| json!({"taskDefinition": "web:1"}),
            needs: vec![family(Role::Deploy)],
            denied: Denied::Refused,
            bad: vec![(json!({"taskDefinition": "web"}), CLIENT), (json!({"taskDefinition": "web:x"}), CLIENT)],
        },
    ]
}

fn service_examples() -> Vec<Example> {
    vec![
        Example {
            operation: "CreateService",
            request: |_| json!({"serviceName": "new", "taskDefinition": "web", "desiredCount": 1}),
            needs: vec![service(Role::Operate, "new"), family(Role::View), pull()],
            denied: Denied::Refused,
            bad: vec![
                (json!({"taskDefinition": "web", "desiredCount": 1}), INVALID),
                (json!({"serviceName": "new", "taskDefinition": "web"}), INVALID),
                (json!({"serviceName": "new", "taskDefinition": "web", "desiredCount": -1}), INVALID),
                (json!({"serviceName": "new", "taskDefinition": "none", "desiredCount": 1}), CLIENT),
                (json!({"serviceName": "new", "taskDefinition": "web", "desiredCount": 1, "launchType": "FARGATE"}), INVALID),
                (
                    json!({"cluster": "unknown", "serviceName": "new", "taskDefinition": "web", "desiredCount": 1}),
                    "ClusterNotFoundException",
                ),
            ],
        },
        Example {
            operation: "UpdateService",
            request: |_| json!({"service": "web", "taskDefinition": "web:2", "desiredCount": 2}),
            needs: vec![service(Role::Deploy, "web"), family(Role::View), pull()],
            denied: Denied::Refused,
            bad: vec![
                (json!({"service": "unknown", "desiredCount": 1}), "ServiceNotFoundException"),
                (json!({"service": "web", "loadBalancers": [{"containerPort": 80}]}), INVALID),
                (json!({"service": "web", "deploymentConfiguration": {"maximumPercent": 50}}), INVALID),
            ],
        },
        Example {
            operation: "DescribeServices",
            request: |_| json!({"services": ["web"]}),
            needs: vec![service(Role::View, "web")],
            denied: Denied::Missing,
            bad: vec![(json!({"services": []}), INVALID), (json!({"cluster": "unknown", "services": ["web"]}), "ClusterNotFoundException")],
        },
        Example {
            operation: "ListServices",
            request: |_| json!({}),
            needs: vec![service(Role::View, "web")],
            denied: Denied::LeftOut("/serviceArns"),
            bad: vec![(json!({"launchType": "MOON"}), INVALID)],
        },
        Example {
            operation: "DeleteService",
            request: |_| json!({"service": "web", "force": true}),
            needs: vec![service(Role::Operate, "web")],
            denied: Denied::Refused,
            bad: vec![(json!({"service": "web"}), INVALID), (json!({"service": "unknown"}), "ServiceNotFoundException")],
        },
    ]
}

fn service_deployment_examples() -> Vec<Example> {
    let unknown = format!("arn:aws:ecs:eu-home-1:123456789012:service-deployment/default/rolled/{}", "f".repeat(32));
    vec![
        Example {
            operation: "ListServiceDeployments",
            request: |_| json!({"service": "rolled"}),
            needs: vec![service(Role::View, "rolled")],
            denied: Denied::Refused,
            bad: vec![
                (json!({"service": "none"}), "ServiceNotFoundException"),
                (json!({"service": "rolled", "maxResults": 0}), INVALID),
                (json!({"service": "rolled", "status": ["GONE"]}), INVALID),
            ],
        },
        Example {
            operation: "DescribeServiceDeployments",
            request: |ids| json!({"serviceDeploymentArns": [ids.service_deployment]}),
            needs: vec![service(Role::View, "rolled")],
            denied: Denied::Missing,
            bad: vec![(json!({"serviceDeploymentArns": []}), INVALID), (json!({"serviceDeploymentArns": ["x"]}), INVALID)],
        },
        Example {
            operation: "DescribeServiceRevisions",
            request: |ids| json!({"serviceRevisionArns": [ids.service_revision]}),
            needs: vec![service(Role::View, "rolled")],
            denied: Denied::Missing,
            bad: vec![(json!({"serviceRevisionArns": []}), INVALID), (json!({"serviceRevisionArns": ["x"]}), INVALID)],
        },
        Example {
            operation: "StopServiceDeployment",
            request: |ids| json!({"serviceDeploymentArn": ids.service_deployment}),
            needs: vec![service(Role::Deploy, "rolled")],
            denied: Denied::Refused,
            bad: vec![
                (json!({"serviceDeploymentArn": "x"}), INVALID),
                (json!({"serviceDeploymentArn": unknown, "stopType": "ABORT"}), INVALID),
                (json!({"serviceDeploymentArn": unknown}), "ServiceDeploymentNotFoundException"),
            ],
        },
    ]
}

fn task_examples() -> Vec<Example> {
    vec![
        Example {
            operation: "RunTask",
            request: |_| json!({"taskDefinition": "web"}),
            needs: vec![cluster(Role::Deploy), family(Role::Deploy), pull()],
            denied: Denied::Refused,
            bad: vec![
                (json!({"taskDefinition": "web", "count": 11}), INVALID),
                (json!({"taskDefinition": "web", "overrides": {"containerOverrides": [{"name": "none"}]}}), INVALID),
                (json!({"taskDefinition": "web", "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["a"]}}}), INVALID),
                (json!({"taskDefinition": "none"}), CLIENT),
            ],
        },
        Example {
            operation: "StopTask",
            request: |ids| json!({"task": ids.task}),
            needs: vec![cluster(Role::Deploy)],
            denied: Denied::Refused,
            bad: vec![(json!({"task": "x"}), INVALID), (json!({"task": "f".repeat(32)}), INVALID)],
        },
        Example {
            operation: "DescribeTasks",
            request: |ids| json!({"tasks": [ids.task]}),
            needs: vec![cluster(Role::View)],
            denied: Denied::Missing,
            bad: vec![(json!({"tasks": []}), INVALID), (json!({"tasks": ["x"]}), INVALID)],
        },
        Example {
            operation: "ListTasks",
            request: |_| json!({"family": "web"}),
            needs: vec![cluster(Role::View)],
            denied: Denied::LeftOut("/taskArns"),
            bad: vec![(json!({"desiredStatus": "GONE"}), INVALID), (json!({"serviceName": "none"}), "ServiceNotFoundException")],
        },
    ]
}

fn other_examples() -> Vec<Example> {
    vec![
        Example {
            operation: "ListContainerInstances",
            request: |_| json!({}),
            needs: vec![cluster(Role::View)],
            denied: Denied::Refused,
            bad: vec![(json!({"status": "GONE"}), INVALID), (json!({"filter": "attribute:x == y"}), INVALID)],
        },
        Example {
            operation: "DescribeContainerInstances",
            request: |ids| json!({"containerInstances": [ids.instance]}),
            needs: vec![cluster(Role::View)],
            denied: Denied::Refused,
            bad: vec![(json!({"containerInstances": []}), INVALID), (json!({"containerInstances": ["x"]}), INVALID)],
        },
        Example {
            operation: "UpdateContainerInstancesState",
            request: |ids| json!({"containerInstances": [ids.instance], "status": "DRAINING"}),
            needs: vec![cluster(Role::Operate)],
            denied: Denied::Refused,
            bad: vec![
                (json!({"containerInstances": [], "status": "DRAINING"}), INVALID),
                (json!({"containerInstances": ["x"], "status": "DRAINING"}), INVALID),
                (json!({"containerInstances": ["f".repeat(32)], "status": "DEREGISTERING"}), INVALID),
                (json!({"containerInstances": ["f".repeat(32)]}), INVALID),
                (json!({"containerInstances": vec!["f".repeat(32); 11], "status": "ACTIVE"}), INVALID),
            ],
        },
        Example {
            operation: "DeregisterContainerInstance",
            request: |ids| json!({"containerInstance": ids.instance, "force": true}),
            needs: vec![cluster(Role::Admin)],
            denied: Denied::Refused,
            bad: vec![
                (json!({"containerInstance": "x"}), INVALID),
                (json!({"containerInstance": "f".repeat(32), "force": true}), INVALID),
                (json!({"containerInstance": format!("{:032x}", 1)}), INVALID),
                (json!({}), INVALID),
            ],
        },
        Example {
            operation: "GetAuthorizationToken",
            request: |_| json!({}),
            needs: vec![],
            denied: Denied::Refused,
            bad: vec![(json!({"registryIds": ["000000000000"]}), INVALID)],
        },
        Example {
            operation: "CreateRepository",
            request: |_| json!({"repositoryName": "acme/new"}),
            needs: vec![(Role::Push, Resource::repository("acme/new"))],
            denied: Denied::Refused,
            bad: vec![
                (json!({"repositoryName": "UPPER"}), INVALID),
                (json!({"repositoryName": "acme/web"}), "RepositoryAlreadyExistsException"),
                (json!({"repositoryName": "acme/new", "imageTagMutability": "FROZEN"}), INVALID),
            ],
        },
        Example {
            operation: "DescribeRepositories",
            request: |_| json!({"repositoryNames": ["acme/web"]}),
            needs: vec![pull()],
            denied: Denied::NotFound,
            bad: vec![(json!({"repositoryNames": [".."]}), INVALID), (json!({"repositoryNames": ["none"]}), "RepositoryNotFoundException")],
        },
        Example {
            operation: "PutImageTagMutability",
            request: |_| json!({"repositoryName": "acme/web", "imageTagMutability": "IMMUTABLE"}),
            needs: vec![(Role::Admin, Resource::repository("acme/web"))],
            denied: Denied::Refused,
            bad: vec![
                (json!({"repositoryName": "acme/web"}), INVALID),
                (json!({"repositoryName": "acme/web", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}), INVALID),
                (json!({"repositoryName": "acme/none", "imageTagMutability": "MUTABLE"}), "RepositoryNotFoundException"),
            ],
        },
    ]
}

async fn furnish(world: &World) -> Ids {
    world.create_web(1).await;
    world.register_web().await;
    world.ecs("CreateCluster", json!({"clusterName": "empty"})).await.ok();
    let instance = world.instance(1).await.to_string();
    let task = world.task(1, None).await.to_string();
    world.ecs("CreateService", json!({"serviceName": "rolled", "taskDefinition": "web:1", "desiredCount": 0})).await.ok();
    world.plan().await;
    world.pass(1);
    world.ecs("UpdateService", json!({"service": "rolled", "forceNewDeployment": true})).await.ok();
    let listed = world.ecs("ListServiceDeployments", json!({"service": "rolled"})).await.ok()["serviceDeployments"][0].clone();
    let arn = |name: &str| listed[name].as_str().unwrap().to_owned();
    Ids { task, instance, service_deployment: arn("serviceDeploymentArn"), service_revision: arn("targetServiceRevisionArn") }
}

fn api_of(name: &str) -> Api {
    OPERATIONS.iter().find(|operation| operation.name == name).unwrap_or_else(|| panic!("{name} is not an operation")).api
}

#[test]
fn there_is_an_example_of_each_operation() {
    let mut listed: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
    let mut shown: Vec<_> = examples().iter().map(|example| example.operation).collect();
    listed.sort_unstable();
    shown.sort_unstable();
    assert_eq!(listed, shown);
}

#[tokio::test]
async fn each_succeeds_with_exactly_the_grants_it_needs() {
    in_each_world(|world| async move {
        let ids = furnish(&world).await;
        for example in examples() {
            let token = world.robot(&example.operation.to_lowercase(), &example.needs).await;
            let answer = world.call(&token, api_of(example.operation), example.operation, &(example.request)(&ids)).await;
            let body = answer.clone().ok();
            assert!(!shows_denial(&example.denied, &answer), "{}: {body}", example.operation);
        }
    })
    .await;
}

#[tokio::test]
async fn each_is_refused_for_lack_of_each_grant() {
    in_each_world(|world| async move {
        let ids = furnish(&world).await;
        for example in examples() {
            for without in 0..example.needs.len() {
                let mut held = example.needs.clone();
                let (role, resource) = held.remove(without);
                let token = world.robot(&format!("{}-{without}", example.operation.to_lowercase()), &held).await;
                let answer = world.call(&token, api_of(example.operation), example.operation, &(example.request)(&ids)).await;
                let shown = shows_denial(&example.denied, &answer);
                assert!(shown, "{} without {role} on {resource}: {} {}", example.operation, answer.status, answer.body);
            }
        }
    })
    .await;
}

fn shows_denial(denied: &Denied, answer: &Answer) -> bool {
    let code = &answer.body["__type"];
    match denied {
        Denied::Refused => code == "AccessDeniedException" && answer.status == 400,
        Denied::Missing => answer.status == 200 && answer.body.pointer("/failures/0/reason") == Some(&json!("MISSING")),
        Denied::LeftOut(list) => answer.status == 200 && answer.body.pointer(list) == Some(&json!([])),
        Denied::NotFound => code == "RepositoryNotFoundException" && answer.status == 400,
    }
}

#[tokio::test]
async fn each_refuses_bad_input_and_writes_nothing() {
    in_each_world(|world| async move {
        furnish(&world).await;
        let before = events(&world).await;
        for example in examples() {
            let wrong_type = json!({"cluster": 1, "clusters": 1, "tags": 1, "maxResults": "x", "registryIds": 1, "repositoryName": 1, "service": 1,
                "serviceName": 1, "services": 1, "taskDefinition": 1, "task": 1, "tasks": 1, "containerInstances": 1, "family": 1,
                "containerDefinitions": 1});
            let answer = world.call(&world.admin, api_of(example.operation), example.operation, &wrong_type).await;
            assert!(!answer.refused().is_empty(), "{}", example.operation);
            let unknown = json!({"noSuchField": "x"});
            let answer = world.call(&world.admin, api_of(example.operation), example.operation, &unknown).await;
            assert!(answer.message().contains("noSuchField"), "{}: {}", example.operation, answer.body);
            for (request, code) in example.bad {
                let answer = world.call(&world.admin, api_of(example.operation), example.operation, &request).await;
                assert_eq!(answer.refused(), code, "{} {request}: {}", example.operation, answer.body);
            }
        }
        assert_eq!(events(&world).await, before);
    })
    .await;
}

async fn events(world: &World) -> i64 {
    let mut tx = world.deployer.context().db.read().await.unwrap();
    let all = platform::events::after(&mut tx, 0, 10_000).await.unwrap();
    all.last().map_or(0, |event| event.sequence)
}

#[tokio::test]
async fn none_answers_without_credentials() {
    in_each_world(|world| async move {
        for operation in OPERATIONS {
            let target = format!("{}.{}", operation.api.target(), operation.name);
            let answer = world.send(&[("x-amz-target", &target)], "{}".into()).await;
            assert_eq!(answer.refused(), "MissingAuthenticationTokenException", "{}", operation.name);
            let answer = world.call("wrong", operation.api, operation.name, &json!({})).await;
            assert_eq!(answer.refused(), "UnrecognizedClientException", "{}", operation.name);
        }
    })
    .await;
}
