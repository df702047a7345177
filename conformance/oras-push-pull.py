"""Pushes a file as an artifact and pulls it again. usage: oras-push-pull.py HOST USER PASSWORD REFERENCE FILE FOLDER"""
import sys

import oras.client

host, user, password, reference, file, folder = sys.argv[1:]
# Shows the password on each request: with tokens this client asks for one to pull and then pushes with that.
client = oras.client.OrasClient(hostname=host, insecure=True, auth_backend="basic")
client.login(hostname=host, username=user, password=password)
target = f"{host}/{reference}"
client.push(target=target, files=[f"{file}:text/plain"], disable_path_validation=True)
print(client.pull(target=target, outdir=folder)[0])
print(" ".join(client.get_tags(target)))
