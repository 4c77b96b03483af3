"""Ray clusters on this machine, of processes that are apart from those of the tests."""

from __future__ import annotations

import contextlib
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
#: Of those who know the token. Ray asks for one anyway, as soon as a machine has one.
TRUSTED = PLAIN | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}


@dataclass(frozen=True)
class Head:
    """A cluster of one node with a dashboard, which asks for a token.

    Attributes:
        address: of its dashboard.
        metrics: where its metrics are.
    """

    address: str
    metrics: str

    def scrape(self) -> str:
        """Return what Prometheus would get."""
        with urllib.request.urlopen(self.metrics) as answer:
            return str(answer.read().decode())


def run(*arguments: str, env: dict[str, str] = TRUSTED, **options: Any) -> Any:
    """Run a command to its end; return what it printed and its status."""
    return subprocess.run(
        arguments, capture_output=True, text=True, env=env, check=False, **options
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


def start_node(*arguments: str, within: tuple[str, ...] = ()) -> subprocess.Popen[Any]:
    """Start a node of a cluster; `within` is a command that runs the rest of its words."""
    return subprocess.Popen(
        [
            *within,
            *(RAY, "start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"),
            # Else the first Ray on this machine has it, and takes no jobs for the others.
            f"--dashboard-agent-listen-port={free_port()}",
            *(f"--object-store-memory={200 * 2**20}", *arguments),
        ],
        env=TRUSTED,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def await_node(process: subprocess.Popen[Any]) -> None:
    """Wait until a node is up."""
    for line in process.stdout or ():
        if "block forever" in line:
            return
    raise AssertionError("the node does not come up")


@contextlib.contextmanager
def node(*arguments: str, within: tuple[str, ...] = ()) -> Iterator[None]:
    """Have a node of a cluster for the length of a block, however that ends."""
    process = start_node(*arguments, within=within)
    try:
        await_node(process)
        yield
    finally:
        kill_all(process)


@contextlib.contextmanager
def short_folder() -> Iterator[str]:
    """A folder with a short name: sockets have long ones."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def head() -> Iterator[Head]:
    ports = [free_port() for _ in range(3)]
    found = Head(f"http://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[2]}/metrics")
    with short_folder() as folder:
        started = node(
            *("--head", "--num-cpus=2", "--dashboard-host=127.0.0.1"),
            *(f"--port={ports[0]}", f"--dashboard-port={ports[1]}"),
            *(f"--metrics-export-port={ports[2]}", f"--temp-dir={folder}"),
        )
        with started:
            await_answer(f"{found.address}/api/version")
            yield found


def await_answer(url: str) -> None:
    """Wait until a server answers, whatever it says."""
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
