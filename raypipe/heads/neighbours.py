"""k nearest neighbours, by comparing with every training row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from raypipe.heads.scorer import Arrays, Floats

#: Rows that are scored at once, and float64 values of training rows they are compared with at once.
_QUERIES = 1024
_VALUES = 2**22

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """The classes of the `k` training rows at the smallest Euclidean distance.

    Attributes:
        rows: (M, D) scaled training rows.
        codes: (M,) number of their class.
        classes: K, the number of classes.
        k: how many neighbours count.
        weights: each the same (`uniform`), or the inverse of the distance (`distance`; neighbours
            at distance zero then count alone).
    """

    rows: Floats
    codes: npt.NDArray[np.int64]
    classes: int
    k: int
    weights: Literal["uniform", "distance"]

    kind: ClassVar[str] = "knn"

    def scores(self, x: Floats) -> Floats:
        """Return (N, K) logarithms of each class's share for (N, D); −∞ where it is none."""
        shares = np.zeros((len(x), self.classes))
        for start in range(0, len(x), _QUERIES):
            some = x[start : start + _QUERIES].astype(np.float64)
            closest = self._closest(some)
            weights = self._weights(some, closest)
            row = np.arange(start, start + len(some))[:, None]
            np.add.at(shares, (row, self.codes[closest]), weights)
        with np.errstate(divide="ignore"):
            logarithms: Floats = np.log(shares / shares.sum(axis=1, keepdims=True))
        return logarithms

    def _closest(self, x: Floats) -> Indices:
        """Return (N, k) training rows, in no order; computed in float64, in blocks of them."""
        best = np.empty((len(x), 0))
        found = np.empty((len(x), 0), np.int64)
        for start, rows in self._blocks():
            distances = x @ rows.T
            distances *= -2  # |x − r|² without |x|², which is the same for all
            distances += (rows * rows).sum(axis=1)
            near = _smallest(distances, self.k)
            best = np.hstack([best, np.take_along_axis(distances, near, axis=1)])
            found = np.hstack([found, near + start])
            keep = _smallest(best, self.k)
            best = np.take_along_axis(best, keep, axis=1)
            found = np.take_along_axis(found, keep, axis=1)
        return found

    def _blocks(self) -> Iterator[tuple[int, Floats]]:
        size = max(1, _VALUES // max(1, self.rows.shape[1]))
        for start in range(0, len(self.rows), size):
            yield start, self.rows[start : start + size].astype(np.float64)

    def _weights(self, x: Floats, closest: Indices) -> Floats:
        if self.weights == "uniform":
            return np.ones(closest.shape)
        distances = np.empty(closest.shape)
        for j, rows in enumerate(closest.T):  # one column at a time: (N, D) in memory, not k times
            distances[:, j] = np.linalg.norm(x - self.rows[rows], axis=1)
        same = distances == 0
        with np.errstate(divide="ignore"):
            inverse = 1 / distances
        return np.where(same.any(axis=1, keepdims=True), same, inverse)

    def arrays(self) -> Arrays:
        """Return what is saved as safetensors."""
        return {"rows": self.rows, "codes": self.codes}

    def settings(self) -> dict[str, Any]:
        """Return what is saved as JSON."""
        return {"classes": self.classes, "k": self.k, "weights": self.weights}

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: Arrays) -> Neighbours:
        """Return the scorer that was saved."""
        return cls(rows=arrays["rows"], codes=arrays["codes"], **settings)


def _smallest(values: Floats, k: int) -> Indices:
    """Return (N, k) places of each row's smallest values, in no order; all, if there are fewer."""
    if values.shape[1] <= k:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, k - 1, axis=1)[:, :k]
