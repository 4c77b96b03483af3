"""The pool of replicas that a cluster has room for, and what they run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import ray

from raypipe.config.values import Actors
from raypipe.errors import RaypipeError, UsageError
from raypipe.runtime.cluster_nodes import alive_nodes, largest_node
from raypipe.runtime.streams import first_cause
from raypipe.steps.pool_plan import Replicas

T = TypeVar("T")


def plan_replicas(
    actors: Actors, batch_size: int, units: int, *, compiled: bool = False
) -> Replicas:
    """Return the actor pool for this cluster: a replica per GPU, or one per core without GPUs.

    Args:
        actors: how many are asked for.
        batch_size: images per forward pass.
        units: how many units there are; more replicas than that would idle.
        compiled: whether they compile the network.

    Raises:
        UsageError: `actors` asks for more than the cluster has.
    """
    gpus = _room("GPU")
    most = gpus or _room("CPU")
    if most == 0:
        raise UsageError(
            "--address: no node of the Ray cluster has room for a replica, which takes a GPU or "
            f"a CPU core; the largest has {largest_node()}; add nodes, or give --wait-for gpu "
            "(or cpu) if the cluster starts them when they are asked for"
        )
    smallest, largest = _pool_size(actors, most)
    largest = max(1, min(largest, units))
    return Replicas(
        min_size=min(smallest, largest),
        max_size=largest,
        num_cpus=0 if gpus else 1,
        num_gpus=1 if gpus else 0,
        device=device(),
        threads=1,
        batch_size=batch_size,
        compiled=compiled,
        whole_flow=not gpus,
    )


def _pool_size(actors: Actors, most: int) -> tuple[int, int]:
    if actors.bounds is None:
        return most, most
    smallest, largest = actors.bounds
    if smallest > most:
        raise UsageError(
            f"--actors: the cluster has room for {most} replicas; got {actors.text!r}; "
            f"give at most {most}, or auto"
        )
    # A cluster may grow; one machine does not.
    return smallest, largest if len(alive_nodes()) > 1 else min(largest, most)


def _room(resource: str) -> int:
    """Return how many whole ones the nodes have, each by itself."""
    return sum(int(node["Resources"].get(resource, 0)) for node in alive_nodes())


def device() -> str:
    """Return the torch device that replicas will use."""
    return "cuda" if _room("GPU") else "cpu"


def slots() -> int:
    """Return how many replicas there is room for: one per GPU, or one per core without GPUs."""
    return _room("GPU") or max(1, _room("CPU"))


def cores() -> int:
    """Return how many CPU cores there are, on all nodes together."""
    return max(1, _room("CPU"))


def best_precision() -> str:
    """Return what `--precision auto` means on the hardware that replicas will run on."""
    from raypipe.backbone.hardware.precision import native_precision  # takes torch

    return on_replica_hardware(native_precision)


def on_replica_hardware(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call a function where a replica could run: here, if this machine is all there is."""
    gpus = _room("GPU")
    if len(alive_nodes()) == 1 and not gpus:
        return function(*arguments, **options)
    remote = ray.remote(num_cpus=0 if gpus else 1, num_gpus=1 if gpus else 0)(_call)
    try:
        result: T = ray.get(remote.remote(function, *arguments, **options))
    except ray.exceptions.RayError as error:
        raise RaypipeError(first_cause(error)) from error
    return result


def _call(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call anything: Ray itself takes plain functions only."""
    return function(*arguments, **options)
