"""The part of a page about a store of features, and what stores of predictions share with it."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe import schema
from raypipe.errors import MAY_PASS, RejectReason
from raypipe.reports.album import Album
from raypipe.reports.page import PagePart, Picture
from raypipe.reports.wording import Facts, many, spec_facts
from raypipe.store.history import last_listing, read_runs
from raypipe.store.reader import StoreReader

_SOME = 24
_OF_REASON = 12
_RUNS = 50
_NO_LABEL = "(none)"
#: Of these there is nothing to see, and to look might take long.
_WITHOUT_BYTES = (RejectReason.EMPTY, RejectReason.UNREADABLE, *MAY_PASS)


def features_part(store: StoreReader, album: Album) -> PagePart:
    """Return the part about what is in a store, what is not, and what it took."""
    images = _some(store)
    album.add([str(picture.uri) for picture in images])
    columns = [(name, store.shapes.get(name), str(store.dtype(name))) for name in store.columns]
    items, rejects = store.snapshot.rows // store.spec.views, store.snapshot.rejects
    labels = _counts(store.label_counts())
    content = {
        "image_count": items,
        "made": _made(store, items, len([name for name, _ in labels if name != _NO_LABEL])),
        "rejected": rejects,
        "facts": store_facts(store),
        "columns": columns,
        "spec": spec_facts(store.spec, store.provenance),
        "labels": labels,
        "splits": _counts(store.split_counts()),
        "images": images,
        "rejects": rejected(store.rejects(), album),
        "runs": runs_of(store),
        "run_count": run_count(store),
    }
    headline = f"Features of {many(items, 'image')}, {many(rejects, 'file')} rejected"
    return PagePart("features.html", "Features", headline, content, {})


def _made(store: StoreReader, items: int, labels: int) -> list[str]:
    """Return what became of the images, in words."""
    vectors = [
        f"each has {many(prod(shape), 'number')} ({name})"
        for name, shape in store.shapes.items()
        if items
    ]
    return [*vectors, *([many(labels, "label")] if labels else [])]


def store_facts(store: StoreReader) -> Facts:
    """Return how much there is, and where it came from."""
    items = store.snapshot.rows // store.spec.views
    size = sum(part.file.bytes for part in store.snapshot.parts)
    views = f", {store.spec.views} rows each" if store.spec.views > 1 else ""
    return [
        ("store", store.uri),
        ("source", str(store.provenance.get("source", "not recorded"))),
        ("snapshot", f"{store.snapshot.number}, made {store.snapshot.created or 'never'}"),
        ("images", f"{items}{views}"),
        ("rejects", str(store.snapshot.rejects)),
        *(
            (name.replace("_", " "), "; ".join(f"{n} × {why}" for why, n in counts.items()))
            for name, counts in last_listing(store.storage, store.snapshot.number).items()
            if counts
        ),
        ("partitions", f"{len(store.snapshot.data)}, {store.format}, {size / 1e6:.1f} MB"),
    ]


def rejected(rejects: pa.Table, album: Album) -> list[tuple[str, int, list[tuple[Picture, str]]]]:
    """Return for each reason how many images were rejected, and some of them with the message."""
    found = []
    reasons = np.array(rejects[schema.REASON].to_pylist(), object)
    for reason in sorted(set(reasons)):
        rows = np.flatnonzero(reasons == reason)
        examples = rejects.take(rows[:_OF_REASON]).to_pylist()
        pictures = [
            (Picture(row[schema.ID], row.get(schema.URI)), row[schema.MESSAGE]) for row in examples
        ]
        if reason not in _WITHOUT_BYTES:
            album.add_remains(picture.uri for picture, _ in pictures if picture.uri)
        found.append((str(reason), len(rows), pictures))
    return found


def runs_of(store: StoreReader) -> list[dict[str, Any]]:
    """Return the newest runs, the newest one first, each with the shares of its work."""
    runs = []
    for run in reversed(read_runs(store.storage, store.snapshot.number)[-_RUNS:]):
        work = run.get("work_seconds") or {}
        total = sum(work.values())
        shares = {step: seconds / total for step, seconds in work.items()} if total else {}
        runs.append(run | {"shares": shares})
    return runs


def run_count(store: StoreReader) -> int:
    """Return how many runs there were, of which `runs_of` returns the newest."""
    return len(read_runs(store.storage, store.snapshot.number))


def _some(store: StoreReader) -> list[Picture]:
    """Return images from all over the store, without reading it all."""
    parts = len(store.snapshot.data)
    chosen = np.unique(np.linspace(0, max(parts - 1, 0), min(parts, _SOME)).astype(int))
    each = -(-_SOME // max(len(chosen), 1))
    pictures: list[Picture] = []
    for number in chosen:
        table = next(
            store.iter_part(int(number), [schema.ID, schema.URI, schema.LABEL, schema.VIEW]), None
        )
        if table is None:
            continue
        rows = np.flatnonzero(table[schema.VIEW].to_numpy() == 0)
        spread = rows[np.unique(np.linspace(0, len(rows) - 1, each).astype(int))]
        pictures += [
            Picture(row[schema.ID], row[schema.URI], row[schema.LABEL] or "")
            for row in table.take(spread).to_pylist()
        ]
    return pictures[:_SOME]


def _counts(counts: dict[str | None, int]) -> list[tuple[str, int]]:
    """Return names and counts, the most frequent first; nothing if no row has a name."""
    if set(counts) <= {None}:
        return []
    order = sorted(counts.items(), key=lambda entry: -entry[1])
    return [(name or _NO_LABEL, count) for name, count in order]
