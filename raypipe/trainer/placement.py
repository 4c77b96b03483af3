"""How workers are spread over a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raypipe.errors import UsageError
from raypipe.runtime import alive_nodes

__all__ = ["Placement", "place"]


@dataclass(frozen=True)
class Placement:
    """Workers, and what each one reserves.

    Attributes:
        workers: how many; 0 trains within the driver.
        cpus: cores of each.
        gpus: GPUs of each, 0 or 1.
    """

    workers: int
    cpus: int
    gpus: int


def place(workers: int | None) -> Placement:
    """Return how workers are spread over this cluster.

    Args:
        workers: how many; None is one for each GPU, else one; 0 trains within the driver.

    Raises:
        UsageError: the cluster has no room for them, so that they would wait for ever.
    """
    if workers == 0:
        return Placement(0, 0, 0)
    nodes = [_room(node["Resources"]) for node in alive_nodes()]
    gpus = sum(min(node) for node in nodes)
    room = gpus or sum(cpus for cpus, _ in nodes)
    count = workers or gpus or 1
    if count > room:
        raise UsageError(
            f"--workers: the cluster has {room} {'GPUs' if gpus else 'CPU cores'}, and each worker "
            f"takes one; got {count}; give at most {room}"
        )
    return Placement(count, 1 if gpus else _cores(nodes, count), 1 if gpus else 0)


def _room(resources: dict[str, Any]) -> tuple[int, int]:
    return int(resources.get("CPU", 0)), int(resources.get("GPU", 0))


def _cores(nodes: list[tuple[int, int]], workers: int) -> int:
    """Return the most cores that every worker can have."""
    most = max(cpus for cpus, _ in nodes)
    return next(
        cores for cores in range(most, 0, -1) if sum(cpus // cores for cpus, _ in nodes) >= workers
    )
