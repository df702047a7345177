"""Small images of busybox, pushed over HTTP."""

import hashlib
import io
import json
import tarfile
import uuid

BUSYBOX = "/bin/busybox"
APPLETS = ["sh", "sleep", "httpd", "true", "false", "echo", "cat", "wget"]
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"

SLEEP = "trap 'exit 0' TERM; sleep 1000000 & wait"


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer():
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        with open(BUSYBOX, "rb") as busybox:
            content = busybox.read()
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return archive.getvalue()


LAYER = layer()


def push(server, repository, tag, line=SLEEP):
    """Pushes an image that runs a line of shell. Gives the name a task definition uses, and the digest."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh", "-c", line], "Labels": {"unique": uuid.uuid4().hex}},
            "rootfs": {"type": "layers", "diff_ids": [digest(LAYER)]},
        }
    ).encode()
    for blob in (config, LAYER):
        _, head, _ = server.http("POST", f"/v2/{repository}/blobs/uploads/", b"", expect=202)
        join = "&" if "?" in head["Location"] else "?"
        location = f"{head['Location']}{join}digest={digest(blob)}"
        server.http("PUT", location, blob, headers={"Content-Type": "application/octet-stream"}, expect=201)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": LAYER_TYPE, "digest": digest(LAYER), "size": len(LAYER)}],
        }
    ).encode()
    server.http("PUT", f"/v2/{repository}/manifests/{tag}", manifest, headers={"Content-Type": MANIFEST_TYPE}, expect=201)
    return f"{server.host}/{repository}:{tag}", digest(manifest)


def container(image, **more):
    """A container definition that needs little and is healthy as soon as it runs."""
    return {
        "name": "app",
        "image": image,
        "cpu": 10,
        "memory": 32,
        "stopTimeout": 2,
        "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5, "timeout": 2, "retries": 2},
    } | more
