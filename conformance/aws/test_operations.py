"""Every operation: succeeding, refused for lack of a grant, refused for bad input. No containers are needed.

The table below has to hold exactly the operations that the server offers, found by asking for each one of botocore's model.
"""

import json

import pytest
from botocore.exceptions import ClientError

from server import ACCOUNT, ADMIN_KEY, REGION

ISSUE = {
    "ecs": """CreateCluster DescribeClusters ListClusters DeleteCluster RegisterTaskDefinition DescribeTaskDefinition ListTaskDefinitions
        ListTaskDefinitionFamilies DeregisterTaskDefinition CreateService UpdateService DescribeServices ListServices DeleteService RunTask
        StopTask DescribeTasks ListTasks ListContainerInstances DescribeContainerInstances UpdateContainerInstancesState
        DeregisterContainerInstance ListServiceDeployments DescribeServiceDeployments DescribeServiceRevisions
        StopServiceDeployment""".split(),
    "ecr": ["GetAuthorizationToken", "CreateRepository", "DescribeRepositories", "PutImageTagMutability"],
}
FOREIGN = {"name": "app", "image": "example.org/foreign:1", "memory": 32}
ARN = f"arn:aws:ecs:{REGION}:{ACCOUNT}"


class World:
    """What the operations work on: a cluster, a task definition and a service, all of one name."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.ecs = server.client("ecs", parameter_validation=False)
        self.ecr = server.client("ecr", parameter_validation=False)
        self.ecs.create_cluster(clusterName=name)
        self.task_definition = self.ecs.register_task_definition(family=name, containerDefinitions=[FOREIGN])["taskDefinition"]
        self.ecs.create_service(cluster=name, serviceName=name, taskDefinition=name, desiredCount=0)
        self.deployment = self.ecs.list_service_deployments(cluster=name, service=name)["serviceDeployments"][0]
        self.ecr.create_repository(repositoryName=name)


def call(client, operation, **parameters):
    return client._make_api_call(operation, parameters)


def code(client, operation, parameters):
    """The error code, or None."""
    try:
        call(client, operation, **parameters)
    except ClientError as error:
        assert error.response["Error"]["Message"], f"{operation}: no message"
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error.response
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        return error.response["Error"]["Code"]
    return None


def good(world):
    """Parameters with which each operation succeeds, and what its answer has to hold."""
    n, cluster = world.name, {"cluster": world.name}
    return {
        "CreateCluster": ({"clusterName": f"{n}-2"}, lambda a: a["cluster"]["status"] == "ACTIVE"),
        "DescribeClusters": ({"clusters": [n]}, lambda a: a["clusters"][0]["clusterArn"] == f"{ARN}:cluster/{n}"),
        "ListClusters": ({}, lambda a: f"{ARN}:cluster/{n}" in a["clusterArns"] and f"{ARN}:cluster/default" in a["clusterArns"]),
        "DeleteCluster": ({"cluster": f"{n}-gone"}, lambda a: a["cluster"]["status"] == "INACTIVE"),
        "RegisterTaskDefinition": (
            {"family": n, "containerDefinitions": [FOREIGN]},
            lambda a: a["taskDefinition"]["taskDefinitionArn"] == f"{ARN}:task-definition/{n}:2",
        ),
        "DescribeTaskDefinition": ({"taskDefinition": f"{n}:1"}, lambda a: a["taskDefinition"]["revision"] == 1),
        "ListTaskDefinitions": ({"familyPrefix": n}, lambda a: a["taskDefinitionArns"] == [f"{ARN}:task-definition/{n}:1"]),
        "ListTaskDefinitionFamilies": ({"familyPrefix": n}, lambda a: a["families"] == [n, f"{n}-old"]),
        "DeregisterTaskDefinition": ({"taskDefinition": f"{n}-old:1"}, lambda a: a["taskDefinition"]["status"] == "INACTIVE"),
        "CreateService": (
            cluster | {"serviceName": f"{n}-2", "taskDefinition": f"{n}:1", "desiredCount": 0},
            lambda a: a["service"]["status"] == "ACTIVE" and a["service"]["deployments"][0]["status"] == "PRIMARY",
        ),
        "UpdateService": (cluster | {"service": n, "desiredCount": 0}, lambda a: a["service"]["serviceName"] == n),
        "DescribeServices": (cluster | {"services": [n]}, lambda a: a["services"][0]["serviceArn"] == f"{ARN}:service/{n}/{n}"),
        "ListServices": (cluster, lambda a: a["serviceArns"] == [f"{ARN}:service/{n}/{n}", f"{ARN}:service/{n}/{n}-gone"]),
        "DeleteService": (cluster | {"service": f"{n}-gone"}, lambda a: a["service"]["status"] in ("DRAINING", "INACTIVE")),
        "ListServiceDeployments": (
            cluster | {"service": n},
            lambda a: [d["serviceDeploymentArn"] for d in a["serviceDeployments"]] == [world.deployment["serviceDeploymentArn"]],
        ),
        "DescribeServiceDeployments": (
            {"serviceDeploymentArns": [world.deployment["serviceDeploymentArn"]]},
            lambda a: a["serviceDeployments"][0]["targetServiceRevision"]["arn"] == world.deployment["targetServiceRevisionArn"],
        ),
        "DescribeServiceRevisions": (
            {"serviceRevisionArns": [world.deployment["targetServiceRevisionArn"]]},
            lambda a: a["serviceRevisions"][0]["taskDefinition"] == f"{ARN}:task-definition/{n}:1",
        ),
        # No instance is registered here: the call succeeds and says so. test_running runs some for real.
        "RunTask": (cluster | {"taskDefinition": n}, lambda a: a["tasks"] == [] and a["failures"][0]["reason"]),
        "DescribeTasks": (cluster | {"tasks": ["0" * 32]}, lambda a: a["failures"][0]["reason"] == "MISSING"),
        "ListTasks": (cluster, lambda a: a["taskArns"] == []),
        "ListContainerInstances": (cluster, lambda a: a["containerInstanceArns"] == []),
        "DescribeContainerInstances": (
            cluster | {"containerInstances": ["0" * 32]},
            lambda a: a["failures"][0]["reason"] == "MISSING",
        ),
        "UpdateContainerInstancesState": (
            cluster | {"containerInstances": ["0" * 32], "status": "DRAINING"},
            lambda a: a["failures"][0]["reason"] == "MISSING" and not a["containerInstances"],
        ),
        "GetAuthorizationToken": ({}, lambda a: a["authorizationData"][0]["authorizationToken"]),
        "CreateRepository": ({"repositoryName": f"{n}/2"}, lambda a: a["repository"]["repositoryUri"].endswith(f"/{n}/2")),
        "DescribeRepositories": ({"repositoryNames": [n]}, lambda a: a["repositories"][0]["repositoryName"] == n),
        "PutImageTagMutability": (
            {
                "repositoryName": n,
                "imageTagMutability": "MUTABLE_WITH_EXCLUSION",
                "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "never-*"}],
            },
            lambda a: a["imageTagMutabilityExclusionFilters"] == [{"filterType": "WILDCARD", "filter": "never-*"}],
        ),
    }


def bad(world):
    """Parameters that each operation refuses, with the codes that say so."""
    n, cluster, nowhere = world.name, {"cluster": world.name}, {"cluster": "nowhere"}
    invalid, client, no_cluster = "InvalidParameterException", "ClientException", "ClusterNotFoundException"
    page = [({"nextToken": "not-a-token"}, invalid), ({"maxResults": 101}, invalid), ({"maxResults": -1}, invalid)]
    return {
        "CreateCluster": [
            ({"clusterName": "a b"}, invalid),
            ({"clusterName": "a" * 256}, invalid),
            ({"clusterName": "a", "capacityProviders": ["FARGATE"]}, invalid),
        ],
        "DescribeClusters": [({"clusters": [f"c{i}" for i in range(101)]}, invalid), ({"include": ["NONSENSE"]}, invalid)],
        "ListClusters": page,
        "DeleteCluster": [(nowhere, no_cluster), ({}, invalid), (cluster, "ClusterContainsServicesException")],
        "RegisterTaskDefinition": [
            ({"family": n}, client),
            ({"family": n, "containerDefinitions": []}, client),
            ({"family": "a b", "containerDefinitions": [FOREIGN]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN, FOREIGN]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN | {"essential": False}]}, client),
            ({"family": n, "containerDefinitions": [{"name": "app", "memory": 32}]}, client),
            ({"family": n, "containerDefinitions": [{"name": "app", "image": "x:1"}]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN | {"memory": 1}]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN | {"image": "UPPER CASE"}]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN | {"privileged": True}]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN | {"linuxParameters": {"initProcessEnabled": True}}]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN | {"logConfiguration": {"logDriver": "awslogs"}}]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN | {"secrets": [{"name": "A", "valueFrom": "arn:x"}]}]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN | {"mountPoints": [{"sourceVolume": "x", "containerPath": "/x"}]}]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN | {"portMappings": [{"containerPort": 70000}]}]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN], "requiresCompatibilities": ["FARGATE"]}, client),
            ({"family": n, "containerDefinitions": [FOREIGN], "networkMode": "awsvpc"}, client),
        ],
        "DescribeTaskDefinition": [({"taskDefinition": "nowhere"}, client), ({"taskDefinition": f"{n}:99"}, client), ({}, invalid)],
        "ListTaskDefinitions": page + [({"status": "NONSENSE"}, invalid), ({"sort": "NONSENSE"}, invalid)],
        "ListTaskDefinitionFamilies": page + [({"status": "NONSENSE"}, invalid)],
        "DeregisterTaskDefinition": [
            ({"taskDefinition": "nowhere:1"}, client),
            ({"taskDefinition": n}, (client, invalid)),
            ({}, invalid),
        ],
        "CreateService": [
            (nowhere | {"serviceName": "x", "taskDefinition": n, "desiredCount": 1}, no_cluster),
            (cluster | {"serviceName": "x", "taskDefinition": "nowhere", "desiredCount": 1}, client),
            (cluster | {"serviceName": "a b", "taskDefinition": n, "desiredCount": 1}, invalid),
            (cluster | {"serviceName": "x", "taskDefinition": n, "desiredCount": -1}, invalid),
            (cluster | {"serviceName": "x", "taskDefinition": n}, invalid),
            (cluster | {"taskDefinition": n, "desiredCount": 1}, invalid),
            (cluster | {"serviceName": n, "taskDefinition": n, "desiredCount": 1}, invalid),
            (cluster | {"serviceName": "x", "taskDefinition": n, "desiredCount": 1, "launchType": "FARGATE"}, invalid),
            (cluster | {"serviceName": "x", "taskDefinition": n, "desiredCount": 1, "schedulingStrategy": "DAEMON"}, invalid),
            (cluster | {"serviceName": "x", "taskDefinition": n, "desiredCount": 1, "loadBalancers": [{"containerPort": 1}]}, invalid),
            (
                cluster
                | {"serviceName": "x", "taskDefinition": n, "desiredCount": 1}
                | {"deploymentConfiguration": {"maximumPercent": 50, "minimumHealthyPercent": 100}},
                invalid,
            ),
        ],
        "UpdateService": [
            (cluster | {"service": "nowhere"}, "ServiceNotFoundException"),
            (nowhere | {"service": n}, no_cluster),
            (cluster | {"service": n, "desiredCount": -1}, invalid),
            (cluster | {"service": n, "taskDefinition": "nowhere"}, client),
        ],
        "DescribeServices": [
            (cluster | {"services": []}, invalid),
            (cluster | {"services": [f"s{i}" for i in range(11)]}, invalid),
            (nowhere | {"services": [n]}, no_cluster),
        ],
        "ListServices": [(nowhere, no_cluster)] + [(cluster | each, expected) for each, expected in page],
        "DeleteService": [(cluster | {"service": "nowhere"}, "ServiceNotFoundException"), (nowhere | {"service": n}, no_cluster)],
        "ListServiceDeployments": [
            (cluster | {"service": "nowhere"}, "ServiceNotFoundException"),
            (nowhere | {"service": n}, no_cluster),
            (cluster, invalid),
            (cluster | {"service": n, "status": ["NONSENSE"]}, invalid),
        ]
        + [(cluster | {"service": n} | each, expected) for each, expected in page],
        "DescribeServiceDeployments": [
            ({"serviceDeploymentArns": []}, invalid),
            ({"serviceDeploymentArns": ["nonsense"]}, invalid),
            ({"serviceDeploymentArns": [f"{ARN}:service-deployment/{n}/{n}/{i:032x}" for i in range(21)]}, invalid),
        ],
        "DescribeServiceRevisions": [
            ({"serviceRevisionArns": []}, invalid),
            ({"serviceRevisionArns": [f"{ARN}:service-revision/{n}/{n}/letters"]}, invalid),
        ],
        "StopServiceDeployment": [
            ({"serviceDeploymentArn": "nonsense"}, invalid),
            ({"serviceDeploymentArn": f"{ARN}:service-deployment/{n}/{n}/{'0' * 32}"}, "ServiceDeploymentNotFoundException"),
            ({"serviceDeploymentArn": world.deployment["serviceDeploymentArn"], "stopType": "ABORT"}, invalid),
            # The first deployment of a service has nothing before it to go back to, and this one may have ended.
            ({"serviceDeploymentArn": world.deployment["serviceDeploymentArn"]}, "ConflictException"),
        ],
        "RunTask": [
            (nowhere | {"taskDefinition": n}, no_cluster),
            (cluster | {"taskDefinition": "nowhere"}, client),
            (cluster | {"taskDefinition": n, "count": 11}, invalid),
            (cluster | {"taskDefinition": n, "count": 0}, invalid),
            (cluster | {"taskDefinition": n, "launchType": "FARGATE"}, invalid),
            (cluster | {"taskDefinition": n, "overrides": {"containerOverrides": [{"name": "nobody", "command": ["x"]}]}}, invalid),
            (cluster, invalid),
        ],
        "StopTask": [(cluster | {"task": "0" * 32}, invalid), (cluster, invalid), (nowhere | {"task": "0" * 32}, no_cluster)],
        "DescribeTasks": [
            (nowhere | {"tasks": ["0" * 32]}, no_cluster),
            (cluster | {"tasks": [f"{i:032x}" for i in range(101)]}, invalid),
            (cluster, invalid),
        ],
        "ListTasks": [(nowhere, no_cluster), (cluster | {"desiredStatus": "NONSENSE"}, invalid)]
        + [(cluster | each, expected) for each, expected in page],
        "ListContainerInstances": [(nowhere, no_cluster), (cluster | {"nextToken": "not-a-token"}, invalid)],
        "DescribeContainerInstances": [(cluster | {"containerInstances": []}, invalid), (nowhere | {"containerInstances": ["a"]}, no_cluster)],
        "UpdateContainerInstancesState": [
            (cluster | {"containerInstances": [], "status": "ACTIVE"}, invalid),
            (cluster | {"containerInstances": ["0" * 32], "status": "INACTIVE"}, invalid),
            (cluster | {"containerInstances": ["0" * 32]}, invalid),
            (cluster | {"containerInstances": [f"{i:032x}" for i in range(11)], "status": "ACTIVE"}, invalid),
            (nowhere | {"containerInstances": ["0" * 32], "status": "ACTIVE"}, no_cluster),
        ],
        "DeregisterContainerInstance": [
            (cluster | {"containerInstance": "0" * 32, "force": True}, invalid),
            (cluster, invalid),
            (nowhere | {"containerInstance": "0" * 32}, no_cluster),
        ],
        "GetAuthorizationToken": [({"registryIds": ["999999999999"]}, invalid)],
        "CreateRepository": [
            ({"repositoryName": "Bad_Name"}, invalid),
            ({"repositoryName": "a/../b"}, invalid),
            ({"repositoryName": "a" * 300}, invalid),
            ({"repositoryName": n}, "RepositoryAlreadyExistsException"),
            ({"repositoryName": "x", "imageTagMutability": "FROZEN"}, invalid),
        ],
        "DescribeRepositories": [
            ({"repositoryNames": ["nowhere"]}, "RepositoryNotFoundException"),
            ({"nextToken": "not-a-token"}, invalid),
        ],
        "PutImageTagMutability": [
            ({"repositoryName": n, "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}, invalid),
            ({"repositoryName": "nowhere", "imageTagMutability": "MUTABLE"}, "RepositoryNotFoundException"),
        ],
    }


def denied(world):
    """What somebody without any grant gets: a code, or an answer that shows nothing."""
    n, denied = world.name, "AccessDeniedException"
    missing = lambda answer: all(failure["reason"] == "MISSING" for failure in answer["failures"]) and len(answer["failures"]) == 1
    return {
        "CreateCluster": denied,
        "DescribeClusters": lambda a: missing(a) and not a["clusters"],
        "ListClusters": lambda a: a["clusterArns"] == [],
        "DeleteCluster": denied,
        "RegisterTaskDefinition": denied,
        "DescribeTaskDefinition": denied,
        "ListTaskDefinitions": lambda a: a["taskDefinitionArns"] == [],
        "ListTaskDefinitionFamilies": lambda a: a["families"] == [],
        "DeregisterTaskDefinition": denied,
        "CreateService": denied,
        "UpdateService": denied,
        "DescribeServices": lambda a: missing(a) and not a["services"],
        "ListServices": lambda a: a["serviceArns"] == [],
        "DeleteService": denied,
        "ListServiceDeployments": denied,
        "DescribeServiceDeployments": lambda a: missing(a) and not a["serviceDeployments"],
        "DescribeServiceRevisions": lambda a: missing(a) and not a["serviceRevisions"],
        "RunTask": denied,
        "DescribeTasks": lambda a: missing(a) and not a["tasks"],
        "ListTasks": lambda a: a["taskArns"] == [],
        "ListContainerInstances": denied,
        "DescribeContainerInstances": denied,
        "UpdateContainerInstancesState": denied,
        # Anybody who is somebody may log in; what they may pull is decided at the pull.
        "GetAuthorizationToken": lambda a: bool(a["authorizationData"]),
        "CreateRepository": denied,
        "DescribeRepositories": ("RepositoryNotFoundException", denied),
        "PutImageTagMutability": denied,
    }


EVERY = [(service, operation) for service, operations in ISSUE.items() for operation in operations]
# What can be stopped and an instance that can be taken out need an agent: test_running has them, with and without a grant.
HERE = [(service, operation) for service, operation in EVERY if operation not in ("StopTask", "StopServiceDeployment", "DeregisterContainerInstance")]


@pytest.fixture
def world(server, name):
    made = World(server, name)
    made.ecs.create_cluster(clusterName=f"{name}-gone")
    made.ecs.register_task_definition(family=f"{name}-old", containerDefinitions=[FOREIGN])
    made.ecs.create_service(cluster=name, serviceName=f"{name}-gone", taskDefinition=name, desiredCount=0)
    return made


def test_the_operations_offered_are_those_of_the_table(server):
    offered = {}
    for service in ("ecs", "ecr"):
        client = server.client(service, parameter_validation=False)
        model = client.meta.service_model
        unknown = {name for name in model.operation_names if code_of_nothing(client, name) == "UnknownOperationException"}
        offered[service] = set(model.operation_names) - unknown
    assert offered == {service: set(operations) for service, operations in ISSUE.items()}


def code_of_nothing(client, operation):
    """The code for a request that creates nothing: with a field that no operation has."""
    try:
        client._make_api_call(operation, {})
    except ClientError as error:
        return error.response["Error"]["Code"]
    except Exception:  # noqa: BLE001 (botocore cannot build some requests without their parameters: then it is asked by hand)
        return raw(client, operation)
    return None


def raw(client, operation):
    from test_signature import post, signed

    target = f"{client.meta.service_model.metadata['targetPrefix']}.{operation}"
    service = client.meta.service_model.service_name
    url = client.meta.endpoint_url
    return post(url, signed(url, service, target, b"{}", ADMIN_KEY), b"{}")[1].get("__type", "").rsplit("#", 1)[-1]


@pytest.mark.parametrize("service, operation", HERE)
def test_succeeds(world, service, operation):
    parameters, holds = good(world)[operation]
    answer = call(getattr(world, service), operation, **parameters)
    assert holds(answer), answer


@pytest.mark.parametrize("service, operation", EVERY)
def test_is_refused_for_bad_input(world, service, operation):
    for parameters, expected in bad(world)[operation]:
        actual = code(getattr(world, service), operation, parameters)
        codes = (expected,) if isinstance(expected, str) else expected
        assert actual in codes, f"{operation} {json.dumps(parameters)[:300]}: {actual}"


@pytest.mark.parametrize("service, operation", HERE)
def test_is_refused_for_lack_of_a_grant(world, service, operation):
    principal, key = world.server.user()
    client = world.server.client(service, key, parameter_validation=False)
    parameters, _ = good(world)[operation]
    expected = denied(world)[operation]
    if callable(expected):
        answer = call(client, operation, **parameters)
        assert expected(answer), answer
        return
    actual = code(client, operation, parameters)
    assert actual in ((expected,) if isinstance(expected, str) else expected), actual
    try:
        call(client, operation, **parameters)
    except ClientError as error:
        message = error.response["Error"]["Message"]
        if actual == "AccessDeniedException":
            assert principal in message and f"{service}:{operation}" in message and "no grant gives" in message, message
            # Nothing is told about what may not be seen.
            assert "does not exist" not in message, message


def some(world, operation):
    """Parameters of the operation, of things that are not there where nothing is that can be stopped."""
    stops = {
        "StopTask": {"cluster": world.name, "task": "0" * 32},
        "DeregisterContainerInstance": {"cluster": world.name, "containerInstance": "0" * 32},
        "StopServiceDeployment": {"serviceDeploymentArn": f"{ARN}:service-deployment/{world.name}/{world.name}/{'0' * 32}"},
    }
    return stops[operation] if operation in stops else good(world)[operation][0]


@pytest.mark.parametrize("service, operation", EVERY)
def test_is_refused_without_a_valid_key(world, service, operation):
    client = world.server.client(service, ("AKIANOBODYNOBODYNOBO", "x"), parameter_validation=False)
    parameters = some(world, operation)
    assert code(client, operation, parameters) == "UnrecognizedClientException"


@pytest.mark.parametrize("service, operation", EVERY)
def test_bodies_that_are_none_and_fields_that_are_unknown_are_refused(world, service, operation):
    from test_signature import post, signed

    client = getattr(world, service)
    target = f"{client.meta.service_model.metadata['targetPrefix']}.{operation}"
    for body in (b"{", b"[]", b"\xff", b'"x"'):
        status, answer = post(world.server.url, signed(world.server.url, service, target, body, ADMIN_KEY), body)
        assert (status, answer["__type"]) == (400, "SerializationException"), (body, answer)
    parameters = some(world, operation)
    body = json.dumps(parameters | {"noSuchField": {"x": 1}}).encode()
    status, answer = post(world.server.url, signed(world.server.url, service, target, body, ADMIN_KEY), body)
    assert status == 400 and "noSuchField" in answer["message"], answer


def test_create_cluster_again_gives_the_same(world):
    assert world.ecs.create_cluster(clusterName=world.name)["cluster"]["clusterArn"] == f"{ARN}:cluster/{world.name}"


def test_deleted_service_stays_describable_as_inactive_and_its_name_is_free(world):
    world.ecs.delete_service(cluster=world.name, service=world.name)
    world.ecs.get_waiter("services_inactive").wait(
        cluster=world.name, services=[world.name], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    assert world.ecs.list_services(cluster=world.name)["serviceArns"] == [f"{ARN}:service/{world.name}/{world.name}-gone"]
    refused = code(world.ecs, "UpdateService", {"cluster": world.name, "service": world.name, "desiredCount": 1})
    assert refused == "ServiceNotActiveException", refused
    made = world.ecs.create_service(cluster=world.name, serviceName=world.name, taskDefinition=world.name, desiredCount=0)
    assert made["service"]["status"] == "ACTIVE"


def test_a_service_that_should_run_is_not_deleted_without_force(world):
    world.ecs.update_service(cluster=world.name, service=world.name, desiredCount=1)
    assert code(world.ecs, "DeleteService", {"cluster": world.name, "service": world.name}) == "InvalidParameterException"
    world.ecs.delete_service(cluster=world.name, service=world.name, force=True)


def test_create_service_with_the_same_client_token_is_one_service(world):
    request = {"cluster": world.name, "serviceName": "once", "taskDefinition": world.name, "desiredCount": 0, "clientToken": "t-1"}
    one, two = world.ecs.create_service(**request), world.ecs.create_service(**request)
    assert one["service"]["deployments"][0]["id"] == two["service"]["deployments"][0]["id"]


def test_a_deregistered_revision_starts_nothing_new_and_numbers_are_not_used_again(world):
    world.ecs.deregister_task_definition(taskDefinition=f"{world.name}:1")
    request = {"cluster": world.name, "serviceName": "late", "taskDefinition": f"{world.name}:1", "desiredCount": 0}
    assert code(world.ecs, "CreateService", request) in ("ClientException", "InvalidParameterException")
    assert code(world.ecs, "RunTask", {"cluster": world.name, "taskDefinition": f"{world.name}:1"}) in (
        "ClientException",
        "InvalidParameterException",
    )
    assert world.ecs.describe_task_definition(taskDefinition=f"{world.name}:1")["taskDefinition"]["status"] == "INACTIVE"
    again = world.ecs.register_task_definition(family=world.name, containerDefinitions=[FOREIGN])
    assert again["taskDefinition"]["revision"] == 2


def test_a_task_definition_comes_back_as_it_was_given(world):
    given = FOREIGN | {
        "cpu": 7,
        "essential": True,
        "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
        "command": ["x", "y"],
        "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}],
        "dockerLabels": {"k": "v"},
    }
    request = {"family": world.name, "containerDefinitions": [given], "tags": [{"key": "team", "value": "a"}]}
    world.ecs.register_task_definition(**request)
    described = world.ecs.describe_task_definition(taskDefinition=world.name, include=["TAGS"])
    back = described["taskDefinition"]["containerDefinitions"][0]
    assert {field: back[field] for field in given} == given
    assert described["tags"] == [{"key": "team", "value": "a"}]


def test_lists_come_in_pages(world):
    for number in range(5):
        world.ecs.register_task_definition(family=f"{world.name}-p", containerDefinitions=[FOREIGN])
    pages = world.ecs.get_paginator("list_task_definitions").paginate(familyPrefix=f"{world.name}-p", PaginationConfig={"PageSize": 2})
    arns = [arn for page in pages for arn in page["taskDefinitionArns"]]
    assert arns == [f"{ARN}:task-definition/{world.name}-p:{number}" for number in range(1, 6)]
    clusters = [arn for page in world.ecs.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 1}) for arn in page["clusterArns"]]
    assert len(clusters) == len(set(clusters)) and f"{ARN}:cluster/{world.name}" in clusters


def test_update_service_makes_a_new_deployment_with_an_id_of_its_own(world):
    before = world.ecs.describe_services(cluster=world.name, services=[world.name])["services"][0]["deployments"]
    world.ecs.update_service(cluster=world.name, service=world.name, desiredCount=1)
    world.ecs.register_task_definition(family=world.name, containerDefinitions=[FOREIGN])
    after = world.ecs.update_service(cluster=world.name, service=world.name, taskDefinition=f"{world.name}:2")["service"]["deployments"]
    assert after[0]["status"] == "PRIMARY" and after[0]["id"] != before[0]["id"] and after[0]["id"].startswith("ecs-svc/")
    # Else the waiter services_stable would pass too early.
    assert [each["status"] for each in after] == ["PRIMARY", "ACTIVE"]


def test_the_authorization_token_is_for_docker(world):
    import base64

    data = world.ecr.get_authorization_token()["authorizationData"][0]
    user, password = base64.b64decode(data["authorizationToken"]).decode().split(":")
    assert user == "AWS" and data["proxyEndpoint"] == world.server.url
    assert world.server.http("GET", "/v2/", user=(user, password))[0] == 200
    assert world.server.http("GET", "/v2/", user=(user, password[:-1]))[0] == 401
    principal, key = world.server.user()
    data = world.server.client("ecr", key).get_authorization_token()["authorizationData"][0]
    his = tuple(base64.b64decode(data["authorizationToken"]).decode().split(":"))
    assert world.server.http("POST", f"/v2/{world.name}/blobs/uploads/", b"", user=his)[0] in (403, 404)
    world.server.grant(principal, "push", "repository", world.name)
    assert world.server.http("POST", f"/v2/{world.name}/blobs/uploads/", b"", user=his)[0] == 202


def test_an_access_key_that_was_deleted_is_refused_at_once(server):
    _, key = server.user()
    client = server.client("ecs", key)
    client.list_clusters()
    server.http("DELETE", f"/api/v1/access-keys/{key[0]}", expect=204)
    assert code(client, "ListClusters", {}) == "UnrecognizedClientException"


def test_rights_are_per_resource(world):
    server, n = world.server, world.name
    principal, key = server.user()
    client = server.client("ecs", key, parameter_validation=False)
    server.grant(principal, "view", "cluster", n)
    assert client.list_clusters()["clusterArns"] == [f"{ARN}:cluster/{n}"]
    assert client.describe_clusters(clusters=[n, "default"])["failures"][0]["reason"] == "MISSING"
    assert code(client, "CreateService", {"cluster": n, "serviceName": "x", "taskDefinition": n, "desiredCount": 0}) == "AccessDeniedException"
    server.grant(principal, "operate", "service", f"{n}/x*")
    assert code(client, "CreateService", {"cluster": n, "serviceName": "y", "taskDefinition": n, "desiredCount": 0}) == "AccessDeniedException"
    # What a service is to run has to be seen as well.
    assert code(client, "CreateService", {"cluster": n, "serviceName": "x", "taskDefinition": n, "desiredCount": 0}) == "AccessDeniedException"
    server.grant(principal, "view", "family", n)
    client.create_service(cluster=n, serviceName="x", taskDefinition=n, desiredCount=0)
    assert client.list_services(cluster=n)["serviceArns"] == [f"{ARN}:service/{n}/x"]
    # A grant of one kind says nothing of another.
    assert code(client, "RegisterTaskDefinition", {"family": n, "containerDefinitions": [FOREIGN]}) == "AccessDeniedException"
    assert code(client, "DeleteCluster", {"cluster": n}) == "AccessDeniedException"
