"""What Ray starts in place of a worker: has one forked, and waits for its end (see `warm.py`)."""

import json
import os
import socket
import sys

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
