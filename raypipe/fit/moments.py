"""Moments of rows that come in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.fit.sums import Moments, merge_moments


def moments_of(pieces: Iterable[npt.NDArray[Any]], width: int) -> Moments:
    """Return the moments, in float64, of (n, D) pieces, as one group."""
    return merged(map(_moments, pieces), width)


def merged(found: Iterable[Moments], width: int) -> Moments:
    """Return the moments of several sets of rows together."""
    none = Moments(np.zeros(1), np.zeros((1, width)), np.zeros((1, width)))
    return reduce(merge_moments, found, none)


def _moments(piece: npt.NDArray[Any]) -> Moments:
    rows = piece.astype(np.float64)
    mean = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
    rows -= mean
    squares = np.square(rows, out=rows).sum(axis=0)
    return Moments(np.array([float(len(rows))]), mean[None], squares[None])
