"""The real binary as a server for the tests of one file, and the people who call it."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

import boto3
from botocore.config import Config

REGION = "us-east-1"
ACCOUNT = "123456789012"
ADMIN = ("admin", "admin-password-of-tests")
ADMIN_KEY = ("AKIATESTINGTESTING01", "secret/of/tests+secret/of/tests+secret/1")
START_SECS_MAX = 60
WAIT_SECS_MAX = 60


def wait_until(what, look, limit=WAIT_SECS_MAX):
    """Looks until `look` gives something true; fails by name after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {limit} s for {what}"
        time.sleep(0.05)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def docker(*arguments):
    """The words that docker prints."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True).stdout.split()


class Server:
    """`berth server`, or `berth up` with an agent on the machine's engine."""

    def __init__(self, with_agent=False, environment=None):
        self.folder = tempfile.mkdtemp(prefix="berth-aws-")
        self.data = os.path.join(self.folder, "data")
        self.port, self.agent_port = free_port(), free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.with_agent = with_agent
        self.environment = environment or {}
        self.database = self._database()
        self._spawn()

    def _database(self):
        if os.environ.get("BERTH_TEST_DATABASE", "sqlite") != "postgres":
            return []
        base, _ = os.environ["BERTH_TEST_POSTGRES"].rsplit("/", 1)
        name = f"test_{uuid.uuid4().hex}"
        subprocess.run(["psql", f"{base}/postgres", "--quiet", "--command", f"create database {name}"], check=True)
        return ["--database", f"{base}/{name}"]

    def _spawn(self):
        command = [os.environ["BERTH_BIN"], "up" if self.with_agent else "server", "--data-dir", self.data, "--listen", self.host]
        command += ["--agent-listen", f"127.0.0.1:{self.agent_port}", "--account-id", ACCOUNT, "--region", REGION, *self.database]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BERTH_")}
        environment |= {
            "HOME": self.folder,
            "BERTH_ADMIN_USER": ADMIN[0],
            "BERTH_ADMIN_PASSWORD": ADMIN[1],
            "BERTH_ADMIN_ACCESS_KEY_ID": ADMIN_KEY[0],
            "BERTH_ADMIN_SECRET_ACCESS_KEY": ADMIN_KEY[1],
        } | self.environment
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_until("the server to be ready", self._ready, START_SECS_MAX)

    def _ready(self):
        assert self.process.poll() is None, f"the server ended:\n{self.log_text()}"
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def log_text(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        if self.with_agent:
            self._remove_containers()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_containers(self):
        """Containers of its agent, and the names of its images."""
        try:
            with open(os.path.join(self.data, "agent", "identity.json"), encoding="utf-8") as identity:
                plane = json.load(identity)["control_plane_id"]
        except OSError:
            return
        for container in docker("ps", "--all", "--quiet", "--filter", f"label=io.berth.control-plane={plane}"):
            docker("rm", "--force", "--volumes", container)
        # An image that lost its tag shows its digest only then.
        for form in ("{{.Repository}}:{{.Tag}}", "{{.Repository}}@{{.Digest}}"):
            for name in docker("images", "--digests", "--format", form):
                if name.startswith(f"{self.host}/") and "<none>" not in name:
                    docker("rmi", "--force", name)

    def http(self, method, path, body=None, user=ADMIN, headers=None, expect=None):
        """A request by password. Gives status, headers and body."""
        request = urllib.request.Request(path if path.startswith("http") else self.url + path, method=method, data=body)
        if user:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(user).encode()).decode())
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, head, content = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, head, content = error.code, error.headers, error.read()
        assert expect is None or status == expect, f"{method} {path}: {status} {content[:500]}"
        return status, head, content

    def api(self, method, path, body=None, expect=None):
        """A request to the Berth API as the admin. Gives the answer's JSON."""
        content = json.dumps(body).encode() if body is not None else None
        _, _, answer = self.http(method, path, content, headers={"Content-Type": "application/json"}, expect=expect)
        return json.loads(answer) if answer else None

    def client(self, service, key=ADMIN_KEY, region=REGION, **config):
        """A boto3 client of `ecs` or `ecr` that does not retry."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key[0],
            aws_secret_access_key=key[1],
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    def user(self, name=None):
        """A new user without grants: principal and access key."""
        name = name or f"u{uuid.uuid4().hex[:12]}"
        self.api("POST", "/api/v1/users", {"name": name, "password": f"password-of-{name}"}, expect=201)
        made = self.api("POST", "/api/v1/access-keys", {"principal": f"user:{name}"}, expect=201)
        return f"user:{name}", (made["access_key"]["id"], made["secret_access_key"])

    def grant(self, principal, role, kind, pattern):
        grant = {"principal": principal, "role": role, "kind": kind, "pattern": pattern}
        return self.api("POST", "/api/v1/grants", grant)["id"]

    def revoke(self, grant):
        self.http("DELETE", f"/api/v1/grants/{grant}", expect=204)

    def aws(self, *arguments, key=ADMIN_KEY, timeout=120):
        """The aws command line."""
        environment = os.environ | {
            "AWS_ACCESS_KEY_ID": key[0],
            "AWS_SECRET_ACCESS_KEY": key[1],
            "AWS_DEFAULT_REGION": REGION,
            "AWS_PAGER": "",
            "AWS_MAX_ATTEMPTS": "1",
            "HOME": self.folder,
        }
        command = ["aws", "--endpoint-url", self.url, "--output", "json", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
