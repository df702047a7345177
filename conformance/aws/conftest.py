"""One server per file and process; every test uses names of its own."""

import os
import uuid

import pytest

from server import Server


@pytest.fixture(scope="module")
def server():
    """A server without an agent."""
    running = Server()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def fleet():
    """A server with an agent on the machine's Docker Engine, its instance registered."""
    from server import wait_until

    running = Server(with_agent=True, environment={"BERTH_LOG": os.environ.get("BERTH_LOG", "info")})
    ecs = running.client("ecs")

    def connected():
        arns = ecs.list_container_instances()["containerInstanceArns"]
        return arns and ecs.describe_container_instances(containerInstances=arns)["containerInstances"][0]["agentConnected"]

    wait_until("a connected instance", connected)
    yield running
    running.stop()


@pytest.fixture
def name():
    """A name that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"
