"""Features of a unit's pixels, as plain functions on one unit; no Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe import schema
from raypipe.errors import RejectedItem
from raypipe.images import Pixels
from raypipe.steps.batch import (
    COST,
    ENCODED,
    IMAGE,
    Batch,
    Column,
    ReadOptions,
    cost_of,
    feature_column,
    items_of,
)
from raypipe.steps.cost import Cost, Timer
from raypipe.steps.read import Contents, ReadOutcome, decoded


def read_and_embed(
    batch: Batch,
    *,
    embedder: Callable[[Iterable[Pixels]], Batch],
    options: ReadOptions,
    contents: Contents[Pixels] = decoded,
) -> Batch:
    """Do what `read_and_decode` and then `embed` do, a few images at a time.

    For where one process does both: reading goes on while it computes, and pixels are used while
    they are in the cache.

    Args:
        batch: one row with the unit's items.
        embedder: turns (height, width, 3) images as they come into features; as `Embedder.stream`.
        options: as in `read_and_decode`, which also says what it raises.
        contents: what reads and decodes items.
    """
    reading, whole = ReadOutcome(items_of(batch), contents, options), Timer()
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
    cost = cost_of(batch) + Cost(compute_seconds=watch.seconds, device_bytes=device_bytes())
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
    contents, encoded = batch.pop(IMAGE), batch.pop(ENCODED)
    reasons, messages = batch[schema.REASON].copy(), batch[schema.MESSAGE].copy()
    rows = np.flatnonzero(reasons == "")
    decoding, watch = Timer(), Timer()
    with decoding:
        pixels, rejected = decoder(contents[rows], encoded[rows])
    with turn, watch:
        found = embedder(pixels)
    for number, reject in rejected.items():
        reasons[rows[number]], messages[rows[number]] = reject.reason.value, reject.message
    cost = cost_of(batch) + Cost(
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


def _spread(found: Batch, good: npt.NDArray[np.bool_], views: int) -> Batch:
    """Give each item (views, …) rows of the features of those that are good."""
    columns = {}
    for column, features in found.items():
        shape = (views, *features.shape[1:])
        columns[feature_column(column)] = rows = np.zeros((len(good), *shape), features.dtype)
        rows[good] = features.reshape(-1, *shape)
    return columns
