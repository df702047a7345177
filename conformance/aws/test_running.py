"""Tasks and services that really run, through boto3 and the aws command line: waiters, placement, stops; and who may run which image."""

import json
import time
import uuid

import pytest
from botocore.exceptions import ClientError, WaiterError

import images
from server import docker, wait_until

QUICK = {"Delay": 1, "MaxAttempts": 60}


@pytest.fixture(scope="module")
def image(fleet):
    """An image that runs until it is stopped."""
    return images.push(fleet, "conformance/sleeps", "v1")[0]


@pytest.fixture
def ecs(fleet):
    return fleet.client("ecs")


@pytest.fixture
def service(fleet, ecs, image, name):
    """A stable service of two tasks."""
    ecs.register_task_definition(family=name, containerDefinitions=[images.container(image)])
    ecs.create_service(serviceName=name, taskDefinition=name, desiredCount=2)
    ecs.get_waiter("services_stable").wait(services=[name], WaiterConfig=QUICK)
    yield name
    remove(ecs, name)


def remove(ecs, name):
    try:
        ecs.delete_service(service=name, force=True)
    except ClientError:
        pass


def describe(ecs, name):
    return ecs.describe_services(services=[name])["services"][0]


def tasks_of(ecs, name, status="RUNNING"):
    arns = ecs.list_tasks(serviceName=name, desiredStatus=status)["taskArns"]
    return ecs.describe_tasks(tasks=arns)["tasks"] if arns else []


def event(ecs, name, words):
    """The newest event with these words, once there is one."""
    look = lambda: next((e["message"] for e in describe(ecs, name)["events"] if words in e["message"]), None)
    return wait_until(f"an event with `{words}`", look)


# === Waiters


def test_services_stable_and_then_everything_is_as_it_says(ecs, service):
    described = describe(ecs, service)
    assert (described["runningCount"], described["pendingCount"], described["desiredCount"]) == (2, 0, 2)
    assert [d["status"] for d in described["deployments"]] == ["PRIMARY"]
    wait_until("COMPLETED", lambda: describe(ecs, service)["deployments"][0]["rolloutState"] == "COMPLETED")
    event(ecs, service, "has reached a steady state")
    for task in tasks_of(ecs, service):
        assert task["lastStatus"] == "RUNNING" and task["group"] == f"service:{service}" and task["startedBy"].startswith("ecs-svc/")
        assert task["containers"][0]["runtimeId"] and task["containerInstanceArn"], task


def test_aws_ecs_wait_services_stable(fleet, service):
    waited = fleet.aws("ecs", "wait", "services-stable", "--services", service)
    assert waited.returncode == 0, waited.stderr
    missing = fleet.aws("ecs", "wait", "services-stable", "--services", "nowhere")
    assert missing.returncode == 255, missing.stderr


def test_services_stable_holds_during_a_roll_only_when_it_is_over(fleet, ecs, service):
    image, _ = images.push(fleet, "conformance/sleeps", "v2")
    ecs.register_task_definition(family=service, containerDefinitions=[images.container(image)])
    before = {task["taskArn"] for task in tasks_of(ecs, service)}
    made = ecs.update_service(service=service, taskDefinition=f"{service}:2")["service"]["deployments"][0]["id"]
    assert len(describe(ecs, service)["deployments"]) == 2
    ecs.get_waiter("services_stable").wait(services=[service], WaiterConfig=QUICK)
    described = describe(ecs, service)
    assert [d["id"] for d in described["deployments"]] == [made] and described["deployments"][0]["rolloutState"] != "FAILED"
    after = tasks_of(ecs, service)
    assert len(after) == 2 and not before & {task["taskArn"] for task in after}
    assert all(task["taskDefinitionArn"].endswith(f"{service}:2") for task in after)


def test_services_inactive(ecs, service):
    ecs.delete_service(service=service, force=True)
    ecs.get_waiter("services_inactive").wait(services=[service], WaiterConfig=QUICK)
    wait_until("no task to run", lambda: not tasks_of(ecs, service))
    with pytest.raises(WaiterError):
        ecs.get_waiter("services_stable").wait(services=[service], WaiterConfig=QUICK)


def test_tasks_running_and_tasks_stopped(ecs, image, name):
    ecs.register_task_definition(family=name, containerDefinitions=[images.container(image)])
    answer = ecs.run_task(taskDefinition=name, count=2, startedBy="somebody")
    assert not answer["failures"], answer["failures"]
    arns = [task["taskArn"] for task in answer["tasks"]]
    assert all(task["group"] == f"family:{name}" and task["startedBy"] == "somebody" for task in answer["tasks"])
    ecs.get_waiter("tasks_running").wait(tasks=arns, WaiterConfig=QUICK)
    assert sorted(ecs.list_tasks(startedBy="somebody")["taskArns"]) == sorted(arns)
    assert sorted(ecs.list_tasks(family=name)["taskArns"]) == sorted(arns)
    stopped = ecs.stop_task(task=arns[0], reason="enough of it")["task"]
    assert stopped["desiredStatus"] == "STOPPED" and stopped["stoppedReason"] == "enough of it"
    ecs.stop_task(task=arns[1].rsplit("/", 1)[-1])
    ecs.get_waiter("tasks_stopped").wait(tasks=arns, WaiterConfig=QUICK)
    task = ecs.describe_tasks(tasks=arns[:1])["tasks"][0]
    assert task["stopCode"] == "UserInitiated" and task["stoppedReason"] == "enough of it", task
    assert task["containers"][0]["exitCode"] == 0, task
    assert sorted(ecs.list_tasks(family=name, desiredStatus="STOPPED")["taskArns"]) == sorted(arns)
    # Stopping what has stopped changes nothing.
    assert ecs.stop_task(task=arns[0], reason="again")["task"]["stoppedReason"] == "enough of it"
    with pytest.raises(WaiterError):
        ecs.get_waiter("tasks_running").wait(tasks=arns, WaiterConfig=QUICK)


def test_a_batch_task_keeps_its_exit_code(ecs, fleet, name):
    image, _ = images.push(fleet, f"conformance/{name}", "v1", "exit 7")
    ecs.register_task_definition(family=name, containerDefinitions=[{"name": "app", "image": image, "memory": 32}])
    arn = ecs.run_task(taskDefinition=name)["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=QUICK)
    task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
    assert task["containers"][0]["exitCode"] == 7 and task["stopCode"] == "EssentialContainerExited", task
    assert task["stoppedReason"] == "Essential container in task exited", task


def test_a_task_over_its_memory_says_so(ecs, fleet, name):
    image, _ = images.push(fleet, f"conformance/{name}", "v1", "a=x; while :; do a=$a$a; done")
    ecs.register_task_definition(family=name, containerDefinitions=[{"name": "app", "image": image, "memory": 16}])
    arn = ecs.run_task(taskDefinition=name)["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=QUICK)
    task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
    assert task["containers"][0]["exitCode"] == 137 and "OutOfMemoryError" in task["containers"][0]["reason"], task


def test_an_essential_container_takes_the_others_with_it_and_another_does_not(ecs, fleet, image, name):
    ends, _ = images.push(fleet, f"conformance/{name}", "v1", "sleep 1; exit 4")
    side = {"name": "side", "image": ends, "memory": 16, "essential": False}
    ecs.register_task_definition(family=name, containerDefinitions=[images.container(image), side])
    ecs.register_task_definition(family=name, containerDefinitions=[images.container(image), side | {"essential": True}])
    stays = ecs.run_task(taskDefinition=f"{name}:1")["tasks"][0]["taskArn"]
    goes = ecs.run_task(taskDefinition=f"{name}:2")["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_stopped").wait(tasks=[goes], WaiterConfig=QUICK)
    task = ecs.describe_tasks(tasks=[goes])["tasks"][0]
    codes = {container["name"]: container.get("exitCode") for container in task["containers"]}
    assert codes == {"app": 0, "side": 4} and task["stopCode"] == "EssentialContainerExited", task

    def side_of_the_other():
        described = ecs.describe_tasks(tasks=[stays])["tasks"][0]
        return next(c for c in described["containers"] if c["name"] == "side")["lastStatus"] == "STOPPED" and described

    assert wait_until("the side container to end", side_of_the_other)["lastStatus"] == "RUNNING"
    ecs.stop_task(task=stays)


def test_a_named_volume_outlives_its_task(ecs, image, name):
    app = {"name": "app", "image": image, "memory": 32, "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]}
    ecs.register_task_definition(family=name, containerDefinitions=[app], volumes=[{"name": "data"}])

    def run(line):
        overrides = {"containerOverrides": [{"name": "app", "command": ["sh", "-c", line]}]}
        arn = ecs.run_task(taskDefinition=name, overrides=overrides)["tasks"][0]["taskArn"]
        ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=QUICK)
        return ecs.describe_tasks(tasks=[arn])["tasks"][0]["containers"][0].get("exitCode")

    try:
        assert run("echo kept > /data/file") == 0
        assert run('read word < /data/file; [ "$word" = kept ] && exit 5') == 5
    finally:
        for container in docker("ps", "--all", "--quiet", "--filter", f"volume=berth-{name}-data"):
            docker("rm", "--force", container)
        docker("volume", "rm", f"berth-{name}-data")


def test_overrides_reach_the_task(ecs, image, name):
    ecs.register_task_definition(family=name, containerDefinitions=[{"name": "app", "image": image, "memory": 32}])
    overrides = {"containerOverrides": [{"name": "app", "command": ["sh", "-c", "exit $CODE"], "environment": [{"name": "CODE", "value": "5"}]}]}
    arn = ecs.run_task(taskDefinition=name, overrides=overrides)["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=QUICK)
    assert ecs.describe_tasks(tasks=[arn])["tasks"][0]["containers"][0]["exitCode"] == 5


def test_run_task_with_the_same_client_token_runs_once(ecs, image, name):
    ecs.register_task_definition(family=name, containerDefinitions=[images.container(image)])
    one, two = (ecs.run_task(taskDefinition=name, clientToken=f"token-{name}")["tasks"][0]["taskArn"] for _ in range(2))
    assert one == two and len(ecs.list_tasks(family=name)["taskArns"]) == 1
    ecs.stop_task(task=one)


def test_a_stopped_task_of_a_service_is_replaced(ecs, service):
    old = tasks_of(ecs, service)[0]["taskArn"]
    ecs.stop_task(task=old)
    replaced = lambda: len(now := [t["taskArn"] for t in tasks_of(ecs, service) if t["lastStatus"] == "RUNNING"]) == 2 and old not in now
    wait_until("the replacement", replaced)


def test_a_crashing_task_backs_off_and_each_keeps_its_reason(fleet, ecs, name):
    image, _ = images.push(fleet, f"conformance/{name}", "v1", "exit 3")
    ecs.register_task_definition(family=name, containerDefinitions=[{"name": "app", "image": image, "memory": 32}])
    ecs.create_service(serviceName=name, taskDefinition=name, desiredCount=1)
    stopped = wait_until("three failures", lambda: len(all := tasks_of(ecs, name, "STOPPED")) >= 3 and all)
    assert all(t["containers"][0].get("exitCode") == 3 for t in stopped if t["lastStatus"] == "STOPPED"), stopped
    described = describe(ecs, name)
    assert described["deployments"][0]["rolloutState"] == "IN_PROGRESS" and described["deployments"][0]["failedTasks"] >= 2
    # Without a pause there would be dozens by now.
    assert len(stopped) < 12
    remove(ecs, name)


BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


def attempts(ecs, name):
    return ecs.list_service_deployments(service=name)["serviceDeployments"]


def test_a_crashing_image_is_rolled_back_and_the_clients_of_a_pipeline_can_tell(fleet, ecs, service):
    ecs.update_service(service=service, deploymentConfiguration=BREAKER)
    wait_until("COMPLETED", lambda: describe(ecs, service)["deployments"][0]["rolloutState"] == "COMPLETED")
    before = {task["taskArn"] for task in tasks_of(ecs, service)}
    image, _ = images.push(fleet, f"conformance/{service}", "crashes", "exit 3")
    ecs.register_task_definition(family=service, containerDefinitions=[{"name": "app", "image": image, "memory": 32}])
    began = time.monotonic()
    made = ecs.update_service(service=service, taskDefinition=f"{service}:2")["service"]["deployments"][0]["id"]
    over = lambda: attempts(ecs, service)[0]["status"] == "ROLLBACK_SUCCESSFUL"
    wait_until("the rollback", over)
    took = time.monotonic() - began
    ecs.get_waiter("services_stable").wait(services=[service], WaiterConfig=QUICK)
    described = describe(ecs, service)
    # What GitHub's deploy action looks for after its wait: the deployment that it made is not there any more.
    assert made not in [deployment["id"] for deployment in described["deployments"]]
    assert described["taskDefinition"].endswith(f"{service}:1") and described["deployments"][0]["rolloutState"] == "COMPLETED"
    assert {task["taskArn"] for task in tasks_of(ecs, service)} == before, "no old task was stopped"
    event(ecs, service, f"(deployment {made}) deployment failed: tasks failed to start.")
    event(ecs, service, "rolling back to deployment ecs-svc/")
    # What terraform looks at.
    found = next(a for a in attempts(ecs, service) if made.removeprefix("ecs-svc/") in a["targetServiceRevisionArn"])
    whole = ecs.describe_service_deployments(serviceDeploymentArns=[found["serviceDeploymentArn"]])["serviceDeployments"][0]
    assert whole["deploymentCircuitBreaker"]["status"] == "TRIGGERED" and whole["deploymentCircuitBreaker"]["failureCount"] >= 3, whole
    assert took <= 10, f"rolled back after {took:.1f} s"


def test_stop_service_deployment_goes_back(fleet, ecs, service):
    wait_until("COMPLETED", lambda: describe(ecs, service)["deployments"][0]["rolloutState"] == "COMPLETED")
    first = describe(ecs, service)["deployments"][0]["id"]
    ecs.update_service(service=service, forceNewDeployment=True)
    arn = attempts(ecs, service)[0]["serviceDeploymentArn"]
    _, key = fleet.user()
    with pytest.raises(ClientError, match="AccessDeniedException"):
        fleet.client("ecs", key).stop_service_deployment(serviceDeploymentArn=arn)
    ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType="ROLLBACK")
    wait_until("the rollback", lambda: attempts(ecs, service)[0]["status"] == "ROLLBACK_SUCCESSFUL")
    assert [deployment["id"] for deployment in describe(ecs, service)["deployments"]] == [first]
    with pytest.raises(ClientError, match="ConflictException"):
        ecs.stop_service_deployment(serviceDeploymentArn=arn)


def test_scaling_down_keeps_the_rest(ecs, service):
    before = {t["taskArn"] for t in tasks_of(ecs, service)}
    ecs.update_service(service=service, desiredCount=1)
    ecs.get_waiter("services_stable").wait(services=[service], WaiterConfig=QUICK)
    wait_until("one task", lambda: len(tasks_of(ecs, service)) == 1)
    assert {t["taskArn"] for t in tasks_of(ecs, service)} < before
    assert len(describe(ecs, service)["deployments"]) == 1


# === Instances and placement


def test_container_instances_show_what_is_left(ecs, fleet):
    arns = ecs.list_container_instances()["containerInstanceArns"]
    assert len(arns) == 1
    described = ecs.describe_container_instances(containerInstances=arns)["containerInstances"][0]
    assert described["status"] == "ACTIVE" and described["agentConnected"] and described["versionInfo"]["dockerVersion"]
    registered = {r["name"]: r.get("integerValue") for r in described["registeredResources"]}
    remaining = {r["name"]: r.get("integerValue") for r in described["remainingResources"]}
    assert registered["CPU"] >= remaining["CPU"] > 0 and registered["MEMORY"] >= remaining["MEMORY"] > 0
    _, key = fleet.user()
    with pytest.raises(ClientError, match="AccessDeniedException"):
        fleet.client("ecs", key).list_container_instances()


def test_a_draining_instance_takes_no_task_until_it_is_active_again(ecs, fleet, name, image):
    ecs.register_task_definition(family=name, containerDefinitions=[{"name": "app", "image": image, "memory": 16}])
    arns = ecs.list_container_instances()["containerInstanceArns"]
    drained = ecs.update_container_instances_state(containerInstances=arns, status="DRAINING")
    try:
        assert [each["status"] for each in drained["containerInstances"]] == ["DRAINING"] and drained["failures"] == []
        refused = ecs.run_task(taskDefinition=name)
        assert refused["tasks"] == [] and refused["failures"][0]["reason"] == "INACTIVE", refused
    finally:
        ecs.update_container_instances_state(containerInstances=arns, status="ACTIVE")
    task = ecs.run_task(taskDefinition=name)["tasks"][0]["taskArn"]
    with pytest.raises(ClientError, match="InvalidParameterException.*Found running tasks"):
        ecs.deregister_container_instance(containerInstance=arns[0])
    _, key = fleet.user()
    with pytest.raises(ClientError, match="AccessDeniedException"):
        fleet.client("ecs", key).deregister_container_instance(containerInstance=arns[0], force=True)
    ecs.stop_task(task=task)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"memory": 33_554_432}, "insufficient memory available"),
        ({"cpu": 196_608}, "insufficient CPU units available"),
    ],
)
def test_no_instance_large_enough_is_said_in_an_event_that_counts(ecs, image, name, change, words):
    ecs.register_task_definition(family=name, containerDefinitions=[images.container(image) | change])
    ecs.create_service(serviceName=name, taskDefinition=name, desiredCount=1)
    message = event(ecs, name, "unable to place")
    assert f"(service {name})" in message and words in message, message
    assert "1" in message and "instance" in message, message
    failure = ecs.run_task(taskDefinition=name)["failures"][0]
    assert failure["reason"] == ("RESOURCE:MEMORY" if "memory" in words else "RESOURCE:CPU"), failure
    # It is said once, not at every look.
    events = [e for e in describe(ecs, name)["events"] if "unable to place" in e["message"]]
    assert len(events) == 1, events
    remove(ecs, name)


def test_a_port_that_is_taken_is_said_and_the_second_task_waits(ecs, image, name):
    from server import free_port

    port = free_port()
    mapped = images.container(image) | {"portMappings": [{"containerPort": 8080, "hostPort": port}]}
    ecs.register_task_definition(family=name, containerDefinitions=[mapped])
    ecs.create_service(serviceName=name, taskDefinition=name, desiredCount=2)
    message = event(ecs, name, "unable to place")
    assert "already using a port required by your task" in message, message
    wait_until("the first to run", lambda: describe(ecs, name)["runningCount"] == 1)
    assert ecs.run_task(taskDefinition=name)["failures"][0]["reason"] == "RESOURCE:PORTS"
    remove(ecs, name)


def test_published_ports_answer(fleet, ecs, name):
    import urllib.request

    image, _ = images.push(fleet, f"conformance/{name}", "v1", "mkdir -p /tmp; echo hello > /index.html; exec httpd -f -p 8080 -h /")
    mapped = images.container(image) | {"portMappings": [{"containerPort": 8080, "hostPort": 0}]}
    ecs.register_task_definition(family=name, containerDefinitions=[mapped])
    ecs.create_service(serviceName=name, taskDefinition=name, desiredCount=2)
    ecs.get_waiter("services_stable").wait(services=[name], WaiterConfig=QUICK)
    ports = [binding["hostPort"] for task in tasks_of(ecs, name) for binding in task["containers"][0]["networkBindings"]]
    assert len(set(ports)) == 2, ports
    for port in ports:
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read() == b"hello\n"
    remove(ecs, name)


def test_an_unhealthy_task_is_replaced(fleet, ecs, image, name):
    check = {"command": ["CMD-SHELL", "test ! -f /tmp-broken"], "interval": 5, "timeout": 2, "retries": 1}
    ecs.register_task_definition(family=name, containerDefinitions=[images.container(image) | {"healthCheck": check}])
    ecs.create_service(serviceName=name, taskDefinition=name, desiredCount=1)
    ecs.get_waiter("services_stable").wait(services=[name], WaiterConfig=QUICK)
    wait_until("HEALTHY", lambda: all(t["healthStatus"] == "HEALTHY" for t in tasks_of(ecs, name)))
    old = tasks_of(ecs, name)[0]
    docker("exec", old["containers"][0]["runtimeId"], "sh", "-c", ": > /tmp-broken")
    look = lambda: [t for t in tasks_of(ecs, name) if t["taskArn"] != old["taskArn"] and t["healthStatus"] == "HEALTHY"]
    wait_until("a healthy replacement", look)
    wait_until("the old one to stop", lambda: ecs.describe_tasks(tasks=[old["taskArn"]])["tasks"][0]["lastStatus"] == "STOPPED")
    assert "health check" in ecs.describe_tasks(tasks=[old["taskArn"]])["tasks"][0]["stoppedReason"]
    remove(ecs, name)


# === Images: what does not exist, and what may not be pulled


def test_an_own_image_that_does_not_exist_is_refused_by_name(fleet, ecs, name):
    missing = f"{fleet.host}/conformance/nothing:v1"
    ecs.register_task_definition(family=name, containerDefinitions=[images.container(missing)])
    for refused in (
        lambda: ecs.create_service(serviceName=name, taskDefinition=name, desiredCount=1),
        lambda: ecs.run_task(taskDefinition=name),
    ):
        with pytest.raises(ClientError) as error:
            refused()
        assert error.value.response["Error"]["Code"] == "ClientException"
        assert "conformance/nothing" in error.value.response["Error"]["Message"], error.value


def test_update_service_to_an_image_that_does_not_exist_is_refused_and_nothing_changes(fleet, ecs, service):
    ecs.register_task_definition(family=service, containerDefinitions=[images.container(f"{fleet.host}/conformance/nothing:v1")])
    with pytest.raises(ClientError, match="ClientException"):
        ecs.update_service(service=service, taskDefinition=f"{service}:2")
    described = describe(ecs, service)
    assert described["taskDefinition"].endswith(f"{service}:1") and len(described["deployments"]) == 1
    assert described["runningCount"] == 2


def test_a_foreign_image_that_cannot_be_pulled_says_so(ecs, name):
    ecs.register_task_definition(family=name, containerDefinitions=[images.container("127.0.0.1:1/nothing/here:v1")])
    arn = ecs.run_task(taskDefinition=name)["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=QUICK)
    task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
    assert task["stopCode"] == "TaskFailedToStart", task
    assert "CannotPullContainerError" in task["stoppedReason"] + task["containers"][0].get("reason", ""), task


@pytest.fixture
def deployer(fleet, name):
    """Somebody who may do everything with the services and families of one name, and pull nothing."""
    principal, key = fleet.user()
    fleet.grant(principal, "deploy", "family", f"{name}*")
    fleet.grant(principal, "operate", "service", f"default/{name}*")
    fleet.grant(principal, "deploy", "cluster", "default")
    return principal, fleet.client("ecs", key)


def own_images(fleet, name):
    """Each way to name one private image."""
    image, digest = images.push(fleet, f"private/{name}", "v1")
    repository = image.rsplit(":", 1)[0]
    port = fleet.port
    return [
        image,
        f"{repository}@{digest}",
        f"{repository}:v1@{digest}",
        f"localhost:{port}/private/{name}:v1",
        f"localhost:{port}/private/{name}@{digest}",
        f"private/{name}:v1",
        f"private/{name}@{digest}",
    ]


def denied(call):
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["Error"]["Code"] == "AccessDeniedException", error.value
    return error.value.response["Error"]["Message"]


def test_deploying_does_not_bypass_pulling_in_any_way_to_name_an_image(fleet, ecs, deployer, name):
    principal, his = deployer
    for number, image in enumerate(own_images(fleet, name)):
        family = f"{name}-{number}"
        request = {"family": family, "containerDefinitions": [images.container(image)]}
        message = denied(lambda: his.register_task_definition(**request))
        assert f"private/{name}" in message and "pull" in message, (image, message)
        # Registered by somebody who may: he still may not run it.
        ecs.register_task_definition(**request)
        for call in (
            lambda: his.create_service(serviceName=family, taskDefinition=family, desiredCount=1),
            lambda: his.run_task(taskDefinition=family),
        ):
            assert "pull" in denied(call), image
    # UpdateService, from an image that is anybody's.
    his.register_task_definition(family=f"{name}-f", containerDefinitions=[images.container("example.org/foreign:1")])
    his.create_service(serviceName=f"{name}-u", taskDefinition=f"{name}-f", desiredCount=0)
    for number in range(len(own_images(fleet, name))):
        assert "pull" in denied(lambda: his.update_service(service=f"{name}-u", taskDefinition=f"{name}-{number}"))
    assert describe(ecs, f"{name}-u")["taskDefinition"].endswith(f"{name}-f:1")
    # With the grant all of it works.
    fleet.grant(principal, "pull", "repository", f"private/{name}")
    for number in range(2):
        his.update_service(service=f"{name}-u", taskDefinition=f"{name}-{number}")
    assert not his.run_task(taskDefinition=f"{name}-0")["failures"]


def test_deploying_does_not_tell_whether_a_private_image_exists(fleet, deployer, name):
    _, his = deployer
    images.push(fleet, f"private/{name}", "v1")
    said = []
    for image in (f"{fleet.host}/private/{name}:v1", f"{fleet.host}/private/{name}:v9", f"{fleet.host}/private/{name}-none:v1"):
        message = denied(lambda: his.register_task_definition(family=name, containerDefinitions=[images.container(image)]))
        said.append(message.replace(f"{name}-none", name).replace("v9", "v1"))
    assert len(set(said)) == 1, said


def test_once_the_grant_is_revoked_new_tasks_fail_and_name_it(fleet, ecs, deployer, name):
    principal, his = deployer
    image, _ = images.push(fleet, f"private/{name}", "v1")
    grant = fleet.grant(principal, "pull", "repository", f"private/{name}")
    his.register_task_definition(family=name, containerDefinitions=[images.container(image)])
    his.create_service(serviceName=name, taskDefinition=name, desiredCount=1)
    his.get_waiter("services_stable").wait(services=[name], WaiterConfig=QUICK)
    fleet.revoke(grant)
    old = tasks_of(ecs, name)[0]
    # What runs is left alone; the image is on the host, and still no new task of it starts.
    assert old["lastStatus"] == "RUNNING"
    ecs.stop_task(task=old["taskArn"])

    def failed():
        stopped = [t for t in tasks_of(ecs, name, "STOPPED") if t["taskArn"] != old["taskArn"] and t["lastStatus"] == "STOPPED"]
        return stopped and stopped[0]

    task = wait_until("a task that fails", failed)
    words = task["stoppedReason"] + json.dumps(task["containers"])
    assert principal in words and "pull" in words and f"private/{name}" in words, task
    assert task["stopCode"] == "TaskFailedToStart", task
    # The old one may take a while to stop, and in its place nothing runs.
    wait_until("no task that runs", lambda: describe(ecs, name)["runningCount"] == 0)
    assert "pull" in denied(lambda: his.run_task(taskDefinition=name))
    # Granted again, it heals by itself.
    fleet.grant(principal, "pull", "repository", f"private/{name}")
    wait_until("it to run again", lambda: describe(ecs, name)["runningCount"] == 1)
    remove(ecs, name)


def test_host_paths_and_host_network_are_for_admins_of_the_cluster(ecs, image, deployer, fleet, name):
    principal, his = deployer
    fleet.grant(principal, "pull", "repository", "conformance/sleeps")
    mounted = images.container(image) | {"mountPoints": [{"sourceVolume": "host", "containerPath": "/host"}]}
    volumes = [{"name": "host", "host": {"sourcePath": "/var/tmp"}}]
    cases = [
        {"family": f"{name}-path", "containerDefinitions": [mounted], "volumes": volumes},
        {"family": f"{name}-net", "containerDefinitions": [images.container(image)], "networkMode": "host"},
    ]
    for case in cases:
        his.register_task_definition(**case)
        assert "admin" in denied(lambda: his.run_task(taskDefinition=case["family"]))
        assert "admin" in denied(lambda: his.create_service(serviceName=case["family"], taskDefinition=case["family"], desiredCount=1))
    fleet.grant(principal, "admin", "cluster", "default")
    arn = his.run_task(taskDefinition=f"{name}-path")["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=QUICK)
    ecs.stop_task(task=arn)


def test_stop_task_is_refused_for_lack_of_a_grant(fleet, ecs, service):
    arn = tasks_of(ecs, service)[0]["taskArn"]
    principal, key = fleet.user()
    his = fleet.client("ecs", key)
    message = denied(lambda: his.stop_task(task=arn))
    assert principal in message and "ecs:StopTask" in message, message
    assert his.describe_tasks(tasks=[arn])["failures"][0]["reason"] == "MISSING"
    fleet.grant(principal, "deploy", "service", f"default/{service}")
    his.stop_task(task=arn)


# === The command line


def test_the_aws_command_line_does_all_of_it(fleet, image, name):
    def aws(*arguments):
        done = fleet.aws(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    definition = json.dumps([images.container(image)])
    aws("ecs", "create-cluster", "--cluster-name", name)
    aws("ecs", "describe-clusters", "--clusters", name)
    assert any(arn.endswith(f"/{name}") for arn in aws("ecs", "list-clusters")["clusterArns"])
    aws("ecs", "delete-cluster", "--cluster", name)
    aws("ecs", "register-task-definition", "--family", name, "--container-definitions", definition)
    aws("ecs", "describe-task-definition", "--task-definition", name)
    aws("ecs", "list-task-definitions", "--family-prefix", name)
    aws("ecs", "list-task-definition-families", "--family-prefix", name)
    aws("ecs", "create-service", "--service-name", name, "--task-definition", name, "--desired-count", "1")
    aws("ecs", "wait", "services-stable", "--services", name)
    aws("ecs", "update-service", "--service", name, "--desired-count", "2")
    aws("ecs", "describe-services", "--services", name)
    aws("ecs", "list-services")
    instance = aws("ecs", "list-container-instances")["containerInstanceArns"][0]
    aws("ecs", "describe-container-instances", "--container-instances", instance)
    task = aws("ecs", "run-task", "--task-definition", name)["tasks"][0]["taskArn"]
    aws("ecs", "wait", "tasks-running", "--tasks", task)
    aws("ecs", "describe-tasks", "--tasks", task)
    aws("ecs", "list-tasks", "--family", name)
    aws("ecs", "stop-task", "--task", task)
    aws("ecs", "wait", "tasks-stopped", "--tasks", task)
    aws("ecs", "delete-service", "--service", name, "--force")
    aws("ecs", "wait", "services-inactive", "--services", name)
    aws("ecs", "deregister-task-definition", "--task-definition", f"{name}:1")
    aws("ecr", "create-repository", "--repository-name", f"{name}/x")
    aws("ecr", "describe-repositories", "--repository-names", f"{name}/x")
    aws("ecr", "get-authorization-token")
    assert fleet.aws("ecr", "get-login-password").stdout.strip()
    refused = fleet.aws("ecs", "list-clusters", key=("AKIANOBODYNOBODYNOBO", uuid.uuid4().hex))
    assert refused.returncode != 0 and "UnrecognizedClientException" in refused.stderr
