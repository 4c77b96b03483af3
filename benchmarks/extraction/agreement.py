"""Whether contestants compute the same: their features for the same images, compared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST", "least_cosine"]

#: Below this, two contestants do not compute the same, whatever their precision.
LEAST = 0.98

_Rows = npt.NDArray[np.float32]


def least_cosine(one: _Rows, other: _Rows, *, centred: bool = False) -> float:
    """Return the least cosine between two features of the same image.

    Args:
        one: (N, D) features.
        other: (N, D) features of the same images in the same order.
        centred: take the mean feature off each first: features of a network with random weights
            are all much alike, and what is left is what tells images apart.
    """
    if one.shape != other.shape:
        raise ValueError(f"{one.shape} and {other.shape} features cannot be compared")
    a, b = _unit(one, centred), _unit(other, centred)
    return float((a * b).sum(1).min())


def _unit(rows: _Rows, centred: bool) -> npt.NDArray[np.float64]:
    x = rows.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)  # a tool may have made them of unit length
    if centred:
        x -= x.mean(0)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x
