"""Features of chosen rows, piece by piece; and that they are numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.rows.features import finite, not_finite, to_array
from raypipe.store.index import RowIndex
from raypipe.store.reader import StoreReader


def pick(
    store: StoreReader, column: str, index: RowIndex, rows: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
    """Yield positions within `rows`, (n,), and the features of these rows, (n, …).

    Only partitions with such rows are read, about 64 MB at a time.

    Args:
        store: where to read.
        column: the feature column.
        index: of the store.
        rows: numbers of rows in the index.
    """
    place = np.full(len(index), -1, np.int64)
    place[rows] = np.arange(len(rows))
    for part, places in enumerate(index.by_partition(place)):
        seen = 0
        if not (places >= 0).any():
            continue
        for table in store.iter_part(part, [column]):
            here = places[seen : seen + len(table)]
            seen += len(table)
            wanted = here >= 0
            if wanted.any():
                yield here[wanted], to_array(table[column])[wanted]


def check_finite(
    store: StoreReader, column: str, index: RowIndex, rows: npt.NDArray[np.int64]
) -> None:
    """Make sure that features of some rows hold no NaN or infinity: one pass over them.

    Args:
        store: where they are.
        column: the feature column.
        index: of all rows.
        rows: (n,) numbers of rows in the index.

    Raises:
        UsageError: naming the ids.
    """
    found = [
        rows[places[~finite(features)]] for places, features in pick(store, column, index, rows)
    ]
    if len(bad := np.sort(np.concatenate([*found, np.empty(0, np.int64)]))):
        raise not_finite(len(bad), index.ids[bad].tolist())
