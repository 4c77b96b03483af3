"""A store as its readers see it: one snapshot, as arrays."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from raypipe import schema
from raypipe.errors import RaypipeError, UsageError
from raypipe.spec import Spec, difference
from raypipe.storage import Storage, local_path
from raypipe.store.snapshot import Part, Snapshot, newest, read_snapshot

__all__ = ["Features", "StoreReader", "create_store", "is_store"]

SPEC_FILE = "spec.json"
_FORMAT = 1


@dataclass(frozen=True)
class Features:
    """Features in memory, row by row: `features[i]` belongs to `ids[i]` and `labels[i]`.

    `labels` holds None where an item has no label. `features` is (N, …).
    """

    ids: npt.NDArray[np.object_]
    labels: npt.NDArray[np.object_]
    features: npt.NDArray[np.floating[Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def check_finite(self) -> None:
        """Make sure that there is no NaN or infinity.

        Raises:
            UsageError: naming the ids.
        """
        flat = self.features.reshape(len(self), -1)
        bad = self.ids[~np.isfinite(flat).all(axis=1)]
        if len(bad):
            raise UsageError(
                f"STORE: {len(bad)} rows have NaN or infinite features: {', '.join(bad[:5])}; "
                "extract with --precision fp32"
            )


class StoreReader:
    """One snapshot of a store. What is published later does not change it.

    Args:
        uri: the store's folder.
        snapshot: number of the snapshot; None opens the newest.
        option: the command line's name for `uri`, for messages.

    Raises:
        UsageError: there is no store, or no snapshot of that number.
    """

    def __init__(self, uri: str, snapshot: int | None = None, *, option: str = "STORE") -> None:
        self.storage = Storage(local_path(uri, option))
        content = _read_spec(self.storage, option)
        self.spec = Spec.model_validate(content["spec"])
        self.provenance: dict[str, Any] = content["provenance"]
        self.snapshot: Snapshot = (
            newest(self.storage, self.spec.fingerprint)
            if snapshot is None
            else read_snapshot(self.storage, snapshot)
        )

    @property
    def uri(self) -> str:
        """Where the store is."""
        return self.storage.uri

    @property
    def columns(self) -> list[str]:
        """Names of the feature columns: `features`, or the layers if there are several."""
        return list(schema.feature_columns(self.spec.layers).values())

    def column(self, layer: str | None = None) -> str:
        """Return the feature column of a layer; None means the only one.

        Raises:
            UsageError: there is no such layer, or there are several to choose from.
        """
        columns = schema.feature_columns(self.spec.layers)
        if layer is None and len(columns) > 1:
            raise UsageError(f"--layer: the store has several: {', '.join(columns)}; name one")
        if layer in columns.values():
            return str(layer)
        if layer is not None and layer not in columns:
            raise UsageError(f"--layer: no {layer!r} in the store; it has {', '.join(columns)}")
        return columns[layer or self.spec.layers[0]]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one row's features by column; empty where the snapshot has no partitions."""
        if not self.snapshot.data:
            return {}
        found = pq.read_schema(self.storage.path(self.snapshot.data[0].file.path))
        return {column: tuple(found.field(column).type.shape) for column in self.columns}

    def __len__(self) -> int:
        return self.snapshot.rows

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
        return (
            f"<Store {self.uri!r}: snapshot {self.snapshot.number}, {self.snapshot.rows} rows, "
            f"{self.snapshot.rejects} rejects, {shapes or 'no features'}>"
        )

    def iter_batches(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows partition by partition, holding one partition in memory.

        Args:
            columns: the columns to read; None reads all.
        """
        for part in self.snapshot.data:
            yield self._read(part, columns)

    def read_part(self, index: int) -> pa.Table:
        """Return the rows of one partition, by its position in the snapshot."""
        return self._read(self.snapshot.data[index], None)

    def to_arrow(self, columns: list[str] | None = None) -> pa.Table:
        """Return all rows, sorted by id and view."""
        needed = None if columns is None else list({*columns, schema.ID, schema.VIEW})
        tables = list(self.iter_batches(needed))
        if not tables:
            raise UsageError(f"STORE: {self.uri} has no features yet; run `raypipe extract` first")
        table = pa.concat_tables(tables)
        keys = [(schema.ID, "ascending"), (schema.VIEW, "ascending")]
        order = pa.compute.sort_indices(table.select([schema.ID, schema.VIEW]), sort_keys=keys)
        table = table.take(order)
        return table if columns is None else table.select(columns)

    def to_numpy(self, column: str | None = None) -> Features:
        """Return ids, labels and features as arrays, sorted by id.

        Args:
            column: the feature column; may be left out where there is one.

        Raises:
            UsageError: no such column, or nothing in the store.
        """
        column = self.column(column)
        table = self.to_arrow([schema.ID, schema.LABEL, column])
        tensor = table[column].combine_chunks()
        return Features(
            ids=table[schema.ID].to_numpy(),
            labels=np.array(table[schema.LABEL].to_pylist(), dtype=object),
            features=tensor.to_numpy_ndarray(),
        )

    def to_pandas(self) -> Any:
        """Return all rows as a pandas DataFrame, sorted by id."""
        return self.to_arrow().to_pandas()

    def rejects(self) -> pa.Table:
        """Return the rejected items, of `schema.REJECTS`."""
        tables = [self._read(part, None) for part in self.snapshot.rejected]
        table = pa.concat_tables([schema.REJECTS.empty_table(), *tables])
        return table.sort_by(schema.ID)

    def label_counts(self) -> dict[str | None, int]:
        """Return how many rows each label has, by label; None counts the unlabelled ones."""
        counts: Counter[str | None] = Counter()
        for batch in self.iter_batches([schema.LABEL]):
            counts.update(batch[schema.LABEL].to_pylist())
        return dict(sorted(counts.items(), key=lambda item: (item[0] is None, item[0] or "")))

    def _read(self, part: Part, columns: list[str] | None) -> pa.Table:
        try:
            table = pq.read_table(self.storage.path(part.file.path), columns=columns)
        except FileNotFoundError:
            raise RaypipeError(
                f"{self.uri}: {part.file.path} of snapshot {self.snapshot.number} is missing"
            ) from None
        table = table.replace_schema_metadata(None)
        if not part.dropped:
            return table
        return table.take(np.delete(np.arange(len(table)), part.dropped))


def is_store(uri: str) -> bool:
    """Whether there is a store in this folder."""
    return Storage(local_path(uri, "STORE")).exists(SPEC_FILE)


def existing_spec(storage: Storage) -> Spec | None:
    """Return the spec of the store in this folder, or None if there is no store."""
    if not storage.exists(SPEC_FILE):
        return None
    return Spec.model_validate(_read_spec(storage, "--out")["spec"])


def create_store(storage: Storage, spec: Spec, provenance: dict[str, Any]) -> None:
    """Write the store's spec, or check it against the one that is there.

    Args:
        storage: the store's folder.
        spec: what the features are.
        provenance: where backbone and weights came from, and with which versions; for people and
            for `predict`, not part of the fingerprint.

    Raises:
        UsageError: the store has another spec; the message holds the difference.
    """
    content = {
        "format": _FORMAT,
        "fingerprint": spec.fingerprint,
        "spec": spec.model_dump(mode="json"),
        "provenance": provenance,
    }
    if not storage.exists(SPEC_FILE):
        storage.create(SPEC_FILE, json.dumps(content, indent=1).encode())
    there = existing_spec(storage)
    if there is not None and there != spec:
        changes = "; ".join(difference(there, spec))
        raise UsageError(
            f"--out: {storage.uri} holds features of another spec ({changes}); "
            "give another folder, or the options it was made with"
        )


def _read_spec(storage: Storage, option: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(storage.read(SPEC_FILE))
        if content["format"] != _FORMAT:
            raise UsageError(
                f"{option}: {storage.uri} has store format {content['format']}; "
                f"this version reads format {_FORMAT}"
            )
        Spec.model_validate(content["spec"])
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{option}: no store at {storage.uri!r}; `raypipe extract … --out` makes one"
        ) from None
    except (ValueError, KeyError, ValidationError) as error:
        if isinstance(error, UsageError):
            raise
        raise RaypipeError(f"{option}: {storage.uri}/{SPEC_FILE} is damaged") from None
    return content
