"""A worker's batches, from rows that are kept in memory or in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.fit.shuffle import ReadableRows, shuffled

#: Rows that are read at once where their order does not matter.
_PIECE_BYTES = 16 * 2**20
_PIECE_ROWS = 4096


@dataclass(frozen=True)
class Batch:
    """Rows of one step.

    Attributes:
        x: (n, D) features as they are stored.
        y: (n,) number of each row's class.
        total: rows of the step over all workers.
    """

    x: npt.NDArray[Any]
    y: npt.NDArray[np.int64]
    total: int


@dataclass(frozen=True)
class Batches:
    """The rows of one worker, training rows first, then validation rows.

    Attributes:
        rows: the features.
        codes: (N,) number of each row's class.
        classes: K.
        shares: training rows of each worker.
        rank: number of this worker.
    """

    rows: ReadableRows
    codes: npt.NDArray[np.int64]
    classes: int
    shares: Sequence[int]
    rank: int = 0

    @property
    def width(self) -> int:
        """D, the values of a row."""
        return self.rows.width

    def training(self, minibatch: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield the training rows once, in an order of their own for each seed and epoch.

        All workers together take `minibatch` rows in a step, each about its share, so that each has
        the same number of steps whatever rows it has.
        """
        steps = max(1, -(-sum(self.shares) // minibatch))
        sizes = np.array([np.diff(count * np.arange(steps + 1) // steps) for count in self.shares])
        random = np.random.default_rng([seed, epoch, self.rank])
        own = sizes[self.rank].tolist()
        totals = sizes.sum(axis=0).tolist()
        for (x, numbers), total in zip(shuffled(self.rows, 0, own, random), totals, strict=True):
            yield Batch(x, self.codes[numbers], total)

    def in_order(self) -> Iterator[Batch]:
        """Yield the training rows in pieces, as they lie."""
        return self._pieces(0, self.shares[self.rank])

    def validation(self) -> Iterator[Batch]:
        """Yield the validation rows in pieces, as they lie."""
        return self._pieces(self.shares[self.rank], len(self.codes))

    def _pieces(self, start: int, stop: int) -> Iterator[Batch]:
        size = max(1, _PIECE_BYTES // max(1, self.width * self.rows.dtype.itemsize))
        size = min(size, _PIECE_ROWS)
        for at in range(start, stop, size):
            end = min(at + size, stop)
            self.rows.expect(end, min(end + size, stop))
            yield Batch(self.rows.read(at, end), self.codes[at:end], end - at)
