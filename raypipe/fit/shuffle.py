"""Rows that may lie in a file, in a new random order for every pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

#: What is read at once, and what is mixed at once. A block is long enough for a disk to read it
#: about as fast as a longer one, and a pool mixes hundreds of them: rows of a class often lie
#: side by side.
BLOCK_BYTES = 256 * 2**10
POOL_BYTES = 64 * 2**20

Numbers = npt.NDArray[np.int64]


class ReadableRows(Protocol):
    """Rows of (N, D) that can be read by range."""

    width: int
    dtype: np.dtype[Any]

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows `start` to `stop` as (stop − start, D)."""

    def expect(self, start: int, stop: int) -> None:
        """Say which rows are read next."""


def shuffled(
    rows: ReadableRows, start: int, sizes: Sequence[int], random: np.random.Generator
) -> Iterator[tuple[npt.NDArray[Any], Numbers]]:
    """Yield batches of rows (n, D) with their numbers (n,), each row once, in random order.

    Blocks of neighbouring rows are drawn at random, and rows at random from a pool of blocks. The
    order depends on the generator and on the sizes alone, not on whether the rows are in memory.

    Args:
        rows: where to read.
        start: first row.
        sizes: rows of each batch; together they are the rows there are from `start` on.
        random: of the order.
    """
    pools = _pools(rows, start, start + sum(sizes), random)
    values, numbers = np.empty((0, rows.width), rows.dtype), np.empty(0, np.int64)
    order = numbers
    for size in sizes:
        taken = [(values[:0], numbers[:0])]
        while size:
            if not len(order):
                values, numbers = next(pools)
                order = random.permutation(len(numbers))
            some, order = order[:size], order[size:]
            taken.append((values[some], numbers[some]))
            size -= len(some)
        taken = taken[1:] if len(taken) == 2 else taken  # which spares a copy
        if len(taken) == 1:
            yield taken[0]
        else:
            yield np.concatenate([x for x, _ in taken]), np.concatenate([n for _, n in taken])


def _pools(
    rows: ReadableRows, start: int, stop: int, random: np.random.Generator
) -> Iterator[tuple[npt.NDArray[Any], Numbers]]:
    row_bytes = rows.width * rows.dtype.itemsize
    length = max(1, BLOCK_BYTES // max(1, row_bytes))
    starts = np.arange(start, stop, length)
    blocks = np.stack([starts, np.minimum(starts + length, stop)], axis=1)
    blocks = blocks[random.permutation(len(blocks))]
    per_pool = max(1, POOL_BYTES // max(1, row_bytes * length))
    for at in range(0, len(blocks), per_pool):
        pool = blocks[at : at + per_pool].tolist()
        values = np.concatenate([rows.read(first, last) for first, last in pool])
        for first, last in blocks[at + per_pool : at + 2 * per_pool].tolist():
            rows.expect(first, last)
        yield values, np.concatenate([np.arange(first, last) for first, last in pool])
