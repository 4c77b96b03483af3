"""Stores of generated features: overlapping blobs, made piece by piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from raypipe import schema
from raypipe.spec import Output, Spec
from raypipe.storage import FolderStorage
from raypipe.store.coverage import publish
from raypipe.store.identity import create_store
from raypipe.store.partition import write_unit
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import Part

_PARTITION_BYTES = 2**23


def blob_store(
    folder: Path, rows: int, width: int, classes: int, *, seed: int = 0, spread: float = 8.0
) -> StoreReader:
    """Write a store of (rows, width) float32 features, labelled by blob."""
    spec = Spec(
        backbone="generated",
        weights_sha256=str(seed),
        outputs=(Output(column="features", layer="blobs"),),
    )
    storage = FolderStorage(folder)
    create_store(storage, spec, {"source": "generated"}, "parquet")
    random = np.random.default_rng(seed)
    centers = random.normal(size=(classes, width)).astype(np.float32)
    parts = []
    length = max(1, _PARTITION_BYTES // (4 * width))
    for start in range(0, rows, length):
        count = min(length, rows - start)
        y = random.integers(0, classes, count)
        x = random.standard_normal((count, width), np.float32) * np.float32(spread) + centers[y]
        names = [f"{n:09d}" for n in range(start, start + count)]
        columns = {
            "id": names,
            "uri": names,
            "etag": ["1"] * count,
            "label": [f"{c:03d}" for c in y],
            "split": [None] * count,
        }
        files = write_unit(
            storage,
            f"u{start:09d}",
            spec.fingerprint,
            pa.table(columns, schema=schema.ITEMS),
            {"features": x},
            schema.REJECTS.empty_table(),
        )
        parts += [Part(file) for file in files]
    publish(storage, spec.fingerprint, tuple(parts))
    return StoreReader(storage.uri)
