"""What a store of many partitions costs: to open, to cover, to publish to, to take up again.

python -m benchmarks.scale.stores '{"partitions": 1000, "rows": 10}'
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa

from benchmarks.scale.sections import Section, readable, slope
from benchmarks.scale.watch import run
from raypipe import schema
from raypipe.flow.plan import make_plan
from raypipe.rows.listing import Listing
from raypipe.spec import Output, Spec
from raypipe.storage import FolderStorage
from raypipe.store.adoption import adopt
from raypipe.store.coverage import cover, merge, publish
from raypipe.store.identity import create_store
from raypipe.store.partition import File, write_unit
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import Part, newest

__all__ = ["measure", "opening", "partitions", "snapshots"]

SPEC = Spec(
    backbone="fake", weights_sha256="0", outputs=(Output(column="features", layer="features"),)
)
_WIDTH = 64
_REJECTED = 10  # every so many units have a reject
_STEPS = ("write", "list", "adopt", "publish", "cover", "plan", "publish one more", "reject counts")


def snapshots(counts: list[int]) -> Section:
    """Open snapshots of more and more partitions; their files are not needed for it."""
    found = [run("stores", opened=count) for count in counts]
    growth = slope(counts, [one["open"] for one in found])
    text = f"Slope of the time to open in the logarithms: {growth:.2f}."
    rows = [
        (f"{n:,}", f"{one['bytes'] / 1e6:.1f}", f"{one['publish']:.2f}", f"{one['open']:.2f}")
        for n, one in zip(counts, found, strict=True)
    ]
    head = ("partitions", "MB of JSON", "s to write", "s to open")
    return Section("Snapshots", text, head, tuple(rows))


def partitions(counts: list[int], length: int) -> Section:
    """Do what a run does with a store, with more and more small partitions in it."""
    found = [run("stores", partitions=count, rows=length) for count in counts]
    steep = {s: slope(counts, [one[s] for one in found]) for s in _STEPS[1:] if len(counts) > 1}
    text = (
        f"Partitions of {length} rows, every tenth with a reject beside it; ms per partition. "
        "*write* encodes and commits one, with fsync and one process; *adopt* finds all of them "
        "after a kill; *cover* is what each run begins with; *publish one more* adds one to the "
        "others. "
        + "Slopes in the logarithms: "
        + ", ".join(f"{step} {value:.2f}" for step, value in steep.items())
        + "."
    )
    rows = [
        (f"{count:,}", *(readable(1e3 * one[step] / one["of"][step], 2) for step in _STEPS))
        for count, one in zip(counts, found, strict=True)
    ]
    return Section("Stores", text, ("partitions", *_STEPS), tuple(rows))


def measure(partitions: int, rows: int) -> dict[str, Any]:
    """Return seconds of each step, and by how many partitions they are to be divided."""
    with tempfile.TemporaryDirectory() as folder:
        storage = FolderStorage(folder)
        create_store(storage, SPEC, {"source": "generated"})
        found = {"write": _timed(lambda: _units(storage, rows, range(-_REJECTED, 0)))[0]}
        parts = _fill(storage, partitions, rows)
        found["list"] = _timed(lambda: storage.list("data"))[0]
        everything = cover(storage, parts)
        empty = cover(storage, ())
        with Listing(_items(everything.rows)) as listing:
            spent = partial(adopt, storage, empty, listing, SPEC.fingerprint)
            found["adopt"] = _timed(spent)[0]
            last = tuple(part for part in parts if part.file.unit == parts[-1].file.unit)
            first = tuple(part for part in parts if part not in last)
            found["publish"] = _timed(lambda: publish(storage, SPEC.fingerprint, first))[0]
            kept = newest(storage, SPEC.fingerprint)
            found["cover"], base = _timed(lambda: cover(storage, kept.parts))
            rest = adopt(storage, base, listing, SPEC.fingerprint)
            known = merge(base, rest).rows
            found["plan"] = _timed(lambda: make_plan(listing, known, SPEC))[0]
        more = partial(publish, storage, SPEC.fingerprint, last, covered=base)
        found["publish one more"] = _timed(more)[0]
        found["reject counts"] = _timed(lambda: StoreReader(storage.uri).reject_counts())[0]
    return found | {"of": {step: _REJECTED if step == "write" else partitions for step in _STEPS}}


def opening(count: int) -> dict[str, Any]:
    """Write and open a snapshot of partitions that do not exist."""
    with tempfile.TemporaryDirectory() as folder:
        storage = FolderStorage(folder)
        create_store(storage, SPEC, {"source": "generated"})
        names = [f"{number:032x}" for number in range(count)]
        parts = tuple(Part(File(f"data/part-{n}.parquet", n, 512, 2**20, 2 * n), ()) for n in names)
        spent = _timed(lambda: publish(storage, SPEC.fingerprint, parts))[0]
        size = storage.path("snapshots/00000001.json").stat().st_size
        opened, reader = _timed(lambda: StoreReader(storage.uri))
        if len(reader) != 512 * count:
            raise RuntimeError(f"{len(reader)} rows of {512 * count}")
    return {"publish": spent, "open": opened, "bytes": size}


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.monotonic()
    result = call()
    return time.monotonic() - started, result


def _fill(storage: FolderStorage, count: int, rows: int) -> tuple[Part, ...]:
    """Write partitions by as many processes as there are cores, without waiting for the disk."""
    pieces = [range(start, min(start + 256, count)) for start in range(0, count, 256)]
    with ProcessPoolExecutor() as pool:
        found = pool.map(partial(_units_unsynced, storage, rows), pieces)
        return tuple(Part(file) for files in found for file in files)


def _units_unsynced(storage: FolderStorage, rows: int, numbers: range) -> list[File]:
    with mock.patch("os.fsync"):
        return _units(storage, rows, numbers)


def _units(storage: FolderStorage, rows: int, numbers: range) -> list[File]:
    return [file for number in numbers for file in _unit(storage, number, rows)]


def _unit(storage: FolderStorage, number: int, rows: int) -> list[File]:
    names = [
        f"class{n % 100:03d}/image_{n:09d}.jpg" for n in range(number * rows, (number + 1) * rows)
    ]
    columns = {
        "id": names,
        "uri": [f"/data/photographs/{name}" for name in names],
        "etag": ["17a2b3c4d5e6f-1a2b3"] * rows,
        "label": [name[:8] for name in names],
        "split": [None] * rows,
    }
    items = pa.table(columns, schema=schema.ITEMS)
    bad = 0 if number % _REJECTED else 1
    reason = pa.array(["truncated"] * bad, pa.string())
    rejects = items.slice(0, bad).append_column("reason", reason).append_column("message", reason)
    return write_unit(
        storage,
        f"{number + _REJECTED:032x}",
        SPEC.fingerprint,
        items.slice(bad),
        {"features": np.full((rows - bad, _WIDTH), number, np.float32)},
        rejects.cast(schema.REJECTS),
    )


def _items(covered: pa.Table) -> list[pa.RecordBatch]:
    columns = {name: covered[name] for name in schema.VERSION_COLUMNS} | {"uri": covered["id"]}
    items = pa.table(columns).select(schema.ITEMS.names).cast(schema.ITEMS)
    found: list[pa.RecordBatch] = items.to_batches(max_chunksize=2**14)
    return found


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    print(json.dumps(opening(options["opened"]) if "opened" in options else measure(**options)))
