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

import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from raypipe import schema
from raypipe.cost import Finished
from raypipe.memory import keep_freed
from raypipe.plan import Unit
from raypipe.predictions.predictor import Predictor
from raypipe.reading import ITEMS, UNIT, Batch, ReadOptions
from raypipe.recovery import survive
from raypipe.runtime import Meters, Replicas, retry_limits, stream
from raypipe.sources.remote import server
from raypipe.steps import (
    decode_and_embed,
    embed,
    from_block,
    predict_rows,
    read,
    read_and_decode,
    read_and_embed,
    write_partition,
)
from raypipe.storage import Storage
from raypipe.store.partition import Format

if TYPE_CHECKING:  # importing it takes torch, which the workers that write do without
    from raypipe.backbone import Backbone

Finish = Callable[[Batch], "Batch | pa.Table"]

_SAMPLED_UNITS = 16
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
    root, meters = storage.uri, Meters(len(units))
    finish = partial(write_partition, root=root, spec=options.spec, form=form, predictor=predictor)

    def run(some: list[Unit], ledger: Any) -> Iterator[Finished]:
        for block in _run(some, backbone, options, replicas, finish, ledger):
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

    def run(some: list[Unit], ledger: Any) -> Iterator[pa.Table]:
        return _run(some, backbone, options, replicas, finish, ledger)

    return survive(
        units,
        run,
        options,
        of_result=lambda rows: rows[schema.ID][0].as_py(),
        of_unit=lambda unit: unit.items[schema.ID][0].as_py(),
    )


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
        watched = partial(_noted, step=step, ledger=ledger) if ledger else step
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


def _noted(batch: Batch, *, step: Callable[[Batch], Any], ledger: Any) -> Any:
    """Do a step; tell the ledger before and after."""
    unit = str(batch[UNIT][0])
    ray.get(ledger.start.remote(unit))
    found = step(batch)
    ledger.finish.remote(unit)
    return found


def one_server(units: list[Unit]) -> bool:
    """Whether a sample of the items comes from one server, so that its failure concerns all."""
    some = units[:: max(1, len(units) // _SAMPLED_UNITS)]
    return len({server(uri) for unit in some for uri in unit.items[schema.URI].to_pylist()}) == 1


class EmbedderReplica:
    """An `Embedder` in an actor, which takes its backbone from the object store.

    Args:
        backbone: where that is.
        options: how items are read, and what the features are.
        replicas: what a replica may take.
        finish: the step after it, if all of them happen here.
        ledger: told of each unit, if there is one.
    """

    def __init__(
        self,
        backbone: ray.ObjectRef,
        options: ReadOptions,
        replicas: Replicas,
        finish: Finish | None,
        ledger: Any = None,
    ) -> None:
        from raypipe.actors.embedder import Embedder  # imports torch, which only replicas need
        from raypipe.actors.jpegs import JpegDecoder

        keep_freed()
        self.embedder = Embedder(
            ray.get(backbone),
            options.spec,
            device=replicas.device,
            batch_size=replicas.batch_size,
            threads=replicas.threads,
            compiled=replicas.compiled,
        )
        self.decoder, preprocess = None, options.spec.preprocess
        if preprocess.gpu_decoded:
            self.decoder = JpegDecoder(preprocess, replicas.device, options.max_pixels)
        self.options, self.finish, self.ledger = options, finish, ledger
        self.computing = threading.Lock()  # calls may be made side by side

    def __call__(self, batch: Batch) -> Batch | pa.Table:
        """Embed one unit, with the steps before and after it if they happen here."""
        if self.finish is None:
            how = partial(decode_and_embed, decoder=self.decoder) if self.decoder else embed
            return how(
                batch,
                embedder=self.embedder,
                device_bytes=self.embedder.device_bytes,
                turn=self.computing,
            )
        if self.ledger is None:
            return self._whole_step(batch)
        return _noted(batch, step=self._whole_step, ledger=self.ledger)

    def _whole_step(self, batch: Batch) -> Batch | pa.Table:
        embedded = read_and_embed(batch, embedder=self.embedder.stream, options=self.options)
        return self.finish(embedded)  # type: ignore[misc]
