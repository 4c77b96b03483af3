"""The steps of the flow, as plain functions on one unit, which travels as in `reading`; no Ray."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.cost import Cost, Finished, Timer
from raypipe.errors import RaypipeError, RejectedItem
from raypipe.predictions.predictor import Predictor, to_arrow
from raypipe.reading import (
    COST,
    UNIT,
    UNIT_ROWS,
    Batch,
    Pixels,
    ReadOptions,
    ReadOutcome,
    decoded,
    items_of,
    left_encoded,
)
from raypipe.spec import Spec
from raypipe.storage import open_storage
from raypipe.store.partition import File, Format, write_unit

IMAGE = "image"
_ENCODED = "encoded"
Column = npt.NDArray[Any]
_LOG = logging.getLogger("raypipe")


def read_and_decode(batch: Batch, *, options: ReadOptions) -> Batch:
    """Turn a unit's items into one block of pixels; a reject leaves its reason and a blank.

    Args:
        batch: one row with the unit's items.
        options: how they are read.

    Raises:
        RaypipeError: the only server there is did not answer for any of the unit's items: what
            follows would fail in the same way.
    """
    reading, spec = ReadOutcome(items_of(batch), decoded, options), options.spec
    size = spec.preprocess.size
    images = np.zeros((len(reading.items), spec.views, size, size, 3), np.uint8)
    for i, views in reading:
        images[i] = views
    return {**reading.columns(batch), IMAGE: images}


def read(batch: Batch, *, options: ReadOptions) -> Batch:
    """Do what `read_and_decode` does, but leave plain JPEGs for `decode_and_embed` to decode."""
    items = items_of(batch)
    reading: ReadOutcome[bytes | Pixels] = ReadOutcome(items, left_encoded, options)
    contents, encoded = np.full(len(items), b"", object), np.zeros(len(items), bool)
    for i, found in reading:
        encoded[i] = isinstance(found, bytes)
        contents[i] = found if isinstance(found, bytes) else found.tobytes()
    return {**reading.columns(batch), IMAGE: contents, _ENCODED: encoded}


def read_and_embed(
    batch: Batch, *, embedder: Callable[[Iterable[Pixels]], Batch], options: ReadOptions
) -> Batch:
    """Do what `read_and_decode` and then `embed` do, a few images at a time.

    For where one process does both: reading goes on while it computes, and pixels are used while
    they are in the cache.

    Args:
        batch: one row with the unit's items.
        embedder: turns (size, size, 3) images as they come into features; as `Embedder.stream`.
        options: as in `read_and_decode`, which also says what it raises.
    """
    reading, whole = ReadOutcome(items_of(batch), decoded, options), Timer()
    with whole:
        found = embedder(image for _, views in reading for image in views)
    computing = Cost(compute_seconds=whole.seconds - reading.watch.seconds)
    columns = reading.columns(batch, computing)
    return {**columns, **_spread(found, columns[schema.REASON] == "", options.spec.views)}


def embed(
    batch: Batch,
    embedder: Callable[[Pixels], Batch],
    device_bytes: Callable[[], int],
    turn: AbstractContextManager[Any],
) -> Batch:
    """Replace (N, views, …) pixels by features of that form; rejected rows get zeros.

    `device_bytes` says how much memory of the GPU has been in use. `turn` is held while the network
    computes; waiting for it does not count.
    """
    images = batch.pop(IMAGE)
    good = batch[schema.REASON] == ""
    wanted = images if good.all() else images[good]
    watch = Timer()
    with turn, watch:
        found = embedder(wanted.reshape(-1, *images.shape[2:]))
    cost = _cost(batch) + Cost(compute_seconds=watch.seconds, device_bytes=device_bytes())
    return {
        **batch,
        COST: np.full(len(good), cost.to_text(), object),
        **_spread(found, good, images.shape[1]),
    }


def decode_and_embed(
    batch: Batch,
    decoder: Callable[[Column, Column], tuple[Any, dict[int, RejectedItem]]],
    embedder: Callable[[Any], Batch],
    device_bytes: Callable[[], int],
    turn: AbstractContextManager[Any],
) -> Batch:
    """Replace JPEGs and pixels of `read` by (N, 1, …) features; rejected rows get zeros.

    Args:
        batch: of `read`.
        decoder: as a `JpegDecoder`: pixels on the device, and those there are none of by number.
        embedder: turns these pixels into features.
        device_bytes: says how much memory of the GPU has been in use.
        turn: as in `embed`; the decoder does not take turns with the network.
    """
    contents, encoded = batch.pop(IMAGE), batch.pop(_ENCODED)
    reasons, messages = batch[schema.REASON].copy(), batch[schema.MESSAGE].copy()
    rows = np.flatnonzero(reasons == "")
    decoding, watch = Timer(), Timer()
    with decoding:
        pixels, rejected = decoder(contents[rows], encoded[rows])
    with turn, watch:
        found = embedder(pixels)
    for number, reject in rejected.items():
        reasons[rows[number]], messages[rows[number]] = reject.reason.value, reject.message
    cost = _cost(batch) + Cost(
        decode_seconds=decoding.seconds,
        compute_seconds=watch.seconds,
        device_bytes=device_bytes(),
    )
    changed = {
        schema.REASON: reasons,
        schema.MESSAGE: messages,
        COST: np.full(len(reasons), cost.to_text(), object),
    }
    return {**batch, **changed, **_spread(found, reasons == "", 1)}


def write_partition(
    batch: Batch, *, root: str, spec: Spec, form: Format, predictor: Predictor | None
) -> pa.Table:
    """Write one unit's partitions and return a row for each file."""
    units = set(batch[UNIT])
    if len(units) != 1 or len(batch[UNIT]) != batch[UNIT_ROWS][0]:
        raise RaypipeError(
            f"a block must hold exactly one unit; got {len(batch[UNIT])} rows of {len(units)} "
            f"units, the first of {batch[UNIT_ROWS][0]} rows"
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
