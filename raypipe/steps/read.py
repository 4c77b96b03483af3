"""Reading of a unit's items, and decoding them, as plain functions; no Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, TypeVar
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from PIL.Image import Image

from raypipe import schema
from raypipe.errors import RejectedItem, RejectReason
from raypipe.images import Pixels
from raypipe.images.augment import view
from raypipe.images.decode import decode
from raypipe.images.jpeg import is_plain_jpeg
from raypipe.images.transforms import least_side, to_pixels
from raypipe.rows.unit import Unit
from raypipe.sources.ahead import read_items
from raypipe.sources.files import needs_requests
from raypipe.sources.servers import server
from raypipe.steps.batch import (
    COST,
    ENCODED,
    IMAGE,
    UNIT,
    UNIT_ROWS,
    Batch,
    ReadOptions,
    items_of,
)
from raypipe.steps.cost import Cost, Timer
from raypipe.steps.guard import guard_of
from raypipe.steps.outage import check_outage

T = TypeVar("T")

_SAMPLED_UNITS = 16


def one_server(units: list[Unit]) -> bool:
    """Whether a sample of the items comes from one server, so that its failure concerns all."""
    some = units[:: max(1, len(units) // _SAMPLED_UNITS)]
    uris = {uri for unit in some for uri in unit.items[schema.URI].to_pylist()}
    return len({_server_of(uri) for uri in uris}) == 1


def _server_of(uri: str) -> str:
    """Return the server of an item, or of the container that it is in."""
    return server(unquote(uri.partition(":")[2]) if needs_requests(uri) else uri)


class Fetch:
    """Fetches the bytes of items.

    Attributes:
        watch: the time that is waited for them.
        bytes: how many there were.
        elsewhere: what reading and decoding took, where another process did it.
    """

    def __init__(self) -> None:
        self.watch, self.bytes = Timer(), 0
        self.elsewhere: Cost | None = None

    def __call__(
        self, items: pa.Table, options: ReadOptions
    ) -> Iterator[tuple[str, str, bytes | RejectedItem]]:
        """Yield each item's id and URI with its bytes, or why there are none."""
        uris = items[schema.URI].to_pylist()
        found = read_items(items, options.max_pixels, server_etags=options.server_etags)
        fetched = self.watch.watch(found)
        for item, uri, data in zip(items[schema.ID].to_pylist(), uris, fetched, strict=True):
            self.bytes += 0 if isinstance(data, RejectedItem) else memoryview(data).nbytes
            yield item, uri, data


def decoded(
    items: pa.Table, options: ReadOptions, fetch: Fetch | None = None
) -> Iterator[Pixels | RejectedItem]:
    """Yield each item's (views, height, width, 3) pixels, or why there are none."""
    import torch.nn.functional  # noqa: F401 - takes seconds, which are not the first image's

    keep = _keeper(options)
    for item, uri, data in (fetch or Fetch())(items, options):
        if isinstance(data, RejectedItem):
            yield data
        else:
            yield keep(uri, partial(_views, item, data, options))


def images(items: pa.Table, options: ReadOptions, fetch: Fetch) -> Iterator[Image | RejectedItem]:
    """Yield each item's whole RGB image, or why there is none: what takes no torch."""
    keep = _keeper(options)
    for _, uri, data in fetch(items, options):
        yield data if isinstance(data, RejectedItem) else keep(uri, partial(_image, data, options))


def left_encoded(
    items: pa.Table, options: ReadOptions, fetch: Fetch | None = None
) -> Iterator[bytes | Pixels | RejectedItem]:
    """Do what `decoded` does, except for plain JPEGs, which stay as they are.

    Yields:
        For each item the bytes of a plain JPEG, (views, height, width, 3) uint8, or a reject.
    """
    keep = _keeper(options)
    for item, uri, data in (fetch or Fetch())(items, options):
        if isinstance(data, RejectedItem) or is_plain_jpeg(data, options.max_pixels):
            yield data
        else:
            yield keep(uri, partial(_views, item, data, options))


def _keeper(options: ReadOptions) -> Callable[[str, Callable[[], T]], T | RejectedItem]:
    """Return what calls a function that decodes an image, within the limits there are."""
    if options.limits is None:
        return lambda _, decoding: decoding()
    guard = guard_of(options.limits)
    guard.look()
    return guard


def _views(item: str, data: bytes, options: ReadOptions) -> Pixels | RejectedItem:
    image = _image(data, options)
    return image if isinstance(image, RejectedItem) else views_of(image, item, options)


def _image(data: bytes, options: ReadOptions) -> Image | RejectedItem:
    how = options.spec.preprocess
    try:
        return decode(data, options.max_pixels, least_side(how), how.orientation, how.decoders)
    except RejectedItem as reject:
        return reject


def views_of(image: Image, item: str, options: ReadOptions) -> Pixels | RejectedItem:
    """Return the (views, height, width, 3) uint8 pixels that enter the network.

    Args:
        image: RGB.
        item: its id, which random views depend on.
        options: how items are read.
    """
    spec = options.spec
    try:
        first = to_pixels(image, spec.preprocess)
        if spec.augment is None:
            return first[None]
        numbers = range(1, spec.augment.views + 1)
        own = [first] if spec.augment.original else []
        return np.stack([*own, *(view(first, spec.augment, item, n) for n in numbers)])
    except MemoryError:
        return RejectedItem(RejectReason.TOO_LARGE, "out of memory")


#: What gives each item's content, or why there is none.
Contents = Callable[[pa.Table, ReadOptions, Fetch], Iterator[T | RejectedItem]]


class ReadOutcome(Generic[T]):
    """What comes of reading a unit's items; iterating gives row and content of the good ones.

    Args:
        items: the items.
        contents: what there is of each of them, or why there is nothing; `decoded` or
            `left_encoded`.
        options: how they are read.

    Attributes:
        reasons: why each row is a reject; empty for one that is none.
        messages: the same in detail.
        watch: the time it takes, with that of fetching.
        fetch: what fetches the bytes.
    """

    def __init__(
        self,
        items: pa.Table,
        contents: Contents[T],
        options: ReadOptions,
    ) -> None:
        self.items, self.options = items, options
        self.reasons = np.full(len(items), "", object)
        self.messages = np.full(len(items), "", object)
        self.watch, self.fetch = Timer(), Fetch()
        self._contents = contents(items, options, self.fetch)

    def __iter__(self) -> Iterator[tuple[int, T]]:
        for row, found in enumerate(self.watch.watch(self._contents)):
            if isinstance(found, RejectedItem):
                self.reasons[row], self.messages[row] = found.reason.value, found.message
            else:
                yield row, found

    @property
    def cost(self) -> Cost:
        """What it has taken."""
        if self.fetch.elsewhere is not None:
            return self.fetch.elsewhere
        waited = self.fetch.watch.seconds
        return Cost(
            read_seconds=waited,
            decode_seconds=self.watch.seconds - waited,
            bytes_read=self.fetch.bytes,
        )

    def columns(self, batch: Batch, also: Cost | None = None) -> Batch:
        """Return what is known of the items once they have been read.

        Args:
            batch: one row with the unit's items.
            also: what it took beside reading.

        Raises:
            RaypipeError: what they come from is out of order: see `check_outage`.
        """
        how = self.options
        check_outage(self.reasons, self.messages, how.run, one_server=how.one_server)
        cost = self.cost + (also or Cost())
        rows = len(self.items)
        texts = {n: np.array(self.items[n].to_pylist(), object) for n in self.items.column_names}
        return {
            UNIT: np.full(rows, batch[UNIT][0]),
            UNIT_ROWS: np.full(rows, rows),
            **texts,
            schema.REASON: self.reasons,
            schema.MESSAGE: self.messages,
            COST: np.full(rows, cost.to_text(), object),
        }


def read_and_decode(batch: Batch, *, options: ReadOptions) -> Batch:
    """Turn a unit's items into one block of pixels; a reject leaves its reason and a blank.

    Args:
        batch: one row with the unit's items.
        options: how they are read.

    Raises:
        RaypipeError: what the unit's items come from is out of order: see `check_outage`.
    """
    reading, spec = ReadOutcome(items_of(batch), decoded, options), options.spec
    shape = (len(reading.items), spec.views, *spec.preprocess.shape, 3)
    images = np.zeros(shape, spec.pixel_type)
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
    return {**reading.columns(batch), IMAGE: contents, ENCODED: encoded}
