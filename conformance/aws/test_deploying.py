"""What deploys to ECS, unchanged: GitHub's deploy action (its calls, in its order), ecs-deploy, boto3 and `aws ecs wait`. On a roll that
works all of them succeed; on one that is rolled back all that look at the deployment fail. The waiters of botocore look at counts and
tasks only: `services_stable` is true of a service that went back to what it was, here as in ECS, so the deployment is asked for by id."""

import os
import subprocess

import pytest
from botocore.exceptions import WaiterError

import images
from server import ADMIN_KEY, REGION, wait_until

QUICK = {"Delay": 1, "MaxAttempts": 60}
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


@pytest.fixture
def ecs(fleet):
    return fleet.client("ecs")


@pytest.fixture
def service(fleet, ecs, name):
    """A stable service of two tasks that rolls back what fails."""
    image, _ = images.push(fleet, "conformance/deployed", "v1")
    ecs.register_task_definition(family=name, containerDefinitions=[images.container(image)])
    ecs.create_service(serviceName=name, taskDefinition=name, desiredCount=2, deploymentConfiguration=BREAKER)
    ecs.get_waiter("services_stable").wait(services=[name], WaiterConfig=QUICK)
    completed(ecs, name)
    yield name
    ecs.delete_service(service=name, force=True)


@pytest.fixture
def good(fleet, name):
    return images.push(fleet, f"conformance/{name}", "good")[0]


@pytest.fixture
def bad(fleet, name):
    """An image that ends as soon as it starts."""
    return images.push(fleet, f"conformance/{name}", "bad", "echo cannot work; exit 3")[0]


def describe(ecs, name):
    return ecs.describe_services(services=[name])["services"][0]


def completed(ecs, name):
    """The service, once its only deployment is COMPLETED."""

    def look():
        described = describe(ecs, name)
        return [d["rolloutState"] for d in described["deployments"]] == ["COMPLETED"] and described

    return wait_until("one COMPLETED deployment", look)


class LikelyRolledBack(Exception):
    """What the action ends with when its deployment is gone."""


def action(ecs, service, image):
    """GitHub's deploy action: the calls it makes, in its order, and how it judges. Gives the deployment's id."""
    definition = ecs.describe_task_definition(taskDefinition=service)["taskDefinition"]
    # The action takes out what a description has and a registration has not.
    document = {key: definition[key] for key in ("family", "containerDefinitions", "volumes")}
    document["containerDefinitions"][0]["image"] = image
    arn = ecs.register_task_definition(**document)["taskDefinition"]["taskDefinitionArn"]

    described = ecs.describe_services(services=[service], cluster="default")
    assert not described["failures"] and described["services"][0]["status"] == "ACTIVE"
    assert described["services"][0].get("deploymentController", {}).get("type", "ECS") == "ECS"
    updated = ecs.update_service(
        cluster="default", service=service, taskDefinition=arn, forceNewDeployment=False, volumeConfigurations=[], enableECSManagedTags=False
    )["service"]
    mine = next(d["id"] for d in updated["deployments"] if d["status"] == "PRIMARY")
    ecs.get_waiter("services_stable").wait(cluster="default", services=[service], WaiterConfig=QUICK)
    deployments = describe(ecs, service)["deployments"]
    found = next((d for d in deployments if d["id"] == mine), None)
    if found is None or found["rolloutState"] == "FAILED":
        raise LikelyRolledBack(mine)
    return mine


def ecs_deploy(fleet, *arguments, timeout=120):
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": ADMIN_KEY[0],
        "AWS_SECRET_ACCESS_KEY": ADMIN_KEY[1],
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": fleet.url,
        "HOME": fleet.folder,
    }
    return subprocess.run(["ecs", *arguments], env=environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)


def deployment_of(ecs, service, deployment):
    """The service deployment whose target is this deployment, as terraform finds it."""
    digits = deployment.rsplit("/", 1)[-1]
    listed = ecs.list_service_deployments(service=service)["serviceDeployments"]
    arn = next(d["serviceDeploymentArn"] for d in listed if digits in d["targetServiceRevisionArn"])
    return ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]


def ended(ecs, service, deployment, status):
    look = lambda: (found := deployment_of(ecs, service, deployment))["status"] == status and found
    return wait_until(f"the service deployment to be {status}", look)


# === A roll that works


def test_the_deploy_action_succeeds(ecs, service, good):
    mine = action(ecs, service, good)
    assert [d["id"] for d in describe(ecs, service)["deployments"]] == [mine]
    found = ended(ecs, service, mine, "SUCCESSFUL")
    assert found["finishedAt"] >= found["createdAt"] and "rollback" not in found, found


def test_the_deploy_action_runs_a_task_and_reads_its_exit_code(ecs, service, bad):
    ecs.register_task_definition(family=service, containerDefinitions=[images.container(bad)])
    arn = ecs.run_task(taskDefinition=service, clientToken="action", startedBy="GitHub-Actions", launchType="EC2")["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=QUICK)
    assert ecs.describe_tasks(tasks=[arn])["tasks"][0]["containers"][0]["exitCode"] == 3


def test_ecs_deploy_deploys_scales_and_runs(fleet, ecs, service, good):
    deployed = ecs_deploy(fleet, "deploy", "default", service, "--image", "app", good, "--timeout", "60")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    now = describe(ecs, service)
    assert now["taskDefinition"].endswith(f"{service}:2") and now["runningCount"] == 2
    scaled = ecs_deploy(fleet, "scale", "default", service, "3", "--timeout", "60")
    assert scaled.returncode == 0, scaled.stdout + scaled.stderr
    assert describe(ecs, service)["runningCount"] == 3
    ran = ecs_deploy(fleet, "run", "default", service, "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    tasks = ecs.describe_tasks(tasks=ecs.list_tasks(family=service)["taskArns"])["tasks"]
    of_no_service = [task["taskArn"] for task in tasks if task["group"] == f"family:{service}"]
    assert len(of_no_service) == 1, tasks
    ecs.stop_task(task=of_no_service[0])


def test_every_waiter_succeeds_on_a_roll(fleet, ecs, service, good):
    ecs.register_task_definition(family=service, containerDefinitions=[images.container(good)])
    before = ecs.list_tasks(serviceName=service)["taskArns"]
    updated = ecs.update_service(service=service, taskDefinition=service)["service"]
    # Or `services-stable` would be through before anything began.
    assert sorted(d["status"] for d in updated["deployments"]) == ["ACTIVE", "PRIMARY"]
    waited = fleet.aws("ecs", "wait", "services-stable", "--services", service)
    assert waited.returncode == 0, waited.stderr
    new = [arn for arn in ecs.list_tasks(serviceName=service)["taskArns"] if arn not in before]
    assert len(new) == 2
    waited = fleet.aws("ecs", "wait", "tasks-running", "--tasks", *new)
    assert waited.returncode == 0, waited.stderr
    waited = fleet.aws("ecs", "wait", "tasks-stopped", "--tasks", *before)
    assert waited.returncode == 0, waited.stderr


# === A roll that is rolled back


def test_the_deploy_action_fails_when_it_is_rolled_back(ecs, service, bad):
    before = describe(ecs, service)["deployments"][0]["id"]
    with pytest.raises(LikelyRolledBack) as failed:
        action(ecs, service, bad)
    described = completed(ecs, service)
    assert [d["id"] for d in described["deployments"]] == [before] and described["taskDefinition"].endswith(f"{service}:1")
    found = ended(ecs, service, str(failed.value), "ROLLBACK_SUCCESSFUL")
    breaker = found["deploymentCircuitBreaker"]
    assert breaker["status"] == "TRIGGERED" and breaker["failureCount"] >= breaker["threshold"] == 3, found
    assert found["rollback"]["serviceRevisionArn"].endswith(before.rsplit("/", 1)[-1]), found
    messages = [event["message"] for event in described["events"]]
    assert any("deployment failed: tasks failed to start." in message for message in messages), messages
    assert any("rolling back to deployment" in message for message in messages), messages


def test_ecs_deploy_fails_when_it_is_rolled_back(fleet, ecs, service, bad):
    deployed = ecs_deploy(fleet, "deploy", "default", service, "--image", "app", bad, "--timeout", "15")
    assert deployed.returncode != 0, deployed.stdout + deployed.stderr
    assert completed(ecs, service)["runningCount"] == 2


def test_the_tasks_that_could_not_start_fail_the_waiter_that_looks_at_them(fleet, ecs, service, bad):
    ecs.register_task_definition(family=service, containerDefinitions=[images.container(bad)])
    mine = ecs.update_service(service=service, taskDefinition=service)["service"]["deployments"][0]["id"]
    of_mine = lambda: ecs.list_tasks(startedBy=mine, desiredStatus="STOPPED")["taskArns"]
    failed = wait_until("tasks of the deployment to fail", of_mine)
    with pytest.raises(WaiterError):
        ecs.get_waiter("tasks_running").wait(tasks=failed, WaiterConfig=QUICK)
    assert fleet.aws("ecs", "wait", "tasks-running", "--tasks", *failed).returncode == 255
    ended(ecs, service, mine, "ROLLBACK_SUCCESSFUL")
    assert mine not in [d["id"] for d in completed(ecs, service)["deployments"]]


def test_never_fewer_than_the_minimum_run_while_it_is_rolled_back(ecs, service, bad):
    ecs.register_task_definition(family=service, containerDefinitions=[images.container(bad)])
    mine = ecs.update_service(service=service, taskDefinition=service)["service"]["deployments"][0]["id"]
    counts = []

    def over():
        described = describe(ecs, service)
        counts.append(described["runningCount"])
        return mine not in [d["id"] for d in described["deployments"]]

    wait_until("the deployment to be gone", over)
    assert min(counts) >= 2, counts


# === A deployment that is stopped by hand


def test_stop_service_deployment_rolls_back(fleet, ecs, service):
    slow, _ = images.push(fleet, "conformance/deployed", "slow")
    check = {"command": ["CMD-SHELL", "false"], "interval": 5, "timeout": 2, "retries": 10, "startPeriod": 60}
    ecs.register_task_definition(family=service, containerDefinitions=[images.container(slow, healthCheck=check)])
    before = describe(ecs, service)["deployments"][0]["id"]
    mine = ecs.update_service(service=service, taskDefinition=service)["service"]["deployments"][0]["id"]
    arn = deployment_of(ecs, service, mine)["serviceDeploymentArn"]
    assert ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType="ROLLBACK")["serviceDeploymentArn"] == arn
    ended(ecs, service, mine, "ROLLBACK_SUCCESSFUL")
    assert [d["id"] for d in completed(ecs, service)["deployments"]] == [before]
    with pytest.raises(ecs.exceptions.ConflictException):
        ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType="ROLLBACK")
