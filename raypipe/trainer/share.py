"""One worker's share of the rows to fit on and to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.fit.batches import Batches
from raypipe.heads import as_rows
from raypipe.store.reader import StoreReader
from raypipe.store.rows import RowCache, flatten

__all__ = ["HELD_OUT", "LEFT_OUT", "TRAIN", "VALIDATION", "Share", "Table"]

LEFT_OUT, TRAIN, VALIDATION, HELD_OUT = -1, 0, 1, 2

_BAD_ROWS_KEPT = 5


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
        spatial: how features become rows, as in `Head`.
        channels: likewise.
    """

    store: str
    snapshot: int
    column: str
    lengths: tuple[int, ...]
    groups: npt.NDArray[np.int8]
    codes: npt.NDArray[np.int32]
    classes: int
    width: int
    spatial: Any
    channels: Any


class Share:
    """The rank-th part of the training rows, and of the validation rows.

    Both are cut into runs of equal length, in the order they are stored in; a worker reads the
    partitions that its runs lie in.

    Args:
        table: all rows.
        rank: number of this worker.
        count: how many workers there are.
        memory: bytes of features that may be held in memory.

    Attributes:
        batches: the rows.
        bad: numbers (as stored) of the first rows with NaN or infinity, the held-out rows among
            them.
        bad_count: how many such rows there are.
    """

    def __init__(self, table: Table, rank: int, count: int, memory: int) -> None:
        own = np.full(len(table.groups), LEFT_OUT, np.int8)
        shares: list[int] = []
        for group in (TRAIN, VALIDATION, HELD_OUT):
            rows = np.flatnonzero(table.groups == group)
            bounds = len(rows) * np.arange(count + 1) // count
            own[rows[bounds[rank] : bounds[rank + 1]]] = group
            shares = shares or np.diff(bounds).tolist()
        starts = np.concatenate([[0], np.cumsum(table.lengths)])
        parts = [
            part
            for part, (first, last) in enumerate(pairwise(starts))
            if (own[first:last] >= 0).any()
        ]
        self._table, self._own = table, own
        self.bad: list[int] = []
        self.bad_count = 0
        numbers = self._numbers(parts, starts)
        cache = self._cache(parts, numbers, memory)
        codes = table.codes[numbers[cache.order]].astype(np.int64)
        self.batches = Batches(cache, codes, table.classes, shares, rank)

    def _cache(self, parts: Sequence[int], numbers: npt.NDArray[np.int64], memory: int) -> RowCache:
        table = self._table
        wanted = self._own[numbers]
        kept = np.where(wanted == HELD_OUT, LEFT_OUT, wanted)
        seen = 0

        def to_rows(features: npt.NDArray[Any]) -> npt.NDArray[Any]:
            nonlocal seen
            rows = as_rows(features, table.spatial, table.channels)
            here = slice(seen, seen + len(rows))
            self._note_bad(rows, numbers[here], wanted[here])
            seen += len(rows)
            # As stored, float16 takes half the memory.
            return flatten(features) if rows.size == features.size else rows

        lengths = [table.lengths[part] for part in parts]
        groups = np.split(kept, np.cumsum(lengths)[:-1]) if parts else []
        store = StoreReader(table.store, table.snapshot)
        cache = RowCache(store, table.column, parts, groups, memory=memory, to_rows=to_rows)
        cache.width = table.width  # where there are no rows
        return cache

    def _note_bad(
        self,
        rows: npt.NDArray[Any],
        numbers: npt.NDArray[np.int64],
        groups: npt.NDArray[np.int8],
    ) -> None:
        """Look at held-out rows too, which the cache does not keep."""
        bad = numbers[(groups >= 0) & ~np.isfinite(rows).all(axis=1)]
        self.bad_count += len(bad)
        self.bad += bad[: _BAD_ROWS_KEPT - len(self.bad)].tolist()

    @staticmethod
    def _numbers(parts: Sequence[int], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        runs = [np.arange(starts[part], starts[part + 1]) for part in parts]
        return np.concatenate([np.empty(0, np.int64), *runs])
