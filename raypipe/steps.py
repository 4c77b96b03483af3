"""The steps of the flow, as plain functions on one unit, which travels as in `reading`; no Ray."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.cost import Cost, Finished, Timer
from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.predictions.predictor import Predictor, to_arrow
from raypipe.reading import (
    COST,
    UNIT,
    UNIT_ROWS,
    Batch,
    Pixels,
    Reading,
    decoded,
    items_of,
    left_encoded,
)
from raypipe.spec import Spec
from raypipe.storage import open_storage
from raypipe.store.partition import File, Format, write_unit

__all__ = [
    "IMAGE",
    "decode_and_embed",
    "embed",
    "feature_column",
    "from_block",
    "predict_rows",
    "read",
    "read_and_decode",
    "read_and_embed",
    "to_block",
    "write_partition",
]

IMAGE = "image"
_ENCODED = "encoded"
Column = npt.NDArray[Any]
_LOG = logging.getLogger("raypipe")


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
    reading, size = _decoding(batch, spec, max_pixels), spec.preprocess.size
    images = np.zeros((len(reading.items), spec.views, size, size, 3), np.uint8)
    for i, views in reading:
        images[i] = views
    return {**reading.columns(batch, one_server), IMAGE: images}


def read(batch: Batch, *, spec: Spec, max_pixels: int, one_server: bool) -> Batch:
    """Do what `read_and_decode` does, but leave plain JPEGs for `decode_and_embed` to decode."""
    items = items_of(batch)
    reading: Reading[bytes | Pixels] = Reading(
        items, lambda items, count: left_encoded(items, spec, max_pixels, count)
    )
    contents, encoded = np.full(len(items), b"", object), np.zeros(len(items), bool)
    for i, found in reading:
        encoded[i] = isinstance(found, bytes)
        contents[i] = found if isinstance(found, bytes) else found.tobytes()
    return {**reading.columns(batch, one_server), IMAGE: contents, _ENCODED: encoded}


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
    reading, whole = _decoding(batch, spec, max_pixels), Timer()
    with whole:
        found = embedder(image for _, views in reading for image in views)
    spent = reading.watch.seconds
    cost = Cost(read_seconds=spent, compute_seconds=whole.seconds - spent, bytes_read=reading.bytes)
    columns = reading.columns(batch, one_server, cost)
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


def decode_and_embed(
    batch: Batch,
    decoder: Callable[[Column, Column], tuple[Any, dict[int, RejectedItem]]],
    embedder: Callable[[Any], Batch],
    device_bytes: Callable[[], int],
) -> Batch:
    """Replace JPEGs and pixels of `read` by (N, 1, …) features; rejected rows get zeros.

    Args:
        batch: of `read`.
        decoder: as a `JpegDecoder`: pixels on the device, and those there are none of by number.
        embedder: turns these pixels into features.
        device_bytes: says how much memory of the GPU has been in use.
    """
    contents, encoded = batch.pop(IMAGE), batch.pop(_ENCODED)
    reasons, messages = batch[schema.REASON].copy(), batch[schema.MESSAGE].copy()
    rows = np.flatnonzero(reasons == "")
    watch = Timer()
    with watch:
        pixels, rejected = decoder(contents[rows], encoded[rows])
        found = embedder(pixels)
    for number, reject in rejected.items():
        reasons[rows[number]], messages[rows[number]] = reject.reason.value, reject.message
    cost = _cost(batch) + Cost(compute_seconds=watch.seconds, device_bytes=device_bytes())
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
    batch = without_infinite(batch, spec)
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
    batch = without_infinite(batch, spec)
    good = batch[schema.REASON] == ""
    columns = to_arrow(predictor(_features(batch, spec, good)))
    place = pa.array(np.cumsum(good) - 1, mask=~good)
    names = (schema.ID, schema.LABEL, schema.REASON, schema.MESSAGE)
    items = {name: pa.array(batch[name], pa.string(), from_pandas=True) for name in names}
    return pa.table(items | {name: values.take(place) for name, values in columns.items()})


def without_infinite(batch: Batch, spec: Spec) -> Batch:
    """Reject the items of which a feature cannot be kept: NaN, infinite, or beyond its type."""
    reasons, messages = batch[schema.REASON].copy(), batch[schema.MESSAGE].copy()
    for output in spec.outputs:
        found = batch[feature_column(output.column)]
        if found.dtype.kind != "f":
            continue
        finite = np.isfinite(found).reshape(len(found), -1)
        for row in np.flatnonzero(~finite.all(axis=1) & (reasons == "")):
            reasons[row] = RejectReason.NOT_FINITE.value
            messages[row] = _not_finite(output.column, found[row], spec)
    return {**batch, schema.REASON: reasons, schema.MESSAGE: messages}


def _not_finite(column: str, values: npt.NDArray[Any], spec: Spec) -> str:
    """Say how many values are lost, and which option may keep them."""
    lost = int((~np.isfinite(values)).sum())
    what = "NaN" if np.isnan(values).any() else "infinite"
    advice = [
        "--dtype float32" if spec.dtype == "float16" and what == "infinite" else "",
        "--precision fp32" if spec.precision != "fp32" else "",
    ]
    options = " or ".join(filter(None, advice))
    hint = f"; a new store with {options} may keep them" if options else ""
    return f"{lost} of {values.size} values of {column} are {what} as {spec.dtype}{hint}"


def _decoding(batch: Batch, spec: Spec, max_pixels: int) -> Reading[Pixels]:
    return Reading(items_of(batch), lambda items, count: decoded(items, spec, max_pixels, count))


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
