"""What a rehearsal works on: some of the source's items, or pictures made for it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from raypipe import schema
from raypipe.plan import Listing, Unit
from raypipe.sources.remote import REMOTE_SCHEMES
from raypipe.spec import digest

__all__ = ["make_pictures", "share", "some_items", "unit_of", "write_pictures"]

#: Of generated pictures there are no more: one is like the other.
_MOST_PICTURES = 64
_PICTURE = (500, 375)
_QUALITY = 90


def some_items(listing: Listing, count: int, runs: int) -> pa.Table:
    """Return about `count` items, of `schema.ITEMS`, from all over a listing.

    Files and servers' images are taken one by one. What lies in archives and tables is taken in
    `runs` runs, as units of it are read: single rows of a compressed table would each cost as much
    as the many around them.
    """
    count = min(count, len(listing))
    single = _stands_alone(next(listing.batches())[schema.URI][0].as_py())
    runs = count if single else min(runs, count)
    length = count // runs
    starts = np.linspace(0, len(listing) - length, runs).astype(np.int64)
    wanted = np.unique((starts[:, None] + np.arange(length)).ravel())
    return pa.Table.from_batches(_pick(listing, wanted), schema.ITEMS)


def _pick(listing: Listing, wanted: npt.NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in listing.batches():
        first, last = np.searchsorted(wanted, [start, start + len(batch)])
        if last > first:
            yield batch.take(pa.array(wanted[first:last] - start))
        start += len(batch)


def share(items: pa.Table, number: int, count: int) -> pa.Table:
    """Return the items of one replica of `count`; all of them if there are fewer than replicas.

    Every replica gets items from all over the source, unless they are to be read in runs.
    """
    if len(items) < count:
        return items
    if _stands_alone(items[schema.URI][0].as_py()):
        return items.take(pa.array(np.arange(number, len(items), count)))
    cuts = np.linspace(0, len(items), count + 1).astype(int)
    return items.slice(cuts[number], cuts[number + 1] - cuts[number])


def _stands_alone(uri: str) -> bool:
    """Whether an item is a file of its own, and not part of one."""
    return uri.startswith("/") or uri.partition("://")[0] in REMOTE_SCHEMES


def unit_of(items: pa.Table, length: int, name: str) -> Unit:
    """Return a unit of `length` items: these, over and over, each time under other ids."""
    rows = np.arange(length) % len(items)
    chosen = items.take(pa.array(rows))
    ids = [f"{name}/{i}" for i in range(length)]
    table = chosen.set_column(0, schema.ITEMS.field(schema.ID), pa.array(ids, pa.string()))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return Unit(digest(name)[:32], length, bytes(sink.getvalue()))


def make_pictures(count: int) -> list[bytes]:
    """Return JPEGs of 500×375 pixels and about 110 kB, as ImageNet has them."""
    return [_picture(number) for number in range(min(count, _MOST_PICTURES))]


def _picture(number: int) -> bytes:
    noise = np.random.default_rng(number)
    coarse = noise.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(_PICTURE, Image.Resampling.BICUBIC))
    grain = smooth + noise.normal(0, 20, smooth.shape)
    file = io.BytesIO()
    Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def write_pictures(pictures: list[bytes], folder: Path) -> pa.Table:
    """Write pictures as files; return them as items, of `schema.ITEMS`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, data in enumerate(pictures):
        path = folder / f"{number:04d}.jpg"
        path.write_bytes(data)
        rows.append({schema.ID: path.name, schema.URI: str(path), schema.ETAG: ""})
    return pa.Table.from_pylist(rows, schema.ITEMS)
