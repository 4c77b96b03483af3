"""What checksums cost: `verify` beside reading alone, an export and a fit with and without.

    python -m benchmarks.verification           # 10⁶ rows; some minutes
    python -m benchmarks.verification --quick   # a smoke run, which leaves RESULTS.md as it is

Files are in the page cache. Runs with and without take turns, and their order changes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import raypipe
from benchmarks import report, results
from benchmarks.stores import blob_store
from raypipe.storage import open_storage
from raypipe.store.reader import StoreReader
from raypipe.store.verification import verify

WIDTH, CLASSES = 128, 10
READERS = 4  # as many as `verify` has


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    given = parser.parse_args()
    rows, fitted = (20_000, 2_000) if given.quick else (10**6, 100_000)
    found = measure(rows, fitted, given.rounds)
    print(found["text"])
    for line in found["table"]:
        print("  ".join(line))
    if not given.quick:
        results.put("verification", [found])
        report.write()


def measure(rows: int, fitted: int, rounds: int) -> dict[str, Any]:
    """Return a section with the medians of all steps."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = blob_store(root / "store", rows, WIDTH, CLASSES)
        size = sum(part.file.bytes for part in store.snapshot.parts)
        small = blob_store(root / "small", fitted, WIDTH, CLASSES).uri
        export = partial(raypipe.export, store.uri, out=root / "x.npy", to="npy")
        fit = partial(raypipe.train, small, out=root / "model", grid="C=1", cv=2, replace=True)
        beside = "beside one that does not compare"
        lines = [
            ("`verify`, beside reading the same files", *turns(store, rounds)),
            (f"`export` of {rows:,} rows, {beside}", *with_and_without(export, rounds)),
            (f"`train` on {fitted:,} rows, {beside}", *with_and_without(fit, rounds)),
        ]
    table = [["", "with, s", "without, s", "more"]]
    table += [[what, f"{a:.2f}", f"{b:.2f}", f"{ratio - 1:+.0%}"] for what, a, b, ratio in lines]
    speed = size / lines[0][1] / 1e9
    text = (
        f"{rows:,} generated rows of {WIDTH} float32 in Parquet, {size / 1e6:,.0f} MB in the page "
        f"cache: `verify` took {lines[0][1]:.2f} s, {speed:.2f} GB/s. Medians of {rounds} rounds, "
        "in which both take turns; *more* is the median of the ratios within a round."
    )
    return {"title": "What comparing checksums costs", "text": text, "table": table}


def turns(store: StoreReader, rounds: int) -> tuple[float, float, float]:
    """Time `verify` and reading alone; return both medians, and that of their ratio."""
    storage, root = open_storage(store.uri), Path(store.uri)
    names = [part.file.path for part in store.snapshot.parts]

    def read() -> None:
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(lambda name: len((root / name).read_bytes()), names))

    return alternated(lambda: verify(storage), read, rounds)


def with_and_without(call: Callable[[], Any], rounds: int) -> tuple[float, float, float]:
    """Time a call as it is, and where checksums are taken to be right unseen."""

    def without() -> None:
        with mock.patch("raypipe.store.checksums.is_whole", return_value=True):
            call()

    return alternated(call, without, rounds)


def alternated(
    one: Callable[[], Any], other: Callable[[], Any], rounds: int
) -> tuple[float, float, float]:
    """Time both in turns; return the medians of both, and that of their ratio."""
    other()  # imports, and files to the page cache
    pairs = [
        (timed(one), timed(other)) if number % 2 else (timed(other), timed(one))[::-1]
        for number in range(rounds)
    ]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)


def timed(call: Callable[[], Any]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
