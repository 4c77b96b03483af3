"""The flow, wherever it runs: what is made of units.

    units ─ read_and_decode ─ EmbedderReplica ─┬─ write_partition   (extract, predict)
     one row per unit                          └─ predict_rows      (predict to one file)

`on_ray` and `here` lay the steps out; the steps themselves are in `steps`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from raypipe import schema
from raypipe.flow.executor import Executor
from raypipe.heads.predictor import Predictor
from raypipe.rows.unit import Unit
from raypipe.steps.batch import UNIT, ReadOptions
from raypipe.steps.cost import Finished
from raypipe.steps.pool_plan import Replicas
from raypipe.steps.write import from_block, predict_rows, write_partition
from raypipe.storage import Storage
from raypipe.store.partition import Format

if TYPE_CHECKING:  # importing it takes torch, which the workers that write do without
    from raypipe.backbone import Backbone


def write(
    executor: Executor,
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
    spec = options.spec
    finish = partial(write_partition, root=storage.uri, spec=spec, form=form, predictor=predictor)
    for block in executor.run(units, backbone, options, replicas, finish, UNIT):
        yield from_block(block)


def predict(
    executor: Executor,
    units: list[Unit],
    backbone: Backbone,
    options: ReadOptions,
    replicas: Replicas,
    *,
    predictor: Predictor,
) -> Iterator[pa.Table]:
    """Predict; yield a table per unit: `id`, `label`, `reason`, `message`, and the predictions."""
    finish = partial(predict_rows, spec=options.spec, predictor=predictor)
    return executor.run(units, backbone, options, replicas, finish, schema.ID)
