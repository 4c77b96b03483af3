"""The flow on Ray, on one screen.

    units ─ read_and_decode ─ EmbedderReplica ─ finish
     one row per unit

Each unit is one block from the first step to the last, so a partition is written by one call.
Without GPUs a replica does all three steps: no pixel crosses the object store, no step waits for a
core that a replica holds, and no further processes start. With GPUs, the steps around the replica
are CPU tasks over the whole cluster, and uint8 pixels cross to the GPUs. Results arrive as they are
finished and are counted by the driver. The steps themselves are in `steps`.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pyarrow as pa
import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from raypipe import runtime
from raypipe.actors.replica import EmbedderReplica, Finish, noted
from raypipe.config.values import Actors
from raypipe.flow.recovery import survive
from raypipe.rows.unit import Unit
from raypipe.runtime import Meters, retry_limits, stream
from raypipe.steps.batch import ITEMS, UNIT, ReadOptions
from raypipe.steps.guard import Limits
from raypipe.steps.pool_plan import Replicas
from raypipe.steps.read import one_server, read, read_and_decode
from raypipe.steps.write import from_block
from raypipe.storage import Storage

if TYPE_CHECKING:  # importing it takes torch, which the workers that write do without
    from raypipe.backbone import Backbone

T = TypeVar("T")
_CALLS = 2


class OnRay:
    """Runs the steps in actors and tasks of the Ray that is joined; an `Executor`.

    Args:
        wait: the kind of node that a cluster has to have, or to start. It is asked for once there
            is something to do: a listing may take longer than a cluster keeps an idle node.
    """

    def __init__(self, wait: Literal["none", "cpu", "gpu"] = "none") -> None:
        self._wait = wait

    def _await_node(self) -> None:
        runtime.wait_for(self._wait)
        self._wait = "none"

    def device(self) -> str:
        """Return the torch device of replicas."""
        self._await_node()
        return runtime.device()

    def slots(self) -> int:
        """Return how many replicas there is room for."""
        self._await_node()
        return runtime.slots()

    def best_precision(self) -> str:
        """Return what `--precision auto` means on the hardware of replicas."""
        self._await_node()
        return runtime.best_precision()

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a function where a replica could run."""
        self._await_node()
        return runtime.on_replica_hardware(function, *arguments, **options)

    def replicas(
        self, actors: Actors, batch_size: int, units: int, *, compiled: bool = False
    ) -> Replicas:
        """Plan the pool of replicas; see `runtime.plan_replicas`."""
        self._await_node()
        return runtime.plan_replicas(actors, batch_size, units, compiled=compiled)

    def check_reach(self, items: Iterable[pa.Table], source: str, storage: Storage | None) -> None:
        """Make sure that every node sees what the work is done on; see `runtime.check_reach`."""
        self._await_node()
        runtime.check_reach(items, source, storage)

    def run(
        self,
        units: list[Unit],
        backbone: Backbone,
        options: ReadOptions,
        replicas: Replicas,
        finish: Finish,
        key: str,
    ) -> Iterator[pa.Table]:
        """Run the steps; see `Executor`. Finished units are counted for Prometheus."""
        options = _within_limits(options)
        meters = Meters(len(units)) if key == UNIT else None

        def run(some: list[Unit], ledger: Any, halved: int) -> Iterator[pa.Table]:
            for block in _run(some, backbone, options, replicas.fewer(halved), finish, ledger):
                if meters is not None:
                    meters.add(from_block(block).cost)
                yield block

        yield from survive(
            units,
            run,
            options,
            of_result=lambda block: block[key][0].as_py(),
            of_unit=lambda unit: unit.id if key == UNIT else unit.items[key][0].as_py(),
        )


def _within_limits(options: ReadOptions) -> ReadOptions:
    """Return options for the processes of one run, in which an image may not take everything."""
    return replace(options, limits=Limits(uuid.uuid4().hex, options.max_seconds))


def _run(
    units: list[Unit],
    backbone: Backbone,
    options: ReadOptions,
    replicas: Replicas,
    finish: Finish,
    ledger: Any,
) -> Iterator[pa.Table]:
    """Lay out the steps for the hardware and stream the results."""
    options, whole = replace(options, one_server=one_server(units)), replicas.whole_flow
    rows = [{UNIT: unit.id, ITEMS: unit.data} for unit in units]
    flow = ray.data.from_items(rows, override_num_blocks=len(rows))
    if not whole:
        gpu_decoded = options.spec.preprocess.gpu_decoded
        step = partial(read if gpu_decoded else read_and_decode, options=options)
        retries = {"max_retries": 0} if ledger else {}
        watched = partial(noted, step=step, ledger=ledger) if ledger else step
        flow = flow.map_batches(watched, batch_size=None, num_cpus=1, **retries)
    with warnings.catch_warnings():
        # The options of Ray that bound retries have no named parameter in map_batches.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        flow = flow.map_batches(
            EmbedderReplica,
            fn_constructor_args=(
                ray.put(backbone),
                options,
                replicas,
                finish if whole else None,
                ledger if whole else None,
            ),
            compute=ray.data.ActorPoolStrategy(
                min_size=replicas.min_size,
                max_size=replicas.max_size,
                # While one unit is computed, the next is fetched and the last handed on.
                max_concurrent_calls_per_actor=1 if whole else _CALLS,
            ),
            batch_size=None,
            num_cpus=replicas.num_cpus,
            num_gpus=replicas.num_gpus,
            **retry_limits(hasty=ledger is not None),
        )
    if not whole:
        flow = flow.map_batches(finish, batch_size=None, num_cpus=1)
    return stream(flow)
