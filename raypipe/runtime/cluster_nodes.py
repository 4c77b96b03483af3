"""The nodes of a cluster: waiting for some to start, and what they see."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe import schema
from raypipe.display import say
from raypipe.errors import RaypipeError, UsageError
from raypipe.sources import local_file
from raypipe.storage import Storage

_PATIENCE = 20 * 60.0
_TELL_SECONDS = 10.0


def alive_nodes() -> list[dict[str, Any]]:
    """Return the nodes that are there, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def largest_node() -> str:
    """Return what the node with the most to compute on has, in words."""
    counts = [(n["Resources"].get("GPU", 0), n["Resources"].get("CPU", 0)) for n in alive_nodes()]
    gpus, cpus = max(counts, default=(0, 0))
    return f"{cpus:g} CPU cores and {gpus:g} GPUs"


def wait_for(kind: Literal["gpu", "cpu", "none"]) -> None:
    """Wait until the cluster has a node with a GPU, or with a CPU core, and ask it for one.

    Raises:
        RaypipeError: there is none after 20 minutes.
    """
    resource = kind.upper()
    if kind == "none" or any(node["Resources"].get(resource, 0) >= 1 for node in alive_nodes()):
        return
    say(f"waiting for a node with a {resource}, for {_PATIENCE / 60:.0f} minutes at most")
    needs = {"num_gpus": 1, "num_cpus": 0} if kind == "gpu" else {"num_cpus": 1}
    demand = ray.remote(max_retries=3, **needs)(_nothing).remote()  # what makes a cluster grow
    started = time.monotonic()
    while not ray.wait([demand], timeout=min(_TELL_SECONDS, _PATIENCE))[0]:
        waited = time.monotonic() - started
        if waited >= _PATIENCE:
            ray.cancel(demand)
            raise RaypipeError(
                f"--wait-for {kind}: the cluster has started no node with a {resource} within "
                f"{_PATIENCE / 60:.0f} minutes; its largest has {largest_node()}"
            )
        say(
            f"waiting for a node with a {resource}, {waited:.0f} s so far; the largest has "
            f"{largest_node()}"
        )
    ray.get(demand)


def _nothing() -> None:
    pass


def check_reach(items: Iterable[pa.Table], source: str, storage: Storage | None) -> None:
    """Make sure that every node sees what the work is done on.

    Args:
        items: some of what is to be read.
        source: where they come from, for messages.
        storage: the store that is written, whose folder is there; None for none.

    Raises:
        UsageError: a node does not see one of them.
    """
    if storage is not None and storage.folder is not None:
        # A file made now: a store that is yet to be has none of its own.
        probe = storage.folder.resolve() / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        try:
            check_seen([probe], storage.uri, "--out")
        finally:
            probe.unlink(missing_ok=True)
    uris = {uri for some in items for uri in some[schema.URI].to_pylist()}
    files = {file for uri in uris if (file := local_file(uri)) is not None}
    check_seen(files, source, "SOURCE")


def check_seen(files: Iterable[Path], what: str, option: str) -> None:
    """Make sure that every node sees files that this machine has.

    Args:
        files: those that are not here, either, do not count.
        what: they belong to, for messages.
        option: the command line's name for that.

    Raises:
        UsageError: a node does not see one.
    """
    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in alive_nodes() if {"CPU", "GPU"} & set(node["Resources"])]
    paths = [str(file) for file in files if file.exists()]
    if not paths or all(node["NodeID"] == here for node in nodes):
        return
    look = ray.remote(num_cpus=0)(_are_there)
    answers = [
        # A node may go meanwhile: that is no reason to fail.
        look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
        ).remote(paths)
        for node in nodes
    ]
    for node, seen in zip(nodes, ray.get(answers), strict=True):
        if not seen:
            raise UsageError(
                f"{option}: node {node['NodeManagerAddress']} of the cluster does not see "
                f"{what!r}; give a bucket (s3://, gs://) or a path on a drive that every "
                "node mounts"
            )


def _are_there(paths: list[str]) -> bool:
    return all(Path(path).exists() for path in paths)
