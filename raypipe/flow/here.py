"""The flow in this process, for work of seconds: no Ray, which takes as long to start.

    units ─ read and decode ─ resize ─ embed ─ finish
            a process apart   threads, one of each kind per core

The steps are those of a replica. Images are decoded in processes apart (`steps.apart`), so that one
that ends its process is a reject.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from raypipe.config.values import Actors
from raypipe.errors import RaypipeError, RejectedItem, UsageError
from raypipe.flow.kept import Kept
from raypipe.images import Pixels
from raypipe.memory import keep_freed
from raypipe.rows.unit import Unit
from raypipe.steps.apart import DECODERS, decoded_apart, limited
from raypipe.steps.batch import ITEMS, UNIT, ReadOptions
from raypipe.steps.embed import read_and_embed
from raypipe.steps.pool_plan import Replicas
from raypipe.steps.read import Fetch, one_server
from raypipe.storage import Storage

if TYPE_CHECKING:  # they take torch
    from raypipe.actors.embedder import Embedder
    from raypipe.backbone import Backbone
    from raypipe.flow.executor import Finish

T = TypeVar("T")
_EMBEDDERS: Kept[Embedder] = Kept()
#: Replicas at most: they are made one after the other. Where there are more cores, Ray has more.
_MOST = 8
_KEPT = "finished partitions are kept, and the same command goes on from them"


class Here:
    """Runs the steps in threads of this process; an `Executor`.

    Args:
        stays: whether it does so however long it takes.
    """

    def __init__(self, *, stays: bool = False) -> None:
        self.stays = stays

    def device(self) -> str:
        """Return the torch device: a GPU if there is one."""
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def slots(self) -> int:
        """Return how many replicas there is room for: one per core, or one where there are GPUs."""
        from joblib import cpu_count

        return 1 if self.device() == "cuda" else min(_MOST, int(cpu_count()))

    def best_precision(self) -> str:
        """Return what `--precision auto` means here."""
        from raypipe.backbone.hardware.precision import native_precision

        return native_precision()

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a function."""
        return function(*arguments, **options)

    def replicas(
        self, actors: Actors, batch_size: int, units: int, *, compiled: bool = False
    ) -> Replicas:
        """Plan a replica per core; see `Executor`."""
        most = self.slots()
        largest = actors.bounds[1] if actors.bounds else most
        count, device = max(1, min(largest, most, units)), self.device()
        return Replicas(
            min_size=count,
            max_size=count,
            num_cpus=1,
            num_gpus=0 if device == "cpu" else 1,
            device=device,
            threads=1,
            batch_size=batch_size,
            compiled=compiled,
            whole_flow=True,
        )

    def check_reach(self, items: Iterable[pa.Table], source: str, storage: Storage | None) -> None:
        """This machine sees what it has listed."""

    def run(
        self,
        units: list[Unit],
        backbone: Backbone,
        options: ReadOptions,
        replicas: Replicas,
        finish: Finish,
        key: str,  # noqa: ARG002 - nothing has to be run again
    ) -> Iterator[pa.Table]:
        """Run the steps; see `Executor`."""
        if options.spec.preprocess.gpu_decoded:
            raise UsageError(
                "--gpu-decode: images are decoded by GPUs on Ray only; use the command"
            )
        keep_freed()
        DECODERS.start(replicas.max_size)
        stopped, idle = threading.Event(), queue.SimpleQueue["Embedder"]()

        def decoded(
            items: pa.Table, options: ReadOptions, fetch: Fetch
        ) -> Iterator[Pixels | RejectedItem]:
            for one in decoded_apart(items, options, fetch):
                if stopped.is_set():
                    raise _Stopped
                yield one

        def work(unit: Unit) -> Any:
            if stopped.is_set():
                raise _Stopped
            batch = {UNIT: np.array([unit.id]), ITEMS: np.array([unit.data], object)}
            embedder = idle.get()
            try:
                embedded = read_and_embed(
                    batch, embedder=embedder.stream, options=within, contents=decoded
                )
            finally:  # or who is next would wait for ever
                idle.put(embedder)
            return finish(embedded)

        with (
            limited(replace(options, one_server=one_server(units))) as within,
            _same_threads_after(),
            _told(),
            _embedders(backbone, options, replicas) as every,
            ThreadPoolExecutor(replicas.max_size) as pool,
        ):
            for one in every:
                idle.put(one)
            waiting = [pool.submit(work, unit) for unit in units]
            try:
                for done in as_completed(waiting):
                    yield done.result()
            finally:
                stopped.set()


@contextlib.contextmanager
def _embedders(
    backbone: Backbone, options: ReadOptions, replicas: Replicas
) -> Iterator[list[Embedder]]:
    """Have one for each replica.

    All are made before any of them computes, one after the other: while torch.fx builds a network
    anew, calls of all modules of the process go through it.
    """
    same = (options.spec.fingerprint, replicas)
    make = partial(_embedder, backbone, options, replicas)
    with contextlib.ExitStack() as held:
        yield [held.enter_context(_EMBEDDERS.one(same, make)) for _ in range(replicas.max_size)]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell in one line what a step has failed of."""
    try:
        yield
    except RaypipeError:
        raise
    except Exception as error:  # the network is the user's: it may raise anything
        cause = f"{type(error).__name__}: {error}"
        raise RaypipeError(f"the flow failed: {cause}; {_KEPT}") from error


class _Stopped(Exception):  # noqa: N818 - ends threads whose results nobody waits for
    pass


def _embedder(backbone: Backbone, options: ReadOptions, replicas: Replicas) -> Embedder:
    from raypipe.actors.embedder import Embedder

    return Embedder(
        backbone,
        options.spec,
        device=replicas.device,
        batch_size=replicas.batch_size,
        threads=replicas.threads,
        compiled=replicas.compiled,
    )


@contextlib.contextmanager
def _same_threads_after() -> Iterator[None]:
    """Give torch back the number of threads that replicas change for all of the process."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
