"""The processes of a rehearsal: as many as an extraction has, and gone without a trace."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe.errors import RaypipeError
from raypipe.rehearsal.core import Core
from raypipe.rehearsal.device import Device
from raypipe.rehearsal.flow import Flow
from raypipe.rehearsal.sample import share
from raypipe.rehearsal.whole import Whole
from raypipe.runtime import first_cause

__all__ = ["Company", "answers", "company"]

_START_SECONDS = 300.0
_END_SECONDS = 10.0
_REMOVE_SECONDS = 60.0  # a busy machine takes its time to start a worker


@dataclass(frozen=True)
class Company:
    """The actors on cores, and those with replicas; they are the same ones without GPUs."""

    cores: list[Any]
    devices: list[Any]

    @property
    def everyone(self) -> list[Any]:
        """All of them, each once."""
        return self.cores if self.cores is self.devices else [*self.cores, *self.devices]


@contextlib.contextmanager
def company(flow: Flow, items: pa.Table | list[bytes]) -> Iterator[Company]:
    """Start the processes; end them and remove what they have written, whatever happens.

    Raises:
        RaypipeError: there is no room for them.
    """
    actors = Company([], [])
    try:
        actors = _start(flow, items)
        answers(actors.everyone, "place", seconds=_START_SECONDS)
        yield actors
    finally:
        for actor in actors.everyone:
            ray.kill(actor)
        for actor in actors.everyone:  # one that still runs could write once more
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(actor.place.remote(), timeout=_END_SECONDS)
        _remove_everywhere(flow.folder)


def answers(
    actors: Sequence[Any], method: str, *arguments: Any, seconds: float | None = None
) -> Any:
    """Call a method of all actors at the same time; return a list of what they answer.

    Args:
        actors: the processes.
        method: its name.
        arguments: the same for all.
        seconds: how long to wait; None is for ever.

    Raises:
        RaypipeError: one of them failed, or did not answer in time.
    """
    return gather([getattr(actor, method).remote(*arguments) for actor in actors], seconds)


def gather(references: list[ray.ObjectRef], seconds: float | None = None) -> Any:
    """Wait for results.

    Raises:
        RaypipeError: as for `answers`.
    """
    try:
        return ray.get(references, timeout=seconds)
    except ray.exceptions.GetTimeoutError:
        raise RaypipeError(
            f"--actors: {len(references)} processes did not start within {seconds:.0f} s; the "
            "cluster has no room for them now"
        ) from None
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, RaypipeError):
            raise RaypipeError(str(cause)) from None
        raise RaypipeError(f"the rehearsal failed: {cause or first_cause(error)}") from error


def _start(flow: Flow, items: pa.Table | list[bytes]) -> Company:
    replicas = flow.replicas
    count = replicas.max_size
    if replicas.whole_flow:
        whole = ray.remote(Whole).options(num_cpus=replicas.num_cpus)
        actors = [whole.remote(flow, n, _part(items, n, count)) for n in range(count)]
        return Company(actors, actors)
    cores = int(ray.cluster_resources().get("CPU", 0))
    if not cores:
        raise RaypipeError("the Ray cluster has no CPU cores to decode on")
    core, device = ray.remote(Core).options(num_cpus=1), ray.remote(Device)
    device = device.options(num_cpus=replicas.num_cpus, num_gpus=replicas.num_gpus)
    return Company(
        [core.remote(flow, n, _part(items, n, cores)) for n in range(cores)],
        [device.remote(flow) for _ in range(count)],
    )


def _part(items: pa.Table | list[bytes], number: int, count: int) -> pa.Table | list[bytes]:
    return items if isinstance(items, list) else share(items, number, count)


def _remove_everywhere(folder: str) -> None:
    """Remove the folder on all nodes: it need not be one that they share."""
    # Not a function of this package: the worker that runs it would keep PyTorch.
    remove = ray.remote(num_cpus=0)(shutil.rmtree)
    jobs = []
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            jobs.append(remove.options(scheduling_strategy=there).remote(folder, True))
    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(jobs, timeout=_REMOVE_SECONDS)
