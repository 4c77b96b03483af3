"""Ray clusters on this machine, of processes that are apart from those of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
TOKEN = "a-token-that-only-the-tests-know-of"
#: Nothing of a cluster that is not meant.
PLAIN = {
    name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYPIPE_"))
}
PLAIN["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@dataclass(frozen=True)
class Head:
    """A cluster of one node with a dashboard, which asks for a token.

    Attributes:
        address: of its dashboard.
        metrics: where its metrics are.
        env: the environment of those who know the token.
    """

    address: str
    metrics: str
    env: dict[str, str]

    def scrape(self) -> str:
        """Return what Prometheus would get."""
        with urllib.request.urlopen(self.metrics) as answer:
            return str(answer.read().decode())


def run(*arguments: str, env: dict[str, str] | None = None, **options: Any) -> Any:
    """Run a command to its end; return what it printed and its status."""
    return subprocess.run(
        arguments, capture_output=True, text=True, env=env or PLAIN, check=False, **options
    )


def raypipe_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "raypipe", *arguments]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def kill_all(process: subprocess.Popen[Any]) -> None:
    """Kill a process and all that it has started."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.kill()
    psutil.wait_procs(family, timeout=20)
    process.wait(20)


@pytest.fixture(scope="package")
def head() -> Iterator[Head]:
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short: sockets have long names
    ports = [free_port() for _ in range(3)]
    env = PLAIN | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    process = subprocess.Popen(
        [
            *(RAY, "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2"),
            *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"),
            *(f"--port={ports[0]}", f"--dashboard-port={ports[1]}"),
            *(f"--metrics-export-port={ports[2]}", f"--temp-dir={folder}"),
            f"--object-store-memory={300 * 2**20}",
        ],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    found = Head(f"http://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[2]}/metrics", env)
    _await(f"{found.address}/api/version")
    yield found
    kill_all(process)
    shutil.rmtree(folder, ignore_errors=True)


def _await(url: str) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url).close()
        except urllib.error.HTTPError:
            return  # it wants a token: it is there
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(f"nothing answers at {url}")
