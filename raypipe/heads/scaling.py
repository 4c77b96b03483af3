"""Scaling of features, fitted with the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from raypipe.heads.scorer import Floats

__all__ = ["Scaling"]


@dataclass(frozen=True)
class Scaling:
    """Zero mean and unit variance (`standard`), unit length (`l2`), or none.

    Attributes:
        kind: which.
        mean: (D,) subtracted with `standard`; empty otherwise.
        std: (D,) divided by with `standard`; empty otherwise.
    """

    kind: Literal["none", "standard", "l2"]
    mean: Floats
    std: Floats

    @classmethod
    def without(cls, kind: Literal["none", "l2"]) -> Scaling:
        """Return a scaling that has nothing to fit."""
        return cls(kind, np.empty(0), np.empty(0))

    def apply(self, x: Floats) -> Floats:
        """Return (N, D) scaled rows, of the type of `x` (N, D); with `l2`, rows of zeros stay so.

        Rounded at every step as scikit-learn does, so that a tree's thresholds fall as it set them.
        """
        if self.kind == "none":
            return x
        if self.kind == "standard":
            scaled = x - self.mean.astype(x.dtype, copy=False)
            scaled /= self.std.astype(x.dtype, copy=False)
            return scaled
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        unit: Floats = x / np.where(norms == 0, 1, norms)
        return unit
