"""Joining clusters, and what is said where that does not work."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import ray

from raypipe import runtime
from raypipe.cost import Cost, Timer
from raypipe.errors import RaypipeError, UsageError
from raypipe.runtime import connection, nodes
from tests.conftest import draw_folder, flags

_MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.58.0
    Python: 3.12.4
This process on Ray Client was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


def test_another_version_is_named() -> None:
    said = connection._why_not("10.0.0.1:6379", _MISMATCH)
    assert said == (
        "the cluster at '10.0.0.1:6379' runs Ray 2.58.0 on Python 3.12.4, this is Ray 2.60.0 on "
        "Python 3.11.7; use the same here, or `raypipe submit`"
    )


def test_ray_says_of_versions_what_we_look_for() -> None:
    from ray._private.utils import check_version_info

    with pytest.raises(RuntimeError) as error:
        check_version_info({"ray_version": "2.58.0", "python_version": "3.12.4"}, "here")
    said = connection._why_not("x:1", str(error.value))
    assert said.startswith("the cluster at 'x:1' runs Ray 2.58.0 on Python 3.12.4, this is Ray")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ray://127.0.0.1:10001", "the job has to run on the cluster itself; `raypipe submit"),
        ("http://127.0.0.1:8265", "the job has to run on the cluster itself; `raypipe submit"),
        ("127.0.0.1:99999", "no Ray cluster answers at '127.0.0.1:99999'"),
        ("no-such-host.invalid:6379", "no Ray cluster answers at 'no-such-host.invalid:6379'"),
    ],
)
def test_addresses_that_cannot_be_joined(address: str, expected: str) -> None:
    with pytest.raises(UsageError, match="--address: ") as error:
        connection._connect(address)
    assert expected in str(error.value)


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    with pytest.raises(UsageError, match="Connection refused"):
        connection._connect(f"127.0.0.1:{port}")


def test_waiting_ends(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_PATIENCE", 1.0)
    runtime.wait_for("none")
    runtime.wait_for("cpu")
    with pytest.raises(RaypipeError, match="--wait-for gpu: the cluster has started no node"):
        runtime.wait_for("gpu")


def test_a_pool_may_grow_on_a_cluster_only(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime.plan_replicas("1:64", 16, 100).max_size == 2
    monkeypatch.setattr(runtime.replicas, "alive_nodes", lambda: ray.nodes() * 2)
    found = runtime.plan_replicas("1:64", 16, 100)
    assert (found.min_size, found.max_size) == (1, 64)


def test_anything_can_be_called_where_replicas_run(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = ray.nodes() * 2
    monkeypatch.setattr(ray, "nodes", lambda: two)
    assert runtime.on_replica_hardware(partial(max, 3), 7) == 7


def test_costs_add_up() -> None:
    one = Cost(images=2, rejects={"empty": 1}, bytes_read=10, read_seconds=1.5, device_bytes=7)
    two = Cost(images=3, rejects={"empty": 1, "corrupt": 2}, write_seconds=0.5, device_bytes=5)
    both = Cost.from_text((one + two).to_text())
    assert both == Cost(5, {"empty": 2, "corrupt": 2}, 10, 0, 1.5, 0.0, 0.5, 7)
    assert both.seconds == {"read": 1.5, "compute": 0.0, "write": 0.5}


def test_a_timer_counts_what_the_values_take() -> None:
    timer = Timer()
    assert list(timer.watch(iter("abc"))) == ["a", "b", "c"]
    assert 0 < timer.seconds < 1


def test_logs_for_programs(tmp_path: Path, ray_session: str) -> None:
    photos = draw_folder(tmp_path / "photos", 4)
    (photos / "circle" / "0000.png").write_bytes(b"")
    command = ["extract", str(photos), "--out", str(tmp_path / "store"), *flags()]
    done = subprocess.run(
        [sys.executable, "-m", "raypipe", *command, "--log", "json", "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"RAY_ADDRESS": ray_session},
        check=True,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["command"] for line in lines} == {"extract"}
    assert lines[-1]["done"] == lines[-1]["total"] == 12
    job = lines[-1]["job"]
    assert all("time" in line and "message" in line for line in lines)
    summary = json.loads(done.stdout)
    assert summary["work_seconds"]["compute"] > 0
    assert summary["bytes_read"] == sum(p.stat().st_size for p in photos.rglob("*.png"))
    logs = Path("/tmp/ray").glob("session_*/logs/worker-*.err")
    units = [
        entry
        for log in logs
        for line in log.read_text(errors="replace").splitlines()
        if '"unit finished"' in line
        and (entry := json.loads(line))["bytes_read"] == summary["bytes_read"]
    ]
    assert units
    assert {"unit", "actor_id", "node_id", "images", "rejects"} <= set(units[-1])
    assert (units[-1]["images"], units[-1]["rejects"]) == (11, {"empty": 1})
    assert job in {unit["job_id"] for unit in units}
