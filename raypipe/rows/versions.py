"""Versions of items that are covered, to be compared with a listing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema

_HASHED = 2**16


class Versions:
    """Looks items up among known ones, many at a time.

    Args:
        rows: a table with `schema.VERSION_COLUMNS` and unique ids.
    """

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows.select(list(schema.VERSION_COLUMNS)).combine_chunks()
        hashes = _hashes(self._rows[schema.ID])
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(
        self, items: pa.Table | pa.RecordBatch
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the row of each item by id (−1 where it is new), and whether its version is equal.

        Both are (N,) for N items. The version is all of `schema.VERSION_COLUMNS`.
        """
        found = np.full(len(items), -1, np.int64)
        same = np.zeros(len(items), bool)
        wanted = _hashes(items[schema.ID])
        place = np.searchsorted(self._hashes, wanted)
        open_rows = np.arange(len(items))
        while len(open_rows):  # once, unless two ids share a hash
            inside = place[open_rows] < len(self._hashes)
            open_rows = open_rows[inside]
            hit = self._hashes[place[open_rows]] == wanted[open_rows]
            open_rows = open_rows[hit]
            candidates = self._order[place[open_rows]]
            equal = _equal(items, open_rows, self._rows, candidates, schema.ID)
            found[open_rows[equal]] = candidates[equal]
            same[open_rows[equal]] = True
            open_rows = open_rows[~equal]
            place[open_rows] += 1
        known = np.flatnonzero(same)
        for column in schema.VERSION_COLUMNS[1:]:
            same[known] &= _equal(items, known, self._rows, found[known], column)
        return found, same


def _hashes(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    found = np.empty(len(texts), np.int64)
    for start in range(0, len(texts), _HASHED):  # Python's strings take more room than Arrow's
        part = texts.slice(start, _HASHED).to_pylist()
        found[start : start + len(part)] = [hash(text) for text in part]
    return found


def _equal(
    left: pa.Table | pa.RecordBatch,
    left_rows: npt.NDArray[np.int64],
    right: pa.Table,
    right_rows: npt.NDArray[np.int64],
    column: str,
) -> npt.NDArray[np.bool_]:
    """Compare a text column row by row; a missing value equals a missing value."""
    a = pc.fill_null(left[column].take(pa.array(left_rows)), "\0")  # which no text equals
    b = pc.fill_null(right[column].take(pa.array(right_rows)), "\0")
    equal = pc.equal(a, b)
    if isinstance(equal, pa.ChunkedArray):
        equal = equal.combine_chunks()
    result: npt.NDArray[np.bool_] = equal.to_numpy(zero_copy_only=False)
    return result
