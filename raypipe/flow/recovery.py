"""Going on without the images that kill the process that decodes them.

Ray starts a process that died again and repeats its unit, a few times. If that does not help, the
flow has failed, and is run again in a way that notes which units are being worked on: when a
process dies now, they are the suspects. Each is decoded by itself, and in halves, down to single
images; one that kills its process every time becomes a reject, and the flow goes on. Where none
does so by itself, it goes on with half of the replicas. Where a whole node dies, no image is to
blame, and the flow is run again for what is not done.

It seldom comes to this: on one node, `steps.guard` finds the image while Ray repeats its unit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe import schema
from raypipe.display import say
from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.rows.unit import Unit, pack_items
from raypipe.runtime import ProcessDiedError, alive_nodes, first_cause
from raypipe.sources.members import spell_reject
from raypipe.steps.batch import ReadOptions
from raypipe.steps.guard import TIMES as _TIMES
from raypipe.steps.guard import forget, guard_of
from raypipe.steps.read import decoded

#: How often a process may die for no reason that can be found, before the flow is given up.
_RIDDLES = 8
#: How often in a row nodes may die before anything is done.
_LOSSES = 5
#: Seconds until a cluster knows that a node has died: it asks each five times, every three seconds.
_KNOWN_SECONDS, _POLL_SECONDS = 20.0, 0.5

T = TypeVar("T")
Run = Callable[[list[Unit], Any, int], Iterable[T]]


@ray.remote(num_cpus=0)
class Ledger:
    """Knows which units are being worked on."""

    def __init__(self) -> None:
        self._open: dict[str, None] = {}

    def start(self, unit: str) -> None:
        """Note that work on a unit begins."""
        self._open[unit] = None

    def finish(self, unit: str) -> None:
        """Note that it is done."""
        self._open.pop(unit, None)

    def unfinished(self) -> list[str]:
        """Return what has begun and is not done."""
        return list(self._open)


def survive(
    units: list[Unit],
    run: Run[T],
    options: ReadOptions,
    *,
    of_result: Callable[[T], Hashable],
    of_unit: Callable[[Unit], Hashable],
) -> Iterator[T]:
    """Run a flow to its end, whatever some images do to its processes; yield its results.

    Args:
        units: what is to be done.
        run: runs the flow over some units, with a `Ledger` to tell or None, and with half of the
            replicas so many times over.
        options: how items are read.
        of_result: what a result and its unit have in common.
        of_unit: the same of the unit.

    Raises:
        RaypipeError: the flow failed for another reason, or processes die and no image can be
            found that is to blame.
    """
    ledger, riddles, losses = None, 0, 0
    while units:
        done: set[Hashable] = set()
        nodes = _nodes()
        try:
            for result in run(units, ledger, riddles):
                done.add(of_result(result))
                yield result
            break
        except ProcessDiedError as error:
            units = [unit for unit in units if of_unit(unit) not in done]
            if _some_have_died(nodes) or error.with_node:
                losses = 0 if done else losses + 1
                if losses == _LOSSES:
                    raise
                say("a node has died; going on with the others")
                ledger = None  # no image is to blame: Ray repeats units again
                continue
            if ledger is None:
                say(f"{error}. Going on, looking for an image that does it")
            else:
                cured = _without_poison(units, ray.get(ledger.unfinished.remote()), options)
                riddles += not cured
                if riddles == _RIDDLES:
                    raise
                if not cured:
                    say("no image does it by itself; going on with fewer at a time")
                units = [cured.get(unit.id, unit) for unit in units]
            ledger = _new_ledger()
    if options.limits is not None:
        forget(options.limits.run)


def _nodes() -> set[str]:
    return {node["NodeID"] for node in alive_nodes()}


def _some_have_died(nodes: set[str]) -> bool:
    """Whether one of several nodes has died, of which the cluster knows later than of processes."""
    until = time.monotonic() + _KNOWN_SECONDS
    while len(nodes) > 1:
        if nodes - _nodes():
            return True
        if time.monotonic() >= until:
            break
        time.sleep(_POLL_SECONDS)
    return False


def _new_ledger() -> Any:
    """Start a ledger beside the driver, which is lost without it anyway."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Ledger.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]


def _without_poison(
    units: list[Unit], suspects: list[str], options: ReadOptions
) -> dict[str, Unit]:
    """Return the suspects that hold poison, by id, with rejects in the place of that."""
    cured = {}
    for unit in units:
        if unit.id not in suspects:
            continue
        items = unit.items
        rows = dict(_poison(items, 0, len(items), options))
        if rows:
            uris = items[schema.URI].to_pylist()
            for row, reject in rows.items():
                say(f"{items[schema.ID][row]}: kills its process; it becomes a reject")
                uris[row] = spell_reject(reject.reason, reject.message)
            column = items.schema.get_field_index(schema.URI)
            field = schema.ITEMS.field(schema.URI)
            items = items.set_column(column, field, pa.array(uris, pa.string()))
            cured[unit.id] = replace(unit, data=pack_items(items))
    return cured


def _poison(
    items: pa.Table, start: int, stop: int, options: ReadOptions
) -> Iterator[tuple[int, RejectedItem]]:
    """Yield the rows of a range that kill their process by themselves, and what is to be said."""
    part = items.slice(start, stop - start)
    for _ in range(_TIMES if stop - start == 1 else 1):
        blamed = _blamed(part, options)
        if blamed is not None:
            yield from ((start + row, reject) for row, reject in blamed.items())
            return
    if stop - start == 1:
        uri = items[schema.URI][start].as_py()
        message = f"its process died {_TIMES} times decoding {uri}"
        yield start, RejectedItem(RejectReason.CRASHED, message)
        return
    middle = (start + stop) // 2
    yield from _poison(items, start, middle, options)
    yield from _poison(items, middle, stop, options)


def _blamed(items: pa.Table, options: ReadOptions) -> dict[int, RejectedItem] | None:
    """Decode some items in a process that does nothing else; None if it dies.

    Returns:
        Those that are known, where that process ran, to end theirs, by row.
    """
    attempt = ray.remote(num_cpus=1, max_retries=0)(_decode_all)
    try:
        found = ray.get(attempt.remote(items, options))
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        return None
    except ray.exceptions.RayError as error:
        raise RaypipeError(f"the flow failed: {first_cause(error)}") from error
    return {row: RejectedItem(RejectReason(reason), text) for row, reason, text in found}


def _decode_all(items: pa.Table, options: ReadOptions) -> list[tuple[int, str, str]]:
    found = [one if isinstance(one, RejectedItem) else None for one in decoded(items, options)]
    guard = guard_of(options.limits) if options.limits else None
    uris = items[schema.URI].to_pylist()
    return [
        (row, reject.reason.value, reject.message)
        for row, reject in enumerate(found)
        if reject is not None and guard is not None and guard.blame(uris[row])
    ]
