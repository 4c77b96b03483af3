"""Which rows a snapshot has, without their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.store.features import shared_texts
from raypipe.store.reader import StoreReader

__all__ = ["RowIndex", "read_index"]


@dataclass(frozen=True)
class RowIndex:
    """The rows of a snapshot, sorted by id and view as `StoreReader.to_numpy` sorts them.

    It takes some 100 bytes per row, whatever the features' width.

    Attributes:
        ids: (N,) item of each row.
        labels: (N,) its label, None where it has none.
        splits: (N,) its split, None where it has none.
        views: (N,) 0 for the image itself, 1… for its augmented views.
        order: (N,) where the row is stored: its number when the partitions' rows are counted
            through in the snapshot's order.
        lengths: rows of each partition.
    """

    ids: npt.NDArray[np.object_]
    labels: npt.NDArray[np.object_]
    splits: npt.NDArray[np.object_]
    views: npt.NDArray[np.int32]
    order: npt.NDArray[np.int64]
    lengths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def by_partition(self, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Return (N,) values of the sorted rows as one array (n,) per partition, as stored."""
        stored = np.empty_like(values)
        stored[self.order] = values
        return np.split(stored, np.cumsum(self.lengths)[:-1])

    def ids_of_stored(self, rows: Sequence[int]) -> list[str]:
        """Return the ids of some rows by where they are stored."""
        place = np.empty(len(self), np.int64)
        place[self.order] = np.arange(len(self))
        return [str(name) for name in self.ids[place[np.asarray(rows, np.int64)]]]


def read_index(store: StoreReader) -> RowIndex:
    """Read ids, labels, splits and views of all rows.

    Raises:
        UsageError: the store has no rows.
    """
    columns = [schema.ID, schema.LABEL, schema.SPLIT, schema.VIEW]
    parts = [list(store.iter_part(i, columns)) for i in range(len(store.snapshot.data))]
    tables = [table for part in parts for table in part]
    if not tables:
        raise UsageError(f"STORE: {store.uri} has no features yet; run `raypipe extract` first")
    table = pa.concat_tables(tables)
    keys = [(schema.ID, "ascending"), (schema.VIEW, "ascending")]
    order = pc.sort_indices(table.select([schema.ID, schema.VIEW]), sort_keys=keys).to_numpy()
    return RowIndex(
        ids=table[schema.ID].to_numpy()[order],
        labels=shared_texts(table[schema.LABEL])[order],
        splits=shared_texts(table[schema.SPLIT])[order],
        views=table[schema.VIEW].to_numpy()[order],
        order=order.astype(np.int64),
        lengths=tuple(sum(map(len, part)) for part in parts),
    )
