"""What is told while something is waited for, and what Ray says by itself."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
import time

import pytest
import ray

from raypipe import runtime
from raypipe.runtime import messages, replicas, waiting

OF_MEMORY = """Task hold failed due to oom. There are infinite oom retries remaining, so the task \
will be retried. Error: 1 worker(s) were killed due to the node running low on memory. Memory on \
the node (IP: 192.0.2.2, ID: 0e7e) was 9.39GB used
OOM kill reason: Memory usage 9786568704B exceeded threshold
Object store memory usage: [- objects spillable: 0
- bytes spillable: 0
"""


@ray.remote(num_cpus=2)
class Everything:
    """Takes all cores, as others' work may do."""

    def taken(self) -> None:
        pass


def test_a_core_that_others_have_is_waited_for_and_told(
    ray_session: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "_TELL_SECONDS", 0.2)
    monkeypatch.setattr(replicas, "alive_nodes", lambda: ray.nodes() * 2)
    others = Everything.remote()  # type: ignore[attr-defined]
    ray.get(others.taken.remote())
    threading.Timer(3, lambda: ray.kill(others)).start()
    assert runtime.on_replica_hardware(abs, -1) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "waiting" in line]
    assert len(told) > 1
    assert told[0].startswith("waiting for a process with a core, 0 s so far: ")
    assert "0 of 2 cores of the cluster are free" in told[0]  # which tests have started


FREE = """
from raypipe.runtime import connection, waiting
with connection.session("local"):
    print(waiting._free())
    assert connection.KEEPING.here
assert not connection.KEEPING.here
"""


@pytest.mark.ci
def test_a_ray_that_was_started_here_is_no_cluster() -> None:
    done = subprocess.run([sys.executable, "-c", FREE], capture_output=True, text=True, check=True)
    assert "cores of this machine are free" in done.stdout


def test_nothing_is_told_once_results_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "_TELL_SECONDS", 0.05)
    monkeypatch.setattr(waiting, "_free", lambda: "")
    with waiting.waiting_told("the first results") as come:
        time.sleep(0.2)
        come.set()
        capsys.readouterr()
        time.sleep(0.2)
        assert not capsys.readouterr().err


def test_what_ray_says_of_memory_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell = messages.Messages()
    for text in (OF_MEMORY, OF_MEMORY, "A worker died\nand more"):
        tell({"lines": [text], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    short, other = capsys.readouterr().err.splitlines()
    assert short.startswith("a node is short of memory: Ray has ended a process")
    assert other == "Ray: A worker died"


def test_ray_calls_what_is_replaced() -> None:
    worker = ray._private.worker
    with messages.in_one_line():
        assert isinstance(worker.print_to_stdstream, messages.Messages)
    assert list(inspect.signature(worker.print_to_stdstream).parameters) == [
        "data",
        "ignore_prefix",
    ]
    assert "print_to_stdstream(" in inspect.getsource(worker.listen_error_messages)


SHORT_OF_MEMORY = """
import ray, time
from raypipe.runtime.connection import session
def hold():
    held = bytearray(b"x") * 2**28
    time.sleep(60)
with session("local"):
    ray.wait([ray.remote(hold).remote()], timeout=120)
"""


@pytest.mark.ci
def test_a_node_that_is_short_of_memory() -> None:
    low = os.environ | {
        "RAY_memory_usage_threshold": "0.01",
        "RAY_memory_monitor_refresh_ms": "200",
    }
    with subprocess.Popen(
        [sys.executable, "-c", SHORT_OF_MEMORY],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=low,
    ) as process:
        assert process.stderr is not None
        lines = [next(process.stderr), next(process.stderr)]
        process.terminate()
        output, rest = process.communicate(timeout=60)
    assert lines[0] == "starting Ray (local)\n"
    assert lines[1].startswith("a node is short of memory: ")
    assert "objects spillable" not in output + rest
