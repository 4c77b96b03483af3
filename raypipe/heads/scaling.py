"""Scaling of features, fitted with the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from raypipe.heads.scorer import Floats

Kind = Literal["none", "standard", "l2", "standard-l2"]


@dataclass(frozen=True)
class Scaling:
    """Zero mean and unit variance (`standard`), unit length (`l2`), one then the other, or none.

    Attributes:
        kind: which.
        mean: (D,) subtracted with `standard` and `standard-l2`; empty otherwise.
        std: (D,) divided by with these; empty otherwise.
    """

    kind: Kind
    mean: Floats
    std: Floats

    @classmethod
    def without(cls, kind: Literal["none", "l2"]) -> Scaling:
        """Return a scaling that has nothing to fit."""
        return cls(kind, np.empty(0), np.empty(0))

    def apply(self, x: Any) -> Any:
        """Return (N, D) scaled rows, of the type of `x` (N, D): NumPy's array or PyTorch's tensor.

        Rounded at every step as scikit-learn does, so that a tree's thresholds fall as it set them.
        Rows that are shorter than 10 ε stay as they are with `l2`, as in its Normalizer.
        """
        if self.kind == "none":
            return x
        if self.kind != "l2":
            x = x - _like(self.mean, x)
            x /= _like(self.std, x)
        if self.kind == "standard":
            return x
        is_array = isinstance(x, np.ndarray)
        lengths = np.linalg.norm(x, axis=1, keepdims=True) if is_array else x.norm(2, 1, True)
        lengths[lengths < 10 * np.finfo(x.dtype if is_array else np.float32).eps] = 1
        return x / lengths


def _like(values: Floats, x: Any) -> Any:
    """Return an array of the type, and on the device, of another one."""
    return values.astype(x.dtype, copy=False) if isinstance(x, np.ndarray) else x.new_tensor(values)
