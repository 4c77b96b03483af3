"""How fast sources are listed and planned, and how much memory that takes.

python -m benchmarks.scale.listings '{"kind": "csv", "items": 10000}'
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.scale.sections import Section, slope
from benchmarks.scale.stores import SPEC
from benchmarks.scale.watch import own_mib, run
from raypipe import schema
from raypipe.config import ExtractConfig
from raypipe.plan import make_plan
from raypipe.rows.listing import Listing
from raypipe.sources import open_source

__all__ = ["listings", "measure"]

_PER_FOLDER = 1000
_FEW = 100
_STEPS = ("list", "plan", "plan again")


def listings(sizes: dict[str, list[int]]) -> Section:
    """List and plan sources of more and more items.

    Args:
        sizes: by kind: `folder` or `csv`.
    """
    rows, slopes = [], []
    for kind, counts in sizes.items():
        found = [run("listings", kind=kind, items=count) for count in counts]
        slopes += [
            f"{kind}, {step} {slope(counts, [one[step] for one in found]):.2f}" for step in _STEPS
        ]
        for count, one in zip(counts, found, strict=True):
            rates = (f"{count / one[step]:,.0f}" for step in _STEPS)
            rows.append((kind, f"{count:,}", *rates, f"{one['mib']:.0f}", f"{one['covered']:.0f}"))
    text = (
        "Items per second: listed, with the check for repeated ids; cut into units, the store "
        "being empty; and planned again with a store that covers all of them. MiB are what the "
        "process takes beyond its imports, with the units, and with the covered items' versions. "
        "Slopes in the logarithms: " + "; ".join(slopes) + "."
    )
    head = ("source", "items", *(f"{step}/s" for step in _STEPS), "MiB", "MiB covered")
    return Section("Listing and planning", text, head, tuple(rows))


def measure(kind: str, items: int) -> dict[str, Any]:
    """Return seconds of each step, and MiB of this process beyond what it began with."""
    if items > _FEW:
        measure(kind, _FEW)  # what is imported on first use is imported now
    with tempfile.TemporaryDirectory() as folder:
        path = (_folder if kind == "folder" else _manifest)(Path(folder), items)
        source = open_source(ExtractConfig(source=str(path), out="unused"))
        before, started = own_mib(), time.monotonic()
        with Listing(source.list()) as listing:
            listed = time.monotonic()
            plan = make_plan(listing, None, SPEC)
            planned = time.monotonic()
            if plan.pending != items:
                raise RuntimeError(f"{plan.pending} of {items} items are to be done")
            grown = own_mib() - before
            columns = list(schema.VERSION_COLUMNS)
            known = pa.Table.from_batches([batch.select(columns) for batch in listing.batches()])
            again = time.monotonic()
            if make_plan(listing, known, SPEC).pending:
                raise RuntimeError("covered items are to be done again")
            spent = time.monotonic() - again
            covered = own_mib() - before
    return {
        "list": listed - started,
        "plan": planned - listed,
        "plan again": spent,
        "mib": grown,
        "covered": covered,
    }


def _folder(folder: Path, items: int) -> Path:
    for number in range(items):
        place = folder / f"class{number // _PER_FOLDER:04d}"
        if number % _PER_FOLDER == 0:
            place.mkdir()
        (place / f"image_{number:09d}.jpg").touch()
    return folder


def _manifest(folder: Path, items: int) -> Path:
    path = folder / "images.csv"
    with path.open("w") as file:
        file.write("uri,label\n")
        for number in range(items):
            label = f"class{number % 100:03d}"
            file.write(f"photographs/{label}/image_{number:09d}.jpg,{label}\n")
    return path


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
