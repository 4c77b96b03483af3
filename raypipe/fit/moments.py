"""Mean and variance of rows that come in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Moments", "moments"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Number of rows, their mean, and the sum of squared distances to it.

    Attributes:
        count: rows.
        mean: (D,).
        squares: (D,).
    """

    count: int
    mean: Floats
    squares: Floats

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets of rows (Chan, Golub and LeVeque 1979, equation 2.1)."""
        count = self.count + other.count
        step = other.mean - self.mean
        share = other.count / max(count, 1)
        squares = self.squares + other.squares + step**2 * (self.count * share)
        return Moments(count, self.mean + step * share, squares)

    @property
    def std(self) -> Floats:
        """(D,) standard deviation; one where all rows have the same value, as scikit-learn."""
        variance = self.squares / max(self.count, 1)
        # What rounding leaves of no variance at all is none.
        least = (10 * np.finfo(np.float64).eps * self.mean) ** 2
        return np.sqrt(np.where(variance <= least, 1.0, variance))


def moments(pieces: Iterable[npt.NDArray[Any]], width: int) -> Moments:
    """Return the moments of (n, D) pieces, computed in float64."""
    start = Moments(0, np.zeros(width), np.zeros(width))
    return reduce(lambda total, piece: total + _of(piece), pieces, start)


def _of(piece: npt.NDArray[Any]) -> Moments:
    if not len(piece):
        return Moments(0, np.zeros(piece.shape[1]), np.zeros(piece.shape[1]))
    mean = piece.mean(axis=0, dtype=np.float64)
    squares = np.square(piece - mean).sum(axis=0, dtype=np.float64)
    return Moments(len(piece), mean, squares)
