"""Features of some partitions, to be gone through many times: in memory, else in a local file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.errors import RaypipeError
from raypipe.rows.features import to_array
from raypipe.store.reader import StoreReader

Floats = npt.NDArray[np.floating[Any]]


def flatten(features: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return (N, …) features as rows of (N, D)."""
    return features.reshape(len(features), int(np.prod(features.shape[1:])))


class RowCache:
    """Rows of some partitions, sorted by group, in the type they are stored in.

    Rows keep their order within a group. Decoding a compressed partition costs several times more
    than reading raw numbers back, so what does not fit in memory goes to a local file, which is
    unlinked at once: it is gone with the process, however that ends.

    Args:
        store: where to read.
        column: the feature column.
        parts: positions of the partitions in the snapshot.
        groups: for each of these partitions the group of each of its rows; a negative one leaves a
            row out.
        memory: bytes that may be held in memory.
        group_count: how many groups there are at least.
        to_rows: makes (N, D) of a piece's (N, …) features.
        folder: where the file goes; None is the system's temporary folder.

    Attributes:
        array: (N, D) if the rows are in memory, else None.
        order: (N,) for each row its number among all rows of these partitions.
        starts: (groups + 1,) where each group's rows start.

    Raises:
        RaypipeError: the file cannot be written.
    """

    def __init__(
        self,
        store: StoreReader,
        column: str,
        parts: Sequence[int],
        groups: Sequence[npt.NDArray[np.int8]],
        *,
        memory: int,
        group_count: int = 1,
        to_rows: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = flatten,
        folder: str | None = None,
    ) -> None:
        group = np.concatenate([np.empty(0, np.int8), *groups])
        kept = np.flatnonzero(group >= 0)
        self.order = kept[np.argsort(group[kept], kind="stable")]
        counts = np.bincount(group[kept], minlength=group_count)
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.array: Floats | None = None
        self.width = 0
        self.dtype: np.dtype[Any] = np.dtype("float32")
        self._file = -1
        place = np.full(len(group), -1, np.int64)
        place[self.order] = np.arange(len(self.order))
        seen = 0
        for part in parts:
            for table in store.iter_part(part, [column]):
                here = place[seen : seen + len(table)]
                rows = to_rows(to_array(table[column]))
                if not self.width:
                    self._allocate(rows, memory, folder)
                self._put(rows[here >= 0], here[here >= 0])
                seen += len(table)
        if seen != len(group):
            raise RaypipeError(f"{store.uri}: expected {len(group)} rows in the shard, got {seen}")

    def __len__(self) -> int:
        return len(self.order)

    def read(self, start: int, stop: int) -> Floats:
        """Return rows `start` to `stop` as (stop − start, D): a view of what is in memory, or a new
        array."""
        if self.array is not None:
            return self.array[start:stop]
        rows = np.empty((stop - start, self.width), self.dtype)
        _read_all(self._file, rows, start * self.width * self.dtype.itemsize)
        return rows

    def expect(self, start: int, stop: int) -> None:
        """Say which rows are read next, so that the system can fetch them meanwhile."""
        if self._file >= 0 and stop > start:
            size = self.width * self.dtype.itemsize
            os.posix_fadvise(
                self._file, start * size, (stop - start) * size, os.POSIX_FADV_WILLNEED
            )

    def close(self) -> None:
        """Give memory and file back."""
        self.array = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _allocate(self, rows: Floats, memory: int, folder: str | None) -> None:
        self.width, self.dtype = rows.shape[1], rows.dtype
        if len(self) * self.width * self.dtype.itemsize <= memory:
            self.array = np.empty((len(self), self.width), self.dtype)
            return
        descriptor, name = tempfile.mkstemp(prefix="raypipe-rows-", dir=folder)
        Path(name).unlink()
        self._file = descriptor

    def _put(self, rows: Floats, places: npt.NDArray[np.int64]) -> None:
        if self.array is not None:
            self.array[places] = rows
            return
        size = self.width * self.dtype.itemsize
        for run in np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) != 1) + 1):
            if len(run):
                data = np.ascontiguousarray(rows[run[0] : run[-1] + 1])
                _write_all(self._file, data, int(places[run[0]]) * size)


def _write_all(file: int, rows: Floats, offset: int) -> None:
    data = rows.reshape(-1).view(np.uint8).data
    try:
        while data:
            written = os.pwrite(file, data, offset)
            data, offset = data[written:], offset + written
    except OSError as error:
        raise RaypipeError(
            f"cannot keep features in {tempfile.gettempdir()}: {error.strerror}; "
            "give more --actor-memory, or set TMPDIR to a disk with room"
        ) from None


def _read_all(file: int, rows: Floats, offset: int) -> None:
    data = rows.reshape(-1).view(np.uint8).data
    while data:
        count = os.preadv(file, [data], offset)
        if not count:
            raise RaypipeError("the local file with features ended early")
        data, offset = data[count:], offset + count
