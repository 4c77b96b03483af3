"""The pool of replicas that a cluster has room for, and what they run on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe.config.values import Actors
from raypipe.display import say
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
    smallest, largest = check_room(actors)
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


def check_room(actors: Actors) -> tuple[int, int]:
    """Return how many replicas there are to be at first, and at most.

    Raises:
        UsageError: the cluster has room for none, or `actors` asks for more than it has.
    """
    most = _most()
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


def _most() -> int:
    """Return how many replicas the cluster has room for. Raises UsageError: for none."""
    most = _room("GPU") or _room("CPU")
    if most == 0:
        raise UsageError(
            "--address: no node of the Ray cluster has room for a replica, which takes a GPU or "
            f"a CPU core; the largest has {largest_node()}; add nodes, or give --wait-for gpu "
            "(or cpu) if the cluster starts them when they are asked for"
        )
    return most


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
    """Return what `--precision auto` means on the hardware that replicas will run on.

    Where nodes differ, it is what all of them are fast at: features of one store go together.

    Raises:
        UsageError: there is no room for a replica.
    """
    from raypipe.backbone.hardware.precision import native_precision  # takes torch

    return common_precision(on_all_hardware(native_precision))


def common_precision(found: Sequence[str]) -> str:
    """Return what all nodes are fast at, given what each is fastest at; GPUs all have fp16."""
    common = next(precision for precision in ("fp32", "fp16", "bf16") if precision in found)
    if len(set(found)) > 1:
        say(f"nodes differ: {', '.join(sorted(set(found)))}; taking {common}, which all have")
    return common


def on_all_hardware(function: Callable[[], T]) -> list[T]:
    """Call a function on each node where a replica could run.

    Raises:
        UsageError: there is none.
    """
    _most()
    kind = "GPU" if _room("GPU") else "CPU"
    nodes = [node for node in alive_nodes() if node["Resources"].get(kind, 0) >= 1]
    if len(alive_nodes()) == 1 and kind == "CPU":
        return [function()]
    look = ray.remote(num_cpus=0, num_gpus=1 if kind == "GPU" else 0)(_call)
    asked = [
        # A node may go meanwhile: that is no reason to fail.
        look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
        ).remote(function)
        for node in nodes
    ]
    try:
        found: list[T] = ray.get(asked)
    except ray.exceptions.RayError as error:
        raise RaypipeError(first_cause(error)) from error
    return found


def on_replica_hardware(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call a function where a replica could run: here, if this machine is all there is.

    Raises:
        UsageError: there is no room for one.
    """
    _most()
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
