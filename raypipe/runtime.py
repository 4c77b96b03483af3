"""The only place that touches `ray.init` and `DataContext`; resources, progress, metrics."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import ray
import ray.data

from raypipe.errors import RaypipeError, UsageError
from raypipe.progress import say

__all__ = [
    "ProcessDiedError",
    "Replicas",
    "best_precision",
    "device",
    "first_cause",
    "joblib_backend",
    "on_replica_hardware",
    "plan_replicas",
    "retry_limits",
    "session",
    "slots",
    "stream",
]

_ADDRESS_VARIABLE = "RAY_ADDRESS"
_RETRIES = 3
_KEPT = "finished partitions are kept, and the same command goes on from them"
_NEVER_BEGAN = "error raised in its creation task"
_DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
)
T = TypeVar("T")

_COLOUR = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True)
class Replicas:
    """The actor pool: how many replicas, and what each one takes.

    Attributes:
        min_size: replicas to start with.
        max_size: replicas it may grow to.
        num_cpus: cores a replica reserves.
        num_gpus: GPUs a replica reserves.
        device: torch device within the replica.
        threads: torch threads within the replica.
        batch_size: images per forward pass.
        compiled: whether the network is compiled.
        whole_flow: whether a replica also decodes and writes: where it has no GPU to keep busy.
    """

    min_size: int
    max_size: int
    num_cpus: float
    num_gpus: float
    device: str
    threads: int
    batch_size: int
    compiled: bool
    whole_flow: bool


@contextlib.contextmanager
def session(address: str | None, *, quiet: bool = False) -> Iterator[None]:
    """Use Ray for the length of a block: the one that runs, a cluster, or one started here.

    Args:
        address: `local`, `auto`, an address, or None for RAY_ADDRESS or else local.
        quiet: whether not to say so: it may turn out that it was for nothing.

    Raises:
        UsageError: there is no cluster at the address.
    """
    if ray.is_initialized():
        with _data_context():
            yield
        return
    address = address or os.environ.get(_ADDRESS_VARIABLE) or "local"
    if not quiet:
        say(f"starting Ray ({address})" if address == "local" else f"joining Ray at {address}")
    _connect(address)
    try:
        with _data_context():
            yield
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    _quieten()
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        with _silent_stderr():
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:200]
        raise UsageError(
            f"--address: no Ray cluster at {address!r} ({detail}); "
            "give --address local to start one here"
        ) from None


def _quieten() -> None:
    """Keep Ray's notes on itself away from people's terminals; errors still arrive."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for name in ("ray._private.authentication", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Ray's C++ side writes its greeting straight to file descriptor 2; failures are raised."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


@contextlib.contextmanager
def _data_context() -> Iterator[None]:
    """Set what the flow stands on, and leave the caller's settings as they were."""
    context = ray.data.DataContext.get_current()
    logger = logging.getLogger("ray.data")
    before = (
        context.target_max_block_size,
        context.enable_progress_bars,
        context.max_errored_blocks,
        logger.level,
    )
    # A unit's block must not be split: one unit, one block, one call, one partition.
    context.target_max_block_size = None
    context.enable_progress_bars = False
    context.max_errored_blocks = 0  # it would drop whole blocks in silence
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.target_max_block_size, context.enable_progress_bars = before[:2]
        context.max_errored_blocks = before[2]
        logger.setLevel(before[3])


def plan_replicas(actors: str, batch_size: int, units: int, *, compiled: bool = False) -> Replicas:
    """Return the actor pool for this cluster: a replica per GPU, or one per core without GPUs.

    Args:
        actors: `auto`, `N` or `MIN:MAX`, of checked form.
        batch_size: images per forward pass.
        units: how many units there are; more replicas than that would idle.
        compiled: whether they compile the network.

    Raises:
        UsageError: `actors` asks for more than the cluster has.
    """
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    most = gpus or cpus
    if most == 0:
        raise RaypipeError("the Ray cluster has neither CPUs nor GPUs to compute on")
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


def _pool_size(actors: str, most: int) -> tuple[int, int]:
    if actors == "auto":
        return most, most
    smallest, _, largest = actors.partition(":")
    if int(smallest) > most:
        raise UsageError(
            f"--actors: the cluster has room for {most} replicas; got {actors!r}; "
            f"give at most {most}, or auto"
        )
    return int(smallest), min(int(largest or smallest), most)


class ProcessDiedError(RaypipeError):
    """A process was killed, or crashed, as often as it was started again."""


def retry_limits(*, hasty: bool = False) -> dict[str, Any]:
    """Bound the retries of actors; by default, Ray retries a crashing actor task for ever."""
    retries = 0 if hasty else _RETRIES
    return {"max_restarts": retries, "max_task_retries": retries}


def stream(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    """Run a flow; yield its output blocks as they are finished.

    Raises:
        ProcessDiedError: a process died, and again when it was repeated.
        RaypipeError: a step failed for good; the message is that of the first cause.
    """
    try:
        for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            if len(block):
                yield block
    except _DEATHS as error:
        if _NEVER_BEGAN in str(error):  # no image is to blame
            raise RaypipeError(f"the flow failed: {first_cause(error)}; {_KEPT}") from error
        raise ProcessDiedError(
            f"the flow failed: a process died again and again; {_KEPT}"
        ) from error
    except ray.exceptions.RayError as error:
        raise RaypipeError(f"the flow failed: {first_cause(error)}; {_KEPT}") from error


def first_cause(error: Exception) -> str:
    """Return the line that matters of an error that Ray has wrapped, tracebacks and all."""
    text = _COLOUR.sub("", str(error)).strip()
    first, marker, _ = text.partition("\nThe above exception was the direct cause")
    lines = [line for line in first.splitlines() if line.strip()]
    last = marker or _NEVER_BEGAN in first
    return lines[-1 if last else 0].strip() if lines else type(error).__name__


def device() -> str:
    """Return the torch device that replicas will use."""
    return "cuda" if int(ray.cluster_resources().get("GPU", 0)) else "cpu"


def slots() -> int:
    """Return how many replicas there is room for: one per GPU, or one per core without GPUs."""
    resources = ray.cluster_resources()
    return int(resources.get("GPU", 0)) or max(1, int(resources.get("CPU", 0)))


def best_precision() -> str:
    """Return what `--precision auto` means on the hardware that replicas will run on."""
    return on_replica_hardware(_precision_here)


def on_replica_hardware(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call a function where a replica could run: here, if this machine is all there is."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if len(ray.nodes()) == 1 and not gpus:
        return function(*arguments, **options)
    remote = ray.remote(num_cpus=0 if gpus else 1, num_gpus=1 if gpus else 0)(function)
    try:
        result: T = ray.get(remote.remote(*arguments, **options))
    except ray.exceptions.RayError as error:
        raise RaypipeError(first_cause(error)) from error
    return result


def _precision_here() -> str:
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    capabilities = torch.backends.cpu.get_cpu_capability()
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native and "AVX512" in capabilities else "fp32"


@contextlib.contextmanager
def joblib_backend() -> Iterator[None]:
    """Run scikit-learn's parallel loops on Ray."""
    import joblib
    from ray.util.joblib import register_ray

    register_ray()
    logging.getLogger("ray.util.multiprocessing.pool").setLevel(logging.ERROR)
    with joblib.parallel_config(backend="ray", n_jobs=-1):
        yield
