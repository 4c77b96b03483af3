"""A store as its readers see it: one snapshot, as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.errors import RaypipeError, UsageError
from raypipe.spec import Spec
from raypipe.storage import Storage, local_path
from raypipe.store.identity import read_identity
from raypipe.store.partition import Format, file_format
from raypipe.store.snapshot import Part, Snapshot, newest, read_snapshot

__all__ = ["Features", "StoreReader", "to_array"]


@dataclass(frozen=True)
class Features:
    """Features in memory, row by row: `features[i]` belongs to `ids[i]` and `labels[i]`.

    Attributes:
        ids: (N,) item of each row.
        labels: (N,) its label, None where it has none.
        splits: (N,) its split, None where it has none.
        views: (N,) 0 for the image itself, 1… for its augmented views.
        features: (N, …).
    """

    ids: npt.NDArray[np.object_]
    labels: npt.NDArray[np.object_]
    splits: npt.NDArray[np.object_]
    views: npt.NDArray[np.int32]
    features: npt.NDArray[np.floating[Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: npt.NDArray[Any]) -> Features:
        """Return some of the rows, by number or by mask."""
        return Features(
            self.ids[rows],
            self.labels[rows],
            self.splits[rows],
            self.views[rows],
            self.features[rows],
        )

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
        content = read_identity(self.storage, option)
        self.spec = Spec.model_validate(content["spec"])
        self.format: Format = content["partitions"]
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
        """Names of the feature columns: `features`, or what --layer calls them."""
        return list(self.spec.columns)

    def column(self, layer: str | None = None) -> str:
        """Return the feature column of a layer; None means the only one with features.

        Raises:
            UsageError: there is no such layer, or there are several to choose from.
        """
        outputs = self.spec.outputs
        named = (
            [o for o in outputs if layer in (o.column, o.layer)]
            if layer
            else [o for o in outputs if o.pool != "argmax"]
        )
        exact = [o for o in named if o.column == layer]
        if len(exact or named) == 1:
            return (exact or named)[0].column
        known = ", ".join(self.columns)
        if layer and not named:
            raise UsageError(f"--layer: no {layer!r} in the store; it has {known}")
        raise UsageError(f"--layer: the store has several: {known}; name one")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one row's features by column; empty where the snapshot has no partitions."""
        if not self.snapshot.data:
            return {}
        path = self.storage.path(self.snapshot.data[0].file.path)
        found: dict[str, tuple[int, ...]] = file_format(path).shapes(path, self.columns)
        return found

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
        for index in range(len(self.snapshot.data)):
            yield from self.iter_part(index, columns)

    def iter_part(self, index: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows of one partition, by its position in the snapshot, piece by piece."""
        part = self.snapshot.data[index]
        path = self._path(part)
        start = 0
        for table in file_format(path).iter_tables(path, columns):
            kept = np.delete(np.arange(len(table)), _within(part.dropped, start, len(table)))
            start += len(table)
            yield table if len(kept) == len(table) else table.take(kept)

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
        table = self.to_arrow([schema.ID, schema.LABEL, schema.SPLIT, schema.VIEW, column])
        return Features(
            ids=table[schema.ID].to_numpy(),
            labels=np.array(table[schema.LABEL].to_pylist(), dtype=object),
            splits=np.array(table[schema.SPLIT].to_pylist(), dtype=object),
            views=table[schema.VIEW].to_numpy(),
            features=to_array(table[column]),
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
        path = self._path(part)
        table: pa.Table = file_format(path).read_table(path, columns)
        if not part.dropped:
            return table
        return table.take(np.delete(np.arange(len(table)), part.dropped))

    def _path(self, part: Part) -> Path:
        path = self.storage.path(part.file.path)
        if not path.exists():
            raise RaypipeError(
                f"{self.uri}: {part.file.path} of snapshot {self.snapshot.number} is missing"
            )
        return path


def _within(dropped: tuple[int, ...], start: int, length: int) -> list[int]:
    return [row - start for row in dropped if start <= row < start + length]


def to_array(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a feature column as an array of (N, …)."""
    flat = column.combine_chunks()
    is_tensor = isinstance(flat.type, pa.FixedShapeTensorType)
    array: npt.NDArray[Any] = flat.to_numpy_ndarray() if is_tensor else flat.to_numpy()
    return array
