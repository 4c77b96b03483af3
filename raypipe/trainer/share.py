"""One worker's share of the rows to fit on and to validate on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.fit.batches import Batches
from raypipe.store.cache import RowCache
from raypipe.store.reader import StoreReader

LEFT_OUT, TRAIN, VALIDATION, HELD_OUT = -1, 0, 1, 2


@dataclass(frozen=True)
class Table:
    """What rows of a store are for, in the order they are stored in.

    Attributes:
        store: where they are.
        snapshot: of the store.
        column: the feature column.
        lengths: rows of each partition.
        groups: (N,) TRAIN, VALIDATION, HELD_OUT or LEFT_OUT.
        codes: (N,) number of each row's class.
        classes: K.
        width: D, values of a row.
        to_rows: makes (n, D) of (n, …) features.
    """

    store: str
    snapshot: int
    column: str
    lengths: tuple[int, ...]
    groups: npt.NDArray[np.int8]
    codes: npt.NDArray[np.int32]
    classes: int
    width: int
    to_rows: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def share(table: Table, rank: int, count: int, memory: int) -> Batches:
    """Return the rank-th part of the training rows, and of the validation rows.

    Both are cut into runs of equal length, in the order they are stored in; a worker reads the
    partitions that its runs lie in.

    Args:
        table: all rows.
        rank: number of this worker.
        count: how many workers there are.
        memory: bytes of features that may be held in memory; more go to a local file.
    """
    own = np.full(len(table.groups), LEFT_OUT, np.int8)
    shares = {}
    for group in (TRAIN, VALIDATION):
        rows = np.flatnonzero(table.groups == group)
        bounds = len(rows) * np.arange(count + 1) // count
        own[rows[bounds[rank] : bounds[rank + 1]]] = group
        shares[group] = np.diff(bounds).tolist()
    cuts = np.cumsum(table.lengths)[:-1]
    groups, codes = np.split(own, cuts), np.split(table.codes, cuts)
    parts = [part for part, of_rows in enumerate(groups) if (of_rows != LEFT_OUT).any()]
    cache = RowCache(
        StoreReader(table.store, table.snapshot),
        table.column,
        parts,
        [groups[part] for part in parts],
        memory=memory,
        to_rows=table.to_rows,
    )
    cache.width = table.width  # where there are no rows
    read = np.concatenate([np.empty(0, np.int64), *(codes[part] for part in parts)])
    return Batches(cache, read[cache.order], table.classes, shares[TRAIN], rank)
