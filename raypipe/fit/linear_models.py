"""Linear classifiers that are evaluated together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LinearModels:
    """Linear classifiers that are evaluated together, in one matrix product.

    Attributes:
        coef: (M, K, D), with K = 1 for two classes.
        intercept: (M, K).
        class_weight: (M, classes) weight of a row by its class, or None if all are one.
        double: compute in float64 instead of float32.
    """

    coef: Array
    intercept: Array
    class_weight: Array | None
    double: bool = False

    def take(self, rows: Array) -> LinearModels:
        """Return some of the models: `rows` are their numbers (m,), or a mask (M,)."""
        weight = None if self.class_weight is None else self.class_weight[rows]
        return LinearModels(self.coef[rows], self.intercept[rows], weight, self.double)

    def __len__(self) -> int:
        return len(self.coef)
