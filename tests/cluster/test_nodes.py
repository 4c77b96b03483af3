"""A cluster of three nodes that work and a head that does not: whoever dies, the result stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import numpy as np
import psutil
import pytest

import raypipe
from tests.cluster.conftest import (
    RAY,
    TRUSTED,
    await_node,
    free_port,
    kill_all,
    raypipe_command,
    run,
    short_folder,
    start_node,
)
from tests.conftest import NETWORKS, draw_folder, flags, options
from tests.support.proxy import Fault, Proxy, proxied
from tests.support.sources import files_in

IMAGES = 384  # six units of 64
SLOW = flags(backbone=f"{NETWORKS}:slow", actors="auto")


@dataclass
class Cluster:
    """A cluster without a dashboard."""

    folder: str
    port: int = field(default_factory=free_port)
    head: Any = None
    nodes: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.head = start_node(
            *("--head", "--num-cpus=0", f"--port={self.port}", f"--temp-dir={self.folder}"),
            "--include-dashboard=false",
        )
        await_node(self.head)
        self.replenish()

    def replenish(self) -> None:
        """Bring the cluster up to three nodes that work."""
        self.nodes = [node for node in self.nodes if node.poll() is None]
        while len(self.nodes) < 3:  # side by side, they would wait for each other for ever
            self.nodes.append(start_node(f"--address={self.address}", "--num-cpus=1"))
            await_node(self.nodes[-1])

    def alive(self) -> list[str]:
        """Return the ids of the nodes."""
        code = (
            "import ray; from ray._raylet import GcsClient; "
            f"nodes = GcsClient(address={self.address!r}).get_all_node_info().values(); "
            "print(*(n.node_id.hex() for n in nodes if n.state == 0))"
        )
        done = run(raypipe_command()[0], "-c", code)
        assert done.returncode == 0, done.stderr
        return str(done.stdout).split()

    def node_of(self, pid: int) -> Any:
        """Return the node that a process belongs to."""
        above = {parent.pid for parent in psutil.Process(pid).parents()}
        (found,) = [node for node in self.nodes if node.pid in above]
        return found

    def stop(self) -> None:
        for node in (*self.nodes, self.head):
            if node is not None and node.poll() is None:
                kill_all(node)
        self.nodes = []


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with short_folder() as folder:
        found = Cluster(folder)
        try:
            found.start()
            yield found
        finally:
            found.stop()


@dataclass
class Bucket:
    """A bucket with images, behind a proxy that holds a request back while a node is killed."""

    proxy: Proxy
    held: Callable[[str, str], bool] = lambda method, path: False
    caught: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    number: int = 0

    def uri(self, key: str) -> str:
        return f"s3://photos/{key}?endpoint_override={self.proxy.address}&scheme=http"

    def fault(self, method: str, path: str, number: int) -> Fault:
        if not self.caught.is_set() and self.held(method, path):
            self.number = number
            self.caught.set()
            self.release.wait(60)
        return None

    def hold(self, held: Callable[[str, str], bool]) -> None:
        self.caught.clear()
        self.release.clear()
        self.held = held

    def who(self) -> int:
        """Return the process whose request is held."""
        port = self.proxy.ports[self.number]
        for connection in psutil.net_connections("tcp"):
            if connection.laddr.port == port and connection.pid not in (None, os.getpid()):
                return int(connection.pid)
        raise AssertionError("nobody holds that connection")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = ":".join(map(str, server.get_host_and_port()))
    client = boto3.client("s3", endpoint_url=f"http://{address}")
    client.create_bucket(Bucket="photos")
    folder = draw_folder(tmp_path_factory.mktemp("images") / "photos", IMAGES // 3)
    for name, data in files_in(folder).items():
        client.put_object(Bucket="photos", Key=f"images/{name}", Body=data)
    with proxied(address) as proxy:
        found = Bucket(proxy)
        proxy.fault = found.fault
        yield found
    server.stop()


@pytest.fixture(scope="module")
def expected(bucket: Bucket, ray_session: str) -> Any:
    """What one machine makes of the images, with the same network in its own pace."""
    quick = options(backbone=f"{NETWORKS}:branching", actors="auto")
    raypipe.extract(bucket.uri("images"), out=bucket.uri("alone"), **quick)
    return raypipe.open(bucket.uri("alone")).to_numpy()


def command(bucket: Bucket, store: str, address: str, options: list[str]) -> list[str]:
    words = ["extract", bucket.uri("images"), "--out", bucket.uri(store), *options]
    return raypipe_command(*words, "--address", address, "--json")


def extract(bucket: Bucket, store: str, address: str, options: list[str]) -> dict[str, Any]:
    done = run(*command(bucket, store, address, options), timeout=240)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def check(bucket: Bucket, store: str, expected: Any) -> None:
    found = raypipe.open(bucket.uri(store)).to_numpy()
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.features, expected.features)


class _Reading:
    """A read by a replica: the driver samples some images before."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, method: str, path: str) -> bool:
        self.seen += method == "GET" and ".png" in path
        return self.seen > 40


def _writing(method: str, path: str) -> bool:
    return method == "PUT" and "/data/part-" in path


def test_three_nodes_give_what_one_gives(cluster: Cluster, bucket: Bucket, expected: Any) -> None:
    cluster.replenish()
    extract(bucket, "three", cluster.address, SLOW)
    check(bucket, "three", expected)


@pytest.mark.parametrize("phase", ["reading", "computing", "writing", "drained"])
def test_a_node_that_dies_takes_nothing_with_it(
    phase: str, cluster: Cluster, bucket: Bucket, expected: Any
) -> None:
    cluster.replenish()
    bucket.hold(_Reading() if phase == "reading" else _writing)
    process = subprocess.Popen(
        command(bucket, phase, cluster.address, SLOW),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=TRUSTED,
    )
    assert bucket.caught.wait(120)
    victim = cluster.node_of(bucket.who())
    if phase in ("computing", "drained"):
        bucket.release.set()  # the unit is written, and the next one is being computed
        time.sleep(1)
    if phase == "drained":
        _drain(cluster, victim)
    kill_all(victim)
    bucket.release.set()
    told, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert json.loads(told)["rows"] == IMAGES
    assert "looking for an image" not in said
    check(bucket, phase, expected)


def _drain(cluster: Cluster, victim: Any) -> None:
    """Tell the cluster that a node will be taken away, as spot nodes are."""
    raylet = next(p for p in psutil.Process(victim.pid).children() if "raylet" in p.name())
    (node,) = [id for id in cluster.alive() if id in " ".join(raylet.cmdline())]
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    deadline = ["--deadline-remaining-seconds", "3"]
    done = run(
        RAY, "drain-node", "--address", cluster.address, "--node-id", node, *reason, *deadline
    )
    assert done.returncode == 0, done.stderr
    time.sleep(3)


@pytest.mark.parametrize("who", ["driver", "head"])
def test_a_job_that_is_killed_goes_on_when_it_is_submitted_again(
    who: str, cluster: Cluster, bucket: Bucket, expected: Any
) -> None:
    cluster.replenish()
    bucket.hold(_writing)
    env = TRUSTED | {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
    process = subprocess.Popen(
        command(bucket, who, cluster.address, SLOW),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert bucket.caught.wait(120)
    bucket.release.set()
    if who == "driver":
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    else:
        kill_all(cluster.head)
        process.communicate(timeout=120)
        assert process.returncode not in (0, None)
        cluster.stop()
        cluster.start()
    summary = extract(bucket, who, cluster.address, SLOW)
    # The nodes may have finished what they had, even without a head.
    assert summary["rows"] == summary["decoded"] + summary["reused"] == IMAGES
    check(bucket, who, expected)
