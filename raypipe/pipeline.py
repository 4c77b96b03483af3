"""The whole flow on one screen.

    units ─ read_and_decode ─ EmbedderReplica ─┬─ write_partition   (extract)
     one row per unit                          └─ apply_head        (predict)

Each unit is one block from the first step to the last, so a partition is written by one call.
Without GPUs a replica does all three steps: no pixel crosses the object store, no step waits for a
core that a replica holds, and no further processes start. With GPUs, the steps around the replica
are CPU tasks over the whole cluster, and uint8 pixels cross to the GPUs. Results arrive as they are
finished and are counted by the driver.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from raypipe import schema
from raypipe.decode import decode
from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.fit.model import Head
from raypipe.plan import Unit
from raypipe.runtime import Replicas, retry_limits
from raypipe.sources import read_item
from raypipe.spec import Preprocess, Spec
from raypipe.storage import Storage
from raypipe.store.partition import File, write_unit
from raypipe.store.reader import StoreReader
from raypipe.transforms import to_pixels

if TYPE_CHECKING:  # importing it takes torch, which the workers that write do without
    from raypipe.backbone import Backbone

__all__ = ["Store", "predict", "write"]

Batch = dict[str, npt.NDArray[Any]]
Step = Callable[[Batch], "Batch | pa.Table"]

_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_UNIT = "unit"
_ITEMS = "items"
_UNIT_ROWS = "unit_rows"
_IMAGE = "image"


def write(
    units: list[Unit],
    backbone: Backbone,
    spec: Spec,
    replicas: Replicas,
    *,
    max_pixels: int,
    storage: Storage,
) -> Iterator[list[File]]:
    """Write one partition per unit; yield each unit's files as soon as they are there."""
    finish = partial(write_partition, root=storage.uri, spec=spec)
    for block in _run(units, backbone, spec, replicas, max_pixels, finish):
        yield [File(**row) for row in block.to_pylist()]


def predict(
    units: list[Unit],
    backbone: Backbone,
    spec: Spec,
    replicas: Replicas,
    *,
    max_pixels: int,
    head: Head,
    layer: str,
) -> Iterator[pa.Table]:
    """Apply a head; yield a table of `id`, `reason`, `message`, `probabilities` per unit."""
    finish = partial(apply_head, head=head, layer=layer)
    return _run(units, backbone, spec, replicas, max_pixels, finish)


def _run(
    units: list[Unit],
    backbone: Backbone,
    spec: Spec,
    replicas: Replicas,
    max_pixels: int,
    finish: Callable[[Batch], Batch | pa.Table],
) -> Iterator[pa.Table]:
    """Lay out the steps for the hardware and stream the results."""
    start = partial(read_and_decode, preprocess=spec.preprocess, max_pixels=max_pixels)
    within: tuple[Step, ...] = (start, finish) if replicas.whole_flow else ()
    rows = [{_UNIT: unit.id, _ITEMS: _to_bytes(unit.items)} for unit in units]
    flow = ray.data.from_items(rows, override_num_blocks=len(rows))
    if not within:
        flow = flow.map_batches(start, batch_size=None, num_cpus=1)
    with warnings.catch_warnings():
        # The options of Ray that bound retries have no named parameter in map_batches.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        flow = flow.map_batches(
            EmbedderReplica,
            fn_constructor_args=(ray.put(backbone), spec, replicas, within),
            compute=ray.data.ActorPoolStrategy(
                min_size=replicas.min_size, max_size=replicas.max_size
            ),
            batch_size=None,
            num_cpus=replicas.num_cpus,
            num_gpus=replicas.num_gpus,
            **retry_limits(),
        )
    if not within:
        flow = flow.map_batches(finish, batch_size=None, num_cpus=1)
    return _stream(flow)


def read_and_decode(batch: Batch, *, preprocess: Preprocess, max_pixels: int) -> Batch:
    """Turn a unit's items into one block of pixels; a reject leaves its reason and a blank."""
    items = _from_bytes(batch[_ITEMS][0])
    count, size = len(items), preprocess.size
    images = np.zeros((count, size, size, 3), np.uint8)
    reasons, messages = np.full(count, "", object), np.full(count, "", object)
    for i, uri in enumerate(items[schema.URI].to_pylist()):
        try:
            data = read_item(uri, max_pixels)
            images[i] = to_pixels(decode(data, max_pixels), preprocess)
        except RejectedItem as reject:
            reasons[i], messages[i] = reject.reason.value, reject.message
        except MemoryError:
            reasons[i], messages[i] = RejectReason.TOO_LARGE.value, "out of memory"
    columns = {name: np.array(items[name].to_pylist(), object) for name in items.column_names}
    unit = {_UNIT: np.full(count, batch[_UNIT][0]), _UNIT_ROWS: np.full(count, count)}
    return {
        **unit,
        **columns,
        schema.REASON: reasons,
        schema.MESSAGE: messages,
        _IMAGE: images,
    }


class EmbedderReplica:
    """An `Embedder` in an actor: takes its backbone from the object store, skips rejects.

    `within` are the steps before and after it that run in the same process, if any.
    """

    def __init__(
        self, backbone: ray.ObjectRef, spec: Spec, replicas: Replicas, within: tuple[Step, ...]
    ) -> None:
        from raypipe.actors.embedder import Embedder  # imports torch, which only replicas need

        self.embedder = Embedder(
            ray.get(backbone),
            spec,
            device=replicas.device,
            batch_size=replicas.batch_size,
            threads=replicas.threads,
        )
        self.within = within

    def __call__(self, batch: Batch) -> Batch | pa.Table:
        """Embed one unit, with the steps before and after it if they run here."""
        if not self.within:
            return self.embed(batch)
        start, finish = self.within
        return finish(self.embed(start(batch)))

    def embed(self, batch: Batch) -> Batch:
        """Replace pixels by features, a column per layer; rejected rows get zeros."""
        images = batch.pop(_IMAGE)
        good = batch[schema.REASON] == ""
        for layer, features in self.embedder(images if good.all() else images[good]).items():
            batch[_layer_column(layer)] = rows = np.zeros(
                (len(good), *features.shape[1:]), features.dtype
            )
            rows[good] = features
        return batch


def write_partition(batch: Batch, *, root: str, spec: Spec) -> pa.Table:
    """Write one unit's partitions and return a row for each file."""
    units = set(batch[_UNIT])
    if len(units) != 1 or len(batch[_UNIT]) != batch[_UNIT_ROWS][0]:
        raise RaypipeError(
            f"a block must hold exactly one unit; got {len(batch[_UNIT])} rows of {len(units)} "
            f"units, the first of {batch[_UNIT_ROWS][0]} rows"
        )
    items = _strings(batch, schema.ITEMS)
    good = batch[schema.REASON] == ""
    columns = schema.feature_columns(spec.layers)
    files = write_unit(
        Storage(root),
        units.pop(),
        spec.fingerprint,
        rows=items.filter(pa.array(good)),
        features={c: batch[_layer_column(layer)][good] for layer, c in columns.items()},
        rejects=_strings(batch, schema.REJECTS).filter(pa.array(~good)),
    )
    return pa.Table.from_pylist([asdict(file) for file in files])


def apply_head(batch: Batch, *, head: Head, layer: str) -> Batch:
    """Replace features by the probabilities of the head's classes; rejected rows get zeros."""
    good = batch[schema.REASON] == ""
    probabilities = np.zeros((len(good), len(head.classes)), np.float32)
    probabilities[good] = head.predict_proba(batch[_layer_column(layer)][good])
    kept = {name: batch[name] for name in (schema.ID, schema.REASON, schema.MESSAGE)}
    return {**kept, "probabilities": probabilities}


class Store(StoreReader):
    """A store that can also be read as a Ray data set."""

    def to_ray(self) -> ray.data.Dataset:
        """Return the snapshot's rows as a lazy data set, a block per partition.

        Features are arrays: `batch["features"]` is (N, …) in `map_batches`.
        """
        numbers = [{"partition": i} for i in range(len(self.snapshot.data))]
        read = partial(_read_partition, uri=self.uri, snapshot=self.snapshot.number)
        blocks = ray.data.from_items(numbers, override_num_blocks=max(1, len(numbers)))
        return blocks.map_batches(read, batch_size=None)


def _read_partition(batch: Batch, *, uri: str, snapshot: int) -> pa.Table:
    reader = StoreReader(uri, snapshot)
    return pa.concat_tables(reader.read_part(i) for i in batch["partition"])


def _to_bytes(items: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, items.schema) as stream:
        stream.write_table(items)
    return bytes(sink.getvalue())


def _from_bytes(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()


def _layer_column(layer: str) -> str:
    return f"layer:{layer}"  # a layer may have the name of another column


def _strings(batch: Batch, wanted: pa.Schema) -> pa.Table:
    arrays = [pa.array(batch[name], pa.string(), from_pandas=True) for name in wanted.names]
    return pa.Table.from_arrays(arrays, schema=wanted)


def _stream(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    """Run the flow; yield its output blocks as they are finished.

    Raises:
        RaypipeError: a step failed for good; the message is that of the first cause.
    """
    try:
        for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            if len(block):
                yield block
    except ray.exceptions.RayError as error:
        raise RaypipeError(
            f"the flow failed: {_first_cause(error)}; "
            "finished partitions are kept, and the same command goes on from them"
        ) from error


def _first_cause(error: Exception) -> str:
    """Return the line that matters of an error that Ray has wrapped, tracebacks and all."""
    text = _COLOUR.sub("", str(error)).strip()
    first, marker, _ = text.partition("\nThe above exception was the direct cause")
    lines = [line for line in first.splitlines() if line.strip()]
    return lines[-1 if marker else 0].strip() if lines else type(error).__name__
