"""Feature shards in actors over the whole cluster, for fits that go over them many times."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from raypipe.actors.shard_plan import Loaded, ShardPlan
from raypipe.config.values import ANY_NUMBER, Actors
from raypipe.display import say
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit.sums import COMBINE, Partials, reduce_tree
from raypipe.memory import readable
from raypipe.runtime import alive_nodes, first_cause, retry_limits
from raypipe.store.cache import flatten
from raypipe.store.index import RowIndex
from raypipe.store.reader import StoreReader

Array = npt.NDArray[Any]

_SHARD_BYTES = 2**23
_MOST_SHARDS = 256
_MOST_ACTORS_PER_NODE = 8
_PATIENCE_SECONDS = 20


@dataclass(frozen=True)
class RowsToFit:
    """Which rows of a store are used, and how.

    Attributes:
        store: the snapshot.
        column: its feature column.
        index: its rows.
        groups: (N,) group of each row of the index; a negative one leaves it out.
        group_count: how many groups there are.
        codes: (N,) class number of each row, or None.
        to_rows: makes (N, D) of (N, …) features.
    """

    store: StoreReader
    column: str
    index: RowIndex
    groups: npt.NDArray[np.int8]
    group_count: int = 1
    codes: npt.NDArray[np.int32] | None = None
    to_rows: Callable[[Array], Array] = flatten


def plan_shards(rows: RowsToFit, width: int) -> list[ShardPlan]:
    """Cut the partitions into runs: the shards. They depend on the rows alone."""
    groups = rows.index.by_partition(rows.groups)
    codes = None if rows.codes is None else rows.index.by_partition(rows.codes)
    kept = np.array([int((group >= 0).sum()) for group in groups])
    size = 4 * max(1, width)
    target = max(_SHARD_BYTES // size, -(-int(kept.sum()) // _MOST_SHARDS), 1)
    plans: list[ShardPlan] = []
    start, first = 0, 0
    for end in range(1, len(kept) + 1):
        count = int(kept[start:end].sum())
        if count < target and end < len(kept):
            continue
        parts = tuple(range(start, end))
        own = None if codes is None else tuple(codes[p] for p in parts)
        chosen = tuple(groups[p] for p in parts)
        plans.append(ShardPlan(len(plans), first, parts, chosen, rows.group_count, own))
        start, first = end, first + count
    return plans


class ShardsActor:
    """`Shards` in an actor. The driver does without PyTorch, which they need."""

    def __init__(self, *given: Any, **options: Any) -> None:
        from raypipe.actors.shards import Shards

        self.shards = Shards(*given, **options)

    def load(self) -> list[tuple[int, Loaded]]:
        """Read the shards."""
        return self.shards.load()

    def total(self, step: str, *arguments: Any) -> Partials:
        """Run a step and add up what can be added up here."""
        return self.shards.total(step, *arguments)

    def each(self, step: str, *arguments: Any) -> list[tuple[int, Any]]:
        """Run a step on each shard."""
        return self.shards.each(step, *arguments)


class ShardPool:
    """Actors that hold the shards, each a run of them. Use it as a context: it ends the actors.

    An actor that is lost is started again elsewhere and reads its shards again.

    Args:
        rows: the rows.
        actors: how many are asked for.
        memory: bytes each actor may take; None takes what is free.

    Attributes:
        width: values in a row.
        stored: for each shard where its rows are stored, as in `RowIndex.order`, in the order in
            which a step sees them.

    Raises:
        UsageError: `actors` are more than the cluster has room for.
    """

    def __init__(
        self, rows: RowsToFit, *, actors: Actors = ANY_NUMBER, memory: int | None = None
    ) -> None:
        width = int(np.prod(rows.store.shapes[rows.column]))
        plans = plan_shards(rows, width)
        self._count = len(plans)
        self.stored = _stored_rows(rows, plans)
        number, threads, gpu = _layout(actors, len(plans))
        nodes = max(1, len(alive_nodes()))
        remote = ray.remote(ShardsActor).options(
            num_cpus=0 if gpu else threads,
            num_gpus=1 if gpu else 0,
            scheduling_strategy="SPREAD",
            **retry_limits(),
        )
        runs = np.array_split(np.array(plans, dtype=object), number)
        # An actor that is started again needs them again.
        self._plans = [ray.put(list(run)) for run in runs]
        self._actors = [
            remote.remote(
                rows.store.uri,
                rows.store.snapshot.number,
                rows.column,
                plans_of_actor,
                self._count,
                memory=memory,
                sharing=-(-number // nodes),
                to_rows=rows.to_rows,
                device="cuda" if gpu else "cpu",
                threads=threads,
            )
            for plans_of_actor in self._plans
        ]
        try:
            loaded = self._load()
        except BaseException:
            self.close()
            raise
        self.width = next((one.width for one in loaded if one.width), width)
        self._say(loaded, len(self._actors), gpu)

    def __enter__(self) -> ShardPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            with contextlib.suppress(Exception):
                ray.kill(actor)

    def total(self, step: str, *arguments: Any) -> Any:
        """Run a step of `fit.steps` on every shard; return the sum, in an order that is fixed."""
        partials: Partials = {}
        for found in self._call("total", step, arguments):
            partials |= found
        (result,) = reduce_tree(partials, self._count, COMBINE[step]).values()
        return result

    def each(self, step: str, *arguments: Any) -> list[Any]:
        """Run a step of `fit.steps` on every shard; return the results in order."""
        found = [pair for pairs in self._call("each", step, arguments) for pair in pairs]
        return [value for _, value in sorted(found, key=lambda pair: pair[0])]

    def _call(self, method: str, step: str, arguments: Sequence[Any]) -> list[Any]:
        shared = [ray.put(argument) for argument in arguments]
        return _get([getattr(actor, method).remote(step, *shared) for actor in self._actors])

    def _load(self) -> list[Loaded]:
        pending = [actor.load.remote() for actor in self._actors]
        ready, _ = ray.wait(pending, num_returns=len(pending), timeout=_PATIENCE_SECONDS)
        if not ready:
            say(f"waiting for {len(pending)} actors to start and read their shards")
        found = [pair for pairs in _get(pending) for pair in pairs]
        return [loaded for _, loaded in sorted(found, key=lambda pair: pair[0])]

    def _say(self, loaded: Sequence[Loaded], actors: int, gpu: bool) -> None:
        held = readable(sum(one.in_memory for one in loaded))
        filed = sum(one.in_file for one in loaded)
        rest = f", {readable(filed)} in local files" if filed else ""
        kind = "GPU" if gpu else "CPU"
        say(f"{self._count} shards in {actors} {kind} actors: {held} in memory{rest}")


def _stored_rows(rows: RowsToFit, plans: Sequence[ShardPlan]) -> list[npt.NDArray[np.int64]]:
    starts = np.concatenate([[0], np.cumsum(rows.index.lengths)])
    found = []
    for plan in plans:
        group = np.concatenate(plan.groups)
        kept = np.flatnonzero(group >= 0)
        found.append(starts[plan.parts[0]] + kept[np.argsort(group[kept], kind="stable")])
    return found


def _get(references: Sequence[Any]) -> list[Any]:
    """Return the results.

    Raises:
        RaypipeError: an actor failed for good; the message is that of the first cause.
    """
    try:
        return list(ray.get(list(references)))
    except ray.exceptions.RayError as error:
        raise RaypipeError(f"the fit failed: {first_cause(error)}") from error


def _layout(actors: Actors, shards: int) -> tuple[int, int, bool]:
    """Return the number of actors, the threads of each, and whether they have GPUs."""
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    nodes = [int(n["Resources"].get("CPU", 0)) for n in alive_nodes()]
    threads = max(1, max(nodes, default=1) // _MOST_ACTORS_PER_NODE)
    most = gpus or sum(count // threads for count in nodes) or cpus
    least, upper = actors.bounds or (1, most)
    if actors.bounds and least > most:
        raise UsageError(
            f"--actors: the cluster has room for {most} of {threads} threads; got {actors.text!r}"
        )
    return max(1, min(upper, most, shards)), threads, bool(gpus)
