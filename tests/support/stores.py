"""Stores made without a network: a number per image for a feature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from raypipe import schema
from raypipe.spec import Augment, Output, Spec
from raypipe.storage import FolderStorage, Storage
from raypipe.store.coverage import publish
from raypipe.store.identity import create_store
from raypipe.store.master import write_master
from raypipe.store.partition import Format, write_unit
from raypipe.store.snapshot import Part, Snapshot

WIDTH = 3


def make_spec(columns: Sequence[str] = ("features",), views: int = 1, **changes: Any) -> Spec:
    outputs = tuple(
        Output(column=name, layer=name, pool="argmax" if name == "map" else "avg")
        for name in columns
    )
    augment = Augment(views=views - 1, flip=True) if views > 1 else None
    return Spec(backbone="b", weights_sha256="w", outputs=outputs, augment=augment, **changes)


def items_of(names: Sequence[str], **columns: Sequence[str | None]) -> pa.Table:
    """Items whose label is what stands before `/` in their name, or none."""
    count = len(names)
    given: dict[str, Any] = {
        "id": names,
        "uri": [f"/{name}" for name in names],
        "etag": ["1"] * count,
        "label": [name.partition("/")[0] if "/" in name else None for name in names],
        "split": [None] * count,
    }
    return pa.table(given | columns, schema=schema.ITEMS)


def one_picture(folder: Path, names: Sequence[str], **columns: Sequence[str | None]) -> pa.Table:
    """Items that are copies of one file in a folder, which can be read."""
    file = folder / "picture.png"
    if not file.exists():
        Image.new("RGB", (8, 8), "red").save(file)
    return items_of(names, uri=[str(file)] * len(names), **columns)


def value_of(name: str, view: int = 0) -> float:
    return float(sum(name.encode()) % 997 + view * 1000)


def features_of(names: Sequence[str], spec: Spec) -> dict[str, np.ndarray]:
    flat = [value_of(name, view) for name in names for view in range(spec.views)]
    values = np.array(flat, spec.dtype)
    return {
        o.column: values.astype(np.int32)
        if o.pool == "argmax"
        else np.repeat(values[:, None], WIDTH, axis=1) + np.arange(WIDTH, dtype=spec.dtype)
        for o in spec.outputs
    }


def write(storage: Storage, spec: Spec, unit: str, items: pa.Table, form: Format) -> list[Part]:
    bad = np.array([name.endswith("!") for name in items["id"].to_pylist()], bool)
    good, rest = items.filter(pa.array(~bad)), items.filter(pa.array(bad))
    reason = pa.array(["corrupt"] * len(rest), pa.string())
    rejects = rest.append_column("reason", reason).append_column("message", reason)
    features = features_of(good["id"].to_pylist(), spec)
    files = write_unit(
        storage, unit, spec.fingerprint, good, features, rejects.cast(schema.REJECTS), form
    )
    return [Part(file) for file in files]


def make_store(
    folder: Path, units: Sequence[pa.Table], spec: Spec, form: Format = "parquet"
) -> tuple[FolderStorage, Snapshot]:
    """A store with a partition for each unit, published as one snapshot."""
    storage = FolderStorage(folder)
    return storage, fill(storage, units, spec, form)


def fill(storage: Storage, units: Sequence[pa.Table], spec: Spec, form: Format) -> Snapshot:
    """Make a store in a folder or bucket."""
    create_store(storage, spec, {"source": "test"}, form)
    parts = [p for i, unit in enumerate(units) for p in write(storage, spec, f"u{i}", unit, form)]
    snapshot = publish(storage, spec.fingerprint, tuple(parts))
    write_master(storage, snapshot, spec)
    return snapshot
