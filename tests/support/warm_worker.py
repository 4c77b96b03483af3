"""What Ray starts in place of a worker: has one forked, and waits for its end (see `warm.py`)."""

import importlib.util
import json
import os
import socket
import sys

if any(word.startswith("--serialized-runtime-env-context=") for word in sys.argv):
    # One that is set up in a way of its own, as those of Ray Train: by Ray's first script.
    found = importlib.util.find_spec("ray")
    first = os.path.join(os.path.dirname(found.origin), "_private/workers/setup_worker.py")  # noqa: PTH118, PTH120
    os.execv(sys.executable, [sys.executable, first, *sys.argv[1:]])

arguments = [word for word in sys.argv[1:] if not word.startswith("--language=")]
folder = os.getcwd()  # noqa: PTH109 - pathlib takes its time
asked = json.dumps(
    {"arguments": arguments, "environment": dict(os.environ), "folder": folder}
).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.environ["WARM_TESTS_SOCKET"])
    socket.send_fds(server, [len(asked).to_bytes(8)], [0, 1, 2])
    server.sendall(asked)
    server.recv(1)
