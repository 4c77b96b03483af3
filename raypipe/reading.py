"""Reading the items of a unit, and decoding them, as plain functions; no Ray.

A unit travels as a batch of columns: `unit`, `unit_rows`, the texts of its items, why an item is a
reject, its pixels (or its JPEG) or its features, and what it has taken so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.augment import view
from raypipe.cost import Cost, Timer
from raypipe.decode import decode
from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.jpeg import is_plain_jpeg
from raypipe.sources.ahead import read_items
from raypipe.spec import Spec
from raypipe.transforms import least_side, to_pixels

Batch = dict[str, npt.NDArray[Any]]
Pixels = npt.NDArray[np.uint8]
T = TypeVar("T")

UNIT = "unit"
ITEMS = "items"
COST = "cost"
UNIT_ROWS = "unit_rows"
_OUTAGE_ITEMS = 8  # a few images may be unlucky alone


@dataclass(frozen=True)
class ReadOptions:
    """What the steps of a flow are told of how to read.

    Attributes:
        spec: what the features are.
        max_pixels: cap on an image's pixels.
        one_server: whether all items come from the same server, so that its failure concerns all.
    """

    spec: Spec
    max_pixels: int
    one_server: bool = False


class Fetch:
    """Fetches the bytes of items.

    Attributes:
        watch: the time that is waited for them.
        bytes: how many there were.
    """

    def __init__(self) -> None:
        self.watch, self.bytes = Timer(), 0

    def __call__(
        self, items: pa.Table, options: ReadOptions
    ) -> Iterator[tuple[str, bytes | RejectedItem]]:
        """Yield each item's id with its bytes, or why there are none."""
        found = read_items(items[schema.URI].to_pylist(), options.max_pixels)
        fetched = self.watch.watch(found)
        for item, data in zip(items[schema.ID].to_pylist(), fetched, strict=True):
            self.bytes += 0 if isinstance(data, RejectedItem) else memoryview(data).nbytes
            yield item, data


def decoded(
    items: pa.Table, options: ReadOptions, fetch: Fetch | None = None
) -> Iterator[Pixels | RejectedItem]:
    """Yield each item's (views, size, size, 3) pixels, or why there are none."""
    for item, data in (fetch or Fetch())(items, options):
        yield data if isinstance(data, RejectedItem) else _views(item, data, options)


def left_encoded(
    items: pa.Table, options: ReadOptions, fetch: Fetch | None = None
) -> Iterator[bytes | Pixels | RejectedItem]:
    """Do what `decoded` does, except for plain JPEGs, which stay as they are.

    Yields:
        For each item the bytes of a plain JPEG, (views, size, size, 3) uint8, or a reject.
    """
    for item, data in (fetch or Fetch())(items, options):
        if isinstance(data, RejectedItem) or is_plain_jpeg(data, options.max_pixels):
            yield data
        else:
            yield _views(item, data, options)


def _views(item: str, data: bytes, options: ReadOptions) -> Pixels | RejectedItem:
    spec = options.spec
    try:
        image = decode(data, options.max_pixels, least_side(spec.preprocess))
        first = to_pixels(image, spec.preprocess)
        augmented = range(1, spec.views) if spec.augment else ()
        views = [view(first, spec.augment, item, n) for n in augmented]  # type: ignore[arg-type]
        return np.stack([first, *views]) if views else first[None]
    except RejectedItem as reject:
        return reject
    except MemoryError:
        return RejectedItem(RejectReason.TOO_LARGE, "out of memory")


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
        contents: Callable[[pa.Table, ReadOptions, Fetch], Iterator[T | RejectedItem]],
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
            RaypipeError: the only server that they come from did not answer for any of them.
        """
        if self.options.one_server:
            self._check_server()
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

    def _check_server(self) -> None:
        """Stop if nothing came from the only server there is."""
        down = self.reasons == RejectReason.UNAVAILABLE.value
        if down.all() and len(down) >= _OUTAGE_ITEMS:
            raise RaypipeError(
                f"SOURCE: none of {len(down)} images could be fetched: {self.messages[0]}"
            )


def items_of(batch: Batch) -> pa.Table:
    """Return a unit's items."""
    return pa.ipc.open_stream(batch[ITEMS][0]).read_all()
