"""Index of a snapshot's rows, without their features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.rows.features import ROW_COLUMNS, Rows
from raypipe.store.reader import StoreReader


@dataclass(frozen=True)
class RowIndex(Rows):
    """The rows of a snapshot, sorted by id and view as `StoreReader.to_numpy` sorts them.

    It takes some 100 bytes per row, whatever the features' width.

    Attributes, besides those of `Rows`:
        order: (N,) where the row is stored: its number when the partitions' rows are counted
            through in the snapshot's order.
        lengths: rows of each partition.
    """

    order: npt.NDArray[np.int64]
    lengths: tuple[int, ...]

    def rows(self, numbers: npt.NDArray[Any]) -> Rows:
        """Return some of the rows, by numbers (n,) or mask (N,), without where they are stored."""
        return Rows(self.ids, self.labels, self.splits, self.views)[numbers]

    def by_partition(self, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Return (N,) values of the sorted rows as one array (n,) per partition, as stored."""
        stored = np.empty_like(values)
        stored[self.order] = values
        return np.split(stored, np.cumsum(self.lengths)[:-1])


def read_index(store: StoreReader) -> RowIndex:
    """Read ids, labels, splits and views of all rows.

    Raises:
        UsageError: the store has no rows.
    """
    parts = [list(store.iter_part(i, [*ROW_COLUMNS])) for i in range(len(store.snapshot.data))]
    tables = [table for part in parts for table in part]
    if not tables:
        raise UsageError(f"STORE: {store.uri} has no features yet; run `raypipe extract` first")
    table = pa.concat_tables(tables)
    keys = [(schema.ID, "ascending"), (schema.VIEW, "ascending")]
    order = pc.sort_indices(table.select([schema.ID, schema.VIEW]), sort_keys=keys).to_numpy()
    lengths = tuple(sum(map(len, part)) for part in parts)
    return RowIndex(**vars(Rows.of(table)[order]), order=order.astype(np.int64), lengths=lengths)
