"""Going on without the images that kill the process that decodes them.

Ray starts a process that died again and repeats its unit, a few times. If that does not help, the
flow has failed, and is run again in a way that notes which units are being worked on: when a
process dies now, they are the suspects. Each is decoded by itself, and in halves, down to single
images; one that kills its process every time becomes a reject, and the flow goes on. Where a whole
node dies, no image is to blame, and the flow is run again for what is not done.
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
from raypipe.errors import RaypipeError, RejectReason
from raypipe.rows.unit import Unit, pack_items
from raypipe.runtime import ProcessDiedError, first_cause
from raypipe.sources.members import spell_reject
from raypipe.steps.batch import ReadOptions
from raypipe.steps.read import decoded

#: How often an image has to kill its process by itself, and how often a process may die for no
#: reason that can be found, before the flow is given up.
_TIMES, _RIDDLES = 3, 3
#: How often in a row nodes may die before anything is done, and seconds until a cluster knows that
#: one has.
_LOSSES, _SETTLE = 5, 10.0

T = TypeVar("T")
Run = Callable[[list[Unit], Any], Iterable[T]]


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
        run: runs the flow over some units, with a `Ledger` to tell or None.
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
        try:
            for result in run(units, ledger):
                done.add(of_result(result))
                yield result
            return
        except ProcessDiedError as error:
            units = [unit for unit in units if of_unit(unit) not in done]
            if error.with_node:
                losses = 0 if done else losses + 1
                if losses == _LOSSES:
                    raise
                say("a node has died; going on with the others")
                time.sleep(_SETTLE)
                continue
            if ledger is None:
                say(f"{error}. Going on, looking for an image that does it")
            else:
                cured = _without_poison(units, ray.get(ledger.unfinished.remote()), options)
                riddles += not cured
                if riddles == _RIDDLES:
                    raise
                units = [cured.get(unit.id, unit) for unit in units]
            ledger = _new_ledger()


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
        rows = set(_poison(items, 0, len(items), options))
        if rows:
            uris = items[schema.URI].to_pylist()
            for row in rows:
                say(f"{items[schema.ID][row]}: kills its process; it becomes a reject")
                uris[row] = spell_reject(
                    RejectReason.CRASHED, f"its process died {_TIMES} times decoding {uris[row]}"
                )
            column = items.schema.get_field_index(schema.URI)
            field = schema.ITEMS.field(schema.URI)
            items = items.set_column(column, field, pa.array(uris, pa.string()))
            cured[unit.id] = replace(unit, data=pack_items(items))
    return cured


def _poison(items: pa.Table, start: int, stop: int, options: ReadOptions) -> Iterator[int]:
    """Yield the rows of a range that kill their process by themselves."""
    tries = _TIMES if stop - start == 1 else 1
    part = items.slice(start, stop - start)
    if not all(_dies(part, options) for _ in range(tries)):
        return
    if stop - start == 1:
        yield start
        return
    middle = (start + stop) // 2
    yield from _poison(items, start, middle, options)
    yield from _poison(items, middle, stop, options)


def _dies(items: pa.Table, options: ReadOptions) -> bool:
    """Whether decoding some items kills a process that does nothing else."""
    attempt = ray.remote(num_cpus=1, max_retries=0)(_decode_all)
    try:
        ray.get(attempt.remote(items, options))
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        return True
    except ray.exceptions.RayError as error:
        raise RaypipeError(f"the flow failed: {first_cause(error)}") from error
    return False


def _decode_all(items: pa.Table, options: ReadOptions) -> int:
    return sum(1 for _ in decoded(items, options))
