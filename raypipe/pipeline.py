"""The whole flow on one screen.

    units ─ read_and_decode ─ EmbedderReplica ─┬─ write_partition   (extract, predict)
     one row per unit                          └─ predict_rows      (predict to one file)

Each unit is one block from the first step to the last, so a partition is written by one call.
Without GPUs a replica does all three steps: no pixel crosses the object store, no step waits for a
core that a replica holds, and no further processes start. With GPUs, the steps around the replica
are CPU tasks over the whole cluster, and uint8 pixels cross to the GPUs. Results arrive as they are
finished and are counted by the driver.
"""

from __future__ import annotations

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
from raypipe.augment import view
from raypipe.decode import decode
from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.plan import Unit
from raypipe.predictions.predictor import Predictor, to_arrow
from raypipe.runtime import Replicas, retry_limits, stream
from raypipe.sources.ahead import read_items
from raypipe.sources.remote import server
from raypipe.spec import Spec
from raypipe.storage import Storage
from raypipe.store.partition import File, Format, write_unit
from raypipe.transforms import to_pixels

if TYPE_CHECKING:  # importing it takes torch, which the workers that write do without
    from raypipe.backbone import Backbone

__all__ = ["predict", "write"]

Batch = dict[str, npt.NDArray[Any]]
Step = Callable[[Batch], "Batch | pa.Table"]

_UNIT = "unit"
_ITEMS = "items"
_UNIT_ROWS = "unit_rows"
_IMAGE = "image"
_SAMPLED_UNITS = 16
_OUTAGE_ITEMS = 8  # a few images may be unlucky alone


def write(
    units: list[Unit],
    backbone: Backbone,
    spec: Spec,
    replicas: Replicas,
    *,
    max_pixels: int,
    storage: Storage,
    form: Format,
    predictor: Predictor | None = None,
) -> Iterator[list[File]]:
    """Write one partition per unit; yield each unit's files as soon as they are there.

    It holds the features or, with a predictor, what that makes of them.
    """
    root = storage.uri
    finish = partial(write_partition, root=root, spec=spec, form=form, predictor=predictor)
    for block in _run(units, backbone, spec, replicas, max_pixels, finish):
        yield [File(**row) for row in block.to_pylist()]


def predict(
    units: list[Unit],
    backbone: Backbone,
    spec: Spec,
    replicas: Replicas,
    *,
    max_pixels: int,
    predictor: Predictor,
) -> Iterator[pa.Table]:
    """Predict; yield a table per unit: `id`, `label`, `reason`, `message`, and the predictions."""
    finish = partial(predict_rows, spec=spec, predictor=predictor)
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
    start = partial(
        read_and_decode, spec=spec, max_pixels=max_pixels, one_server=_one_server(units)
    )
    within: tuple[Step, ...] = (start, finish) if replicas.whole_flow else ()
    rows = [{_UNIT: unit.id, _ITEMS: unit.data} for unit in units]
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
    return stream(flow)


def _one_server(units: list[Unit]) -> bool:
    """Whether a sample of the items comes from one server, so that its failure concerns all."""
    some = units[:: max(1, len(units) // _SAMPLED_UNITS)]
    return len({server(uri) for unit in some for uri in unit.items[schema.URI].to_pylist()}) == 1


def read_and_decode(batch: Batch, *, spec: Spec, max_pixels: int, one_server: bool) -> Batch:
    """Turn a unit's items into one block of pixels; a reject leaves its reason and a blank.

    Args:
        batch: one row with the unit's items.
        spec: what the features are.
        max_pixels: cap on an image's pixels.
        one_server: whether all items come from the same server.

    Raises:
        RaypipeError: that server did not answer for any of the unit's items: what follows would
            fail in the same way.
    """
    items = pa.ipc.open_stream(batch[_ITEMS][0]).read_all()
    count, size = len(items), spec.preprocess.size
    images = np.zeros((count, spec.views, size, size, 3), np.uint8)
    reasons, messages = np.full(count, "", object), np.full(count, "", object)
    fetched = read_items(items[schema.URI].to_pylist(), max_pixels)
    for i, (item, data) in enumerate(zip(items[schema.ID].to_pylist(), fetched, strict=True)):
        try:
            if isinstance(data, RejectedItem):
                raise data
            images[i, 0] = to_pixels(decode(data, max_pixels), spec.preprocess)
            if spec.augment:
                for number in range(1, spec.views):
                    images[i, number] = view(images[i, 0], spec.augment, item, number)
        except RejectedItem as reject:
            reasons[i], messages[i] = reject.reason.value, reject.message
        except MemoryError:
            reasons[i], messages[i] = RejectReason.TOO_LARGE.value, "out of memory"
    down = reasons == RejectReason.UNAVAILABLE.value
    if one_server and down.all() and count >= _OUTAGE_ITEMS:
        raise RaypipeError(f"SOURCE: none of {count} images could be fetched: {messages[0]}")
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
        """Replace (N, views, …) pixels by features of that form; rejected rows get zeros."""
        images = batch.pop(_IMAGE)
        good = batch[schema.REASON] == ""
        wanted = images if good.all() else images[good]
        for column, features in self.embedder(wanted.reshape(-1, *images.shape[2:])).items():
            shape = (images.shape[1], *features.shape[1:])
            batch[_feature(column)] = rows = np.zeros((len(good), *shape), features.dtype)
            rows[good] = features.reshape(-1, *shape)
        return batch


def write_partition(
    batch: Batch, *, root: str, spec: Spec, form: Format, predictor: Predictor | None
) -> pa.Table:
    """Write one unit's partitions and return a row for each file."""
    units = set(batch[_UNIT])
    if len(units) != 1 or len(batch[_UNIT]) != batch[_UNIT_ROWS][0]:
        raise RaypipeError(
            f"a block must hold exactly one unit; got {len(batch[_UNIT])} rows of {len(units)} "
            f"units, the first of {batch[_UNIT_ROWS][0]} rows"
        )
    items = _strings(batch, schema.ITEMS)
    good = batch[schema.REASON] == ""
    features = _features(batch, spec, good)
    files = write_unit(
        Storage(root),
        str(units.pop()),
        spec.fingerprint,
        rows=items.filter(pa.array(good)),
        features=predictor(features) if predictor else features,
        rejects=_strings(batch, schema.REJECTS).filter(pa.array(~good)),
        form=form,
    )
    return pa.Table.from_pylist([asdict(file) for file in files])


def predict_rows(batch: Batch, *, spec: Spec, predictor: Predictor) -> pa.Table:
    """Return a row per item with its predictions; a reject has none."""
    good = batch[schema.REASON] == ""
    columns = to_arrow(predictor(_features(batch, spec, good)))
    place = pa.array(np.cumsum(good) - 1, mask=~good)
    names = (schema.ID, schema.LABEL, schema.REASON, schema.MESSAGE)
    items = {name: pa.array(batch[name], pa.string(), from_pandas=True) for name in names}
    return pa.table(items | {name: values.take(place) for name, values in columns.items()})


def _features(batch: Batch, spec: Spec, good: npt.NDArray[np.bool_]) -> Batch:
    """Return the features of the items that have any: all views of the first, of the second, …"""
    found = {o.column: batch[_feature(o.column)][good] for o in spec.outputs}
    return {column: rows.reshape(-1, *rows.shape[2:]) for column, rows in found.items()}


def _feature(column: str) -> str:
    return f"feature:{column}"  # apart from the columns of the items


def _strings(batch: Batch, wanted: pa.Schema) -> pa.Table:
    arrays = [pa.array(batch[name], pa.string(), from_pandas=True) for name in wanted.names]
    return pa.Table.from_arrays(arrays, schema=wanted)
