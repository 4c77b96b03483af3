"""The whole flow on one screen.

    units ─ read_and_decode ─ EmbedderReplica ─┬─ write_partition   (extract, predict)
     one row per unit                          └─ predict_rows      (predict to one file)

Each unit is one block from the first step to the last, so a partition is written by one call.
Without GPUs a replica does all three steps: no pixel crosses the object store, no step waits for a
core that a replica holds, and no further processes start. With GPUs, the steps around the replica
are CPU tasks over the whole cluster, and uint8 pixels cross to the GPUs. Results arrive as they are
finished and are counted by the driver. The steps themselves are in `steps`.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from raypipe import schema
from raypipe.actors.replica import EmbedderReplica, Finish, noted
from raypipe.flow.recovery import survive
from raypipe.heads.predictor import Predictor
from raypipe.rows.unit import Unit
from raypipe.runtime import Meters, Replicas, retry_limits, stream
from raypipe.steps.batch import ITEMS, UNIT, ReadOptions
from raypipe.steps.cost import Finished
from raypipe.steps.guard import Limits
from raypipe.steps.read import one_server, read, read_and_decode
from raypipe.steps.write import from_block, predict_rows, write_partition
from raypipe.storage import Storage
from raypipe.store.partition import Format

if TYPE_CHECKING:  # importing it takes torch, which the workers that write do without
    from raypipe.backbone import Backbone


_CALLS = 2


def write(
    units: list[Unit],
    backbone: Backbone,
    options: ReadOptions,
    replicas: Replicas,
    *,
    storage: Storage,
    form: Format,
    predictor: Predictor | None = None,
) -> Iterator[Finished]:
    """Write one partition per unit; yield each unit as soon as its files are there.

    It holds the features or, with a predictor, what that makes of them.
    """
    root, meters, options = storage.uri, Meters(len(units)), _within_limits(options)
    finish = partial(write_partition, root=root, spec=options.spec, form=form, predictor=predictor)

    def run(some: list[Unit], ledger: Any, halved: int) -> Iterator[Finished]:
        for block in _run(some, backbone, options, replicas.fewer(halved), finish, ledger):
            finished = from_block(block)
            meters.add(finished.cost)
            yield finished

    return survive(
        units,
        run,
        options,
        of_result=lambda finished: finished.files[0].unit,
        of_unit=lambda unit: unit.id,
    )


def predict(
    units: list[Unit],
    backbone: Backbone,
    options: ReadOptions,
    replicas: Replicas,
    *,
    predictor: Predictor,
) -> Iterator[pa.Table]:
    """Predict; yield a table per unit: `id`, `label`, `reason`, `message`, and the predictions."""
    finish = partial(predict_rows, spec=options.spec, predictor=predictor)
    options = _within_limits(options)

    def run(some: list[Unit], ledger: Any, halved: int) -> Iterator[pa.Table]:
        return _run(some, backbone, options, replicas.fewer(halved), finish, ledger)

    return survive(
        units,
        run,
        options,
        of_result=lambda rows: rows[schema.ID][0].as_py(),
        of_unit=lambda unit: unit.items[schema.ID][0].as_py(),
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
