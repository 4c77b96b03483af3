"""The steps of the flow, as plain functions on one unit; no Ray.

A unit travels as a batch of columns: `unit`, `unit_rows`, the texts of its items, why an item is a
reject, its pixels or its features, and what it has taken so far.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.augment import view
from raypipe.cost import Cost, Finished, Timer
from raypipe.decode import decode
from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.predictions.predictor import Predictor, to_arrow
from raypipe.sources.ahead import read_items
from raypipe.spec import Spec
from raypipe.storage import open_storage
from raypipe.store.partition import File, Format, write_unit
from raypipe.transforms import least_side, to_pixels

__all__ = [
    "IMAGE",
    "ITEMS",
    "UNIT",
    "Batch",
    "decoded",
    "embed",
    "feature_column",
    "from_block",
    "predict_rows",
    "read_and_decode",
    "read_and_embed",
    "to_block",
    "write_partition",
]

Batch = dict[str, npt.NDArray[Any]]
Pixels = npt.NDArray[np.uint8]

UNIT = "unit"
ITEMS = "items"
COST = "cost"
_UNIT_ROWS = "unit_rows"
IMAGE = "image"
_LOG = logging.getLogger("raypipe")
_OUTAGE_ITEMS = 8  # a few images may be unlucky alone


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
    items, size = _items(batch), spec.preprocess.size
    images = np.zeros((len(items), spec.views, size, size, 3), np.uint8)
    reading = _Reading(items, spec, max_pixels)
    for i, views in reading:
        images[i] = views
    cost = Cost(read_seconds=reading.watch.seconds, bytes_read=reading.bytes)
    return {**_columns(batch, items, reading, one_server, cost), IMAGE: images}


def read_and_embed(
    batch: Batch,
    *,
    embedder: Callable[[Iterable[Pixels]], Batch],
    spec: Spec,
    max_pixels: int,
    one_server: bool,
) -> Batch:
    """Do what `read_and_decode` and then `embed` do, a few images at a time.

    For where one process does both: reading goes on while it computes, and pixels are used while
    they are in the cache.

    Args:
        batch: one row with the unit's items.
        embedder: turns images as they come into features; as `Embedder.stream`.
        spec: what the features are.
        max_pixels: cap on an image's pixels.
        one_server: as in `read_and_decode`, which also says what it raises.
    """
    items, whole = _items(batch), Timer()
    reading = _Reading(items, spec, max_pixels)
    with whole:
        found = embedder(image for _, views in reading for image in views)
    spent = reading.watch.seconds
    cost = Cost(read_seconds=spent, compute_seconds=whole.seconds - spent, bytes_read=reading.bytes)
    columns = _columns(batch, items, reading, one_server, cost)
    return {**columns, **_spread(found, columns[schema.REASON] == "", spec.views)}


def embed(
    batch: Batch, embedder: Callable[[Pixels], Batch], device_bytes: Callable[[], int] = lambda: 0
) -> Batch:
    """Replace (N, views, …) pixels by features of that form; rejected rows get zeros.

    `device_bytes` says how much memory of the GPU has been in use.
    """
    images = batch.pop(IMAGE)
    good = batch[schema.REASON] == ""
    wanted = images if good.all() else images[good]
    watch = Timer()
    with watch:
        found = embedder(wanted.reshape(-1, *images.shape[2:]))
    cost = _cost(batch) + Cost(compute_seconds=watch.seconds, device_bytes=device_bytes())
    return {
        **batch,
        COST: np.full(len(good), cost.to_text(), object),
        **_spread(found, good, images.shape[1]),
    }


def write_partition(
    batch: Batch, *, root: str, spec: Spec, form: Format, predictor: Predictor | None
) -> pa.Table:
    """Write one unit's partitions and return a row for each file."""
    units = set(batch[UNIT])
    if len(units) != 1 or len(batch[UNIT]) != batch[_UNIT_ROWS][0]:
        raise RaypipeError(
            f"a block must hold exactly one unit; got {len(batch[UNIT])} rows of {len(units)} "
            f"units, the first of {batch[_UNIT_ROWS][0]} rows"
        )
    items = _strings(batch, schema.ITEMS)
    good = batch[schema.REASON] == ""
    features = _features(batch, spec, good)
    unit, watch = str(units.pop()), Timer()
    with watch:
        files = write_unit(
            open_storage(root),
            unit,
            spec.fingerprint,
            rows=items.filter(pa.array(good)),
            features=predictor(features) if predictor else features,
            rejects=_strings(batch, schema.REJECTS).filter(pa.array(~good)),
            form=form,
        )
    cost = _cost(batch) + Cost(
        images=int(good.sum()),
        rejects=dict(Counter(batch[schema.REASON][~good])),
        bytes_written=sum(file.bytes for file in files),
        write_seconds=watch.seconds,
    )
    _LOG.info("unit finished", extra={"unit": unit} | asdict(cost))
    return to_block(Finished(files, cost))


def to_block(finished: Finished) -> pa.Table:
    """Return a row for each file of a unit, to be read by `from_block`."""
    cost = finished.cost.to_text()
    return pa.Table.from_pylist([asdict(file) | {COST: cost} for file in finished.files])


def from_block(block: pa.Table) -> Finished:
    """Return what `to_block` was called on."""
    costs = block[COST].to_pylist()
    rows = block.drop_columns([COST]).to_pylist()
    return Finished([File(**row) for row in rows], Cost.from_text(costs[0]))


def predict_rows(batch: Batch, *, spec: Spec, predictor: Predictor) -> pa.Table:
    """Return a row per item with its predictions; a reject has none."""
    good = batch[schema.REASON] == ""
    columns = to_arrow(predictor(_features(batch, spec, good)))
    place = pa.array(np.cumsum(good) - 1, mask=~good)
    names = (schema.ID, schema.LABEL, schema.REASON, schema.MESSAGE)
    items = {name: pa.array(batch[name], pa.string(), from_pandas=True) for name in names}
    return pa.table(items | {name: values.take(place) for name, values in columns.items()})


def decoded(
    items: pa.Table, spec: Spec, max_pixels: int, count: Callable[[int], None] = lambda _: None
) -> Iterator[Pixels | RejectedItem]:
    """Yield each item's (views, size, size, 3) pixels, or why there are none.

    `count` is called with the bytes of each image that was read.
    """
    fetched = read_items(items[schema.URI].to_pylist(), max_pixels)
    least = least_side(spec.preprocess)
    for item, data in zip(items[schema.ID].to_pylist(), fetched, strict=True):
        try:
            if isinstance(data, RejectedItem):
                raise data
            count(memoryview(data).nbytes)
            first = to_pixels(decode(data, max_pixels, least), spec.preprocess)
            augmented = range(1, spec.views) if spec.augment else ()
            views = [view(first, spec.augment, item, n) for n in augmented]  # type: ignore[arg-type]
            yield np.stack([first, *views]) if views else first[None]
        except RejectedItem as reject:
            yield reject
        except MemoryError:
            yield RejectedItem(RejectReason.TOO_LARGE, "out of memory")


class _Reading:
    """Reads and decodes a unit's items; iterating gives the row and pixels of the good ones.

    Attributes:
        reasons: why each row is a reject; empty for one that is none.
        messages: the same in detail.
        watch: the time it takes.
        bytes: how much was read.
    """

    def __init__(self, items: pa.Table, spec: Spec, max_pixels: int) -> None:
        self.reasons = np.full(len(items), "", object)
        self.messages = np.full(len(items), "", object)
        self.watch, self.bytes = Timer(), 0
        self._decoded = decoded(items, spec, max_pixels, self._count)

    def __iter__(self) -> Iterator[tuple[int, Pixels]]:
        for row, found in enumerate(self.watch.watch(self._decoded)):
            if isinstance(found, RejectedItem):
                self.reasons[row], self.messages[row] = found.reason.value, found.message
            else:
                yield row, found

    def check_server(self) -> None:
        """Stop if nothing came from the only server there is."""
        down = self.reasons == RejectReason.UNAVAILABLE.value
        if down.all() and len(down) >= _OUTAGE_ITEMS:
            raise RaypipeError(
                f"SOURCE: none of {len(down)} images could be fetched: {self.messages[0]}"
            )

    def _count(self, size: int) -> None:
        self.bytes += size


def _items(batch: Batch) -> pa.Table:
    return pa.ipc.open_stream(batch[ITEMS][0]).read_all()


def _columns(
    batch: Batch, items: pa.Table, reading: _Reading, one_server: bool, cost: Cost
) -> Batch:
    if one_server:
        reading.check_server()
    texts = {name: np.array(items[name].to_pylist(), object) for name in items.column_names}
    return {
        UNIT: np.full(len(items), batch[UNIT][0]),
        _UNIT_ROWS: np.full(len(items), len(items)),
        **texts,
        schema.REASON: reading.reasons,
        schema.MESSAGE: reading.messages,
        COST: np.full(len(items), cost.to_text(), object),
    }


def _cost(batch: Batch) -> Cost:
    return Cost.from_text(batch[COST][0])


def _spread(found: Batch, good: npt.NDArray[np.bool_], views: int) -> Batch:
    """Give each item (views, …) rows of the features of those that are good."""
    columns = {}
    for column, features in found.items():
        shape = (views, *features.shape[1:])
        columns[feature_column(column)] = rows = np.zeros((len(good), *shape), features.dtype)
        rows[good] = features.reshape(-1, *shape)
    return columns


def _features(batch: Batch, spec: Spec, good: npt.NDArray[np.bool_]) -> Batch:
    """Return the features of the items that have any: all views of the first, of the second, …"""
    found = {o.column: batch[feature_column(o.column)][good] for o in spec.outputs}
    return {column: rows.reshape(-1, *rows.shape[2:]) for column, rows in found.items()}


def feature_column(column: str) -> str:
    """Return the name of a column of features in a batch: apart from those of the items."""
    return f"feature:{column}"


def _strings(batch: Batch, wanted: pa.Schema) -> pa.Table:
    arrays = [pa.array(batch[name], pa.string(), from_pandas=True) for name in wanted.names]
    return pa.Table.from_arrays(arrays, schema=wanted)
