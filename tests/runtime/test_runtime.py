"""Joining clusters, and what is said where that does not work."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
import torch
from ray._private.node import Node
from ray.core.generated.common_pb2 import ActorDiedErrorContext

from raypipe import runtime, schema
from raypipe.config.values import Actors
from raypipe.errors import RaypipeError, UsageError
from raypipe.runtime import cluster_nodes, connection, replicas, starting, streams
from raypipe.spec import Preprocess, Spec
from raypipe.steps import read
from raypipe.steps.batch import COST, IMAGE, ReadOptions
from raypipe.steps.cost import Cost, Timer
from raypipe.steps.embed import embed
from tests.conftest import draw_folder, flags

SPEC = Spec(
    backbone="net",
    weights_sha256="0" * 64,
    outputs=(),
    preprocess=Preprocess(size=32, resize="squash", resize_to=None),
)
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
        ("a..b:6379", "no Ray cluster answers at 'a..b:6379'"),
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


def died(**context: Any) -> ray.exceptions.ActorDiedError:
    """What Ray raises of an actor whose process is gone."""
    return ray.exceptions.ActorDiedError(ActorDiedErrorContext(actor_id=b"0" * 16, **context))


def ends_with(error: Exception) -> RaypipeError:
    """What is said of a flow that fails so."""

    class Failing:
        def iter_batches(self, **_: Any) -> Any:
            raise error

    with pytest.raises(RaypipeError) as found:
        list(runtime.stream(Failing()))
    return found.value


def test_ray_says_of_deaths_what_we_look_for() -> None:
    lost = died(error_message="lost", never_started=True)
    assert streams._NEVER_RAN in str(lost)
    for error in (lost, ray.exceptions.WorkerCrashedError(), ray.exceptions.RayError(str(lost))):
        found = ends_with(error)
        assert isinstance(found, runtime.ProcessDiedError)
        assert not found.with_node
    assert not isinstance(ends_with(ray.exceptions.RayError("x")), runtime.ProcessDiedError)


def test_ray_says_of_a_node_what_we_look_for() -> None:
    """It is said by the process that watches the nodes."""
    watcher = Path(ray.__file__).parent / "core" / "src" / "ray" / "gcs" / "gcs_server"
    message = "The actor died because its node has died."
    assert message.encode() in watcher.read_bytes()
    found = ends_with(died(error_message=message))
    assert isinstance(found, runtime.ProcessDiedError)
    assert found.with_node


LUCKLESS = 'Traceback (most recent call last):\n  File "f.py", line 1, in f\nValueError: luck'


def test_ray_says_of_a_constructor_what_we_look_for() -> None:
    cause = ray.exceptions.RayTaskError("f", LUCKLESS, ValueError("luck"))
    cause._actor_id = "a"
    error = ray.exceptions.ActorDiedError(cause)
    assert streams._NEVER_BEGAN in str(error)
    for one in (error, ray.exceptions.RayError(str(error))):
        found = ends_with(one)
        assert not isinstance(found, runtime.ProcessDiedError)
        assert str(found).startswith("the flow failed: ValueError: luck; finished partitions")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="what x86 processors have")
def test_torch_says_whether_the_processor_has_bfloat16() -> None:
    """`--precision auto` takes fp32 without a word where the function is gone."""
    flags = Path("/proc/cpuinfo").read_text().split()
    assert torch.cpu._is_avx512_bf16_supported() is ("avx512_bf16" in flags)


def test_waiting_is_told_and_ends(
    ray_session: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster_nodes, "_PATIENCE", 1.0)
    monkeypatch.setattr(cluster_nodes, "_TELL_SECONDS", 0.3)
    runtime.wait_for("none")
    runtime.wait_for("cpu")
    with pytest.raises(RaypipeError, match="--wait-for gpu: the cluster has started no node"):
        runtime.wait_for("gpu")
    told = [line for line in capsys.readouterr().err.splitlines() if "so far" in line]
    assert len(told) >= 2
    assert all(line.startswith("waiting for a node with a GPU, ") for line in told)


def test_a_pool_may_grow_on_a_cluster_only(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime.plan_replicas(Actors.parse("1:64"), 16, 100).max_size == 2
    monkeypatch.setattr(runtime.replicas, "alive_nodes", lambda: ray.nodes() * 2)
    found = runtime.plan_replicas(Actors.parse("1:64"), 16, 100)
    assert (found.min_size, found.max_size) == (1, 64)


def test_anything_can_be_called_where_replicas_run(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = ray.nodes() * 2
    monkeypatch.setattr(ray, "nodes", lambda: two)
    assert runtime.on_replica_hardware(partial(max, 3), 7) == 7


def test_a_node_that_is_gone_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray goes on listing it."""
    found = [{"Alive": alive, "Resources": {"CPU": 2.0}} for alive in (True, False)]
    monkeypatch.setattr(ray, "nodes", lambda: found)
    assert runtime.alive_nodes() == found[:1]
    assert runtime.cores() == 2
    assert runtime.on_replica_hardware(os.getpid) == os.getpid()


@pytest.mark.parametrize(
    ("found", "common"),
    [
        (["bf16", "bf16"], "bf16"),
        (["bf16", "fp32"], "fp32"),
        (["fp32", "bf16", "bf16"], "fp32"),
        (["bf16", "fp16"], "fp16"),
    ],
)
def test_precision_on_mixed_hardware_is_what_all_nodes_have(
    found: list[str], common: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(replicas, "on_all_hardware", lambda _: found)
    assert runtime.best_precision() == common
    told = capsys.readouterr().err
    assert (f"taking {common}, which all have" in told) is (len(set(found)) > 1)


def test_every_node_is_asked(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    two = ray.nodes() * 2
    monkeypatch.setattr(ray, "nodes", lambda: two)
    assert len(replicas.on_all_hardware(os.getpid)) == 2


def test_nothing_is_settled_where_no_replica_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head without cores is no hardware that does the work."""
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"memory": 1.0}}])
    for settle in (runtime.best_precision, lambda: runtime.on_replica_hardware(os.getpid)):
        with pytest.raises(UsageError, match="no node of the Ray cluster has room for a replica"):
            settle()


def test_costs_add_up() -> None:
    one = Cost(images=2, rejects={"empty": 1}, bytes_read=10, read_seconds=1.5, device_bytes=7)
    two = Cost(images=3, rejects={"empty": 1, "corrupt": 2}, write_seconds=0.5, device_bytes=5)
    both = Cost.from_text((one + two).to_text())
    assert both == Cost(5, {"empty": 2, "corrupt": 2}, 10, 0, 1.5, 0.0, 0.0, 0.5, 7)
    assert both.items == 9
    assert both.seconds == {"read": 1.5, "decode": 0.0, "compute": 0.0, "write": 0.5}


def test_waiting_for_a_turn_is_not_computing() -> None:
    class Turn(contextlib.nullcontext[None]):
        def __enter__(self) -> None:
            time.sleep(0.3)

    batch = {
        IMAGE: np.zeros((1, 1, 2, 2, 3), np.uint8),
        schema.REASON: np.array([""], object),
        COST: np.array([Cost(read_seconds=1.0).to_text()], object),
    }
    found = embed(
        batch, lambda pixels: {"f": np.zeros((len(pixels), 3))}, device_bytes=lambda: 7, turn=Turn()
    )
    cost = Cost.from_text(found[COST][0])
    assert cost.compute_seconds < 0.2
    assert (cost.read_seconds, cost.device_bytes) == (1.0, 7)


def test_reading_and_decoding_are_timed_apart(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that come late are no slow decoding."""

    def late(items: pa.Table, _: int, **_more: bool) -> Iterator[bytes]:
        for uri in items[schema.URI].to_pylist():
            time.sleep(0.05)
            yield Path(uri).read_bytes()

    monkeypatch.setattr(read, "read_items", late)
    paths = sorted(map(str, photos.rglob("*.png")))[:8]
    items = pa.table({schema.ID: paths, schema.URI: paths})
    list(read.decoded(items.slice(0, 1), ReadOptions(SPEC, 10**6)))  # imports what it needs
    found = read.ReadOutcome(items, read.decoded, ReadOptions(SPEC, 10**6))
    assert len(list(found)) == 8
    assert found.cost.read_seconds > 0.4
    assert 0 < found.cost.decode_seconds < 0.4
    assert found.cost.bytes_read == sum(Path(path).stat().st_size for path in paths)


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


@pytest.mark.parametrize("has_own", [True, False])
def test_whose_answer_to_sigterm_stays(has_own: bool) -> None:
    """The command's where there is one; else Ray's, which ends what it has started."""
    before = signal.getsignal(signal.SIGTERM)
    own, rays = (lambda *_: None), (lambda *_: None)
    try:
        signal.signal(signal.SIGTERM, own if has_own else signal.SIG_DFL)
        with starting._requests_held():
            ray._private.utils.set_sigterm_handler(rays)
        assert signal.getsignal(signal.SIGTERM) is (own if has_own else rays)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def usual_interrupt() -> Iterator[None]:
    """As on a terminal: a program that is started beside others ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(times: int, steps: list[str]) -> None:
    with starting._requests_held():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        steps.append("goes on")


def test_a_ray_that_does_not_start_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its own words are; it waits for thirty seconds and has no setting for that."""
    source = inspect.getsource(Node)
    assert "raylet_start_wait_time_s = 30" in source
    (words,) = re.findall(r'"(The current node timed out during startup)', source)

    def init(*_: Any, **__: Any) -> None:
        raise Exception(words)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with (
        pytest.raises(RaypipeError, match="has not started within its half minute.*--address"),
        runtime.session("local"),
    ):
        pass


@pytest.mark.usefixtures("usual_interrupt")
@pytest.mark.parametrize(("times", "steps"), [(1, ["goes on"]), (2, [])])
def test_an_interrupt_waits_until_ray_has_started(times: int, steps: list[str]) -> None:
    """A second one does not."""
    found: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(times, found)
    assert found == steps
