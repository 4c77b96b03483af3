"""From scores to probabilities that are as often right as they say."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from raypipe.heads.scorer import Arrays, Floats, softmax

__all__ = ["Calibration"]

#: Stands for the logarithm of a share that is none.
_SMALLEST = float(np.log(np.finfo(np.float64).eps))


@dataclass(frozen=True)
class Calibration:
    """A map from (N, K) scores to (N, K) probabilities, fitted on rows the head had not seen.

    Attributes:
        kind: `temperature`: softmax of scores / T, from one array `temperature` (1,). `sigmoid`:
            per class 1 / (1 + exp(−(slope · s + offset))), from `slope` and `offset` (K,).
            `isotonic`: per class a rising curve through the points (`x`, `y`), those of class k
            being numbers `ends[k]` to `ends[k + 1]`. The last two are one class against the rest,
            then divided by their sum.
        of: what `sigmoid` and `isotonic` start from: the scores, or their softmax (for heads whose
            scores are logarithms of shares, which have no smallest value).
        arrays: as said above.
    """

    kind: Literal["temperature", "sigmoid", "isotonic"]
    arrays: Arrays
    of: Literal["scores", "probabilities"] = "scores"

    def apply(self, scores: Floats) -> Floats:
        """Return (N, K) probabilities."""
        if self.kind == "temperature":
            return softmax(self.start(scores) / self.arrays["temperature"])
        start = self.start(scores)
        each = self._sigmoid(start) if self.kind == "sigmoid" else self._isotonic(start)
        total = each.sum(axis=1, keepdims=True)
        even = np.full_like(each, 1 / each.shape[1])  # as scikit-learn: no class is better
        probabilities: Floats = np.divide(each, total, out=even, where=total > 0)
        return probabilities

    def start(self, scores: Floats) -> Floats:
        """Return (N, K) finite values that the map is fitted on and applied to."""
        scores = np.asarray(scores, np.float64)
        if self.of == "probabilities" and self.kind != "temperature":
            return softmax(scores)
        return np.where(np.isneginf(scores), _SMALLEST, scores)

    def _sigmoid(self, start: Floats) -> Floats:
        z = start * self.arrays["slope"] + self.arrays["offset"]
        return np.exp(-np.logaddexp(0, -z))

    def _isotonic(self, start: Floats) -> Floats:
        ends = self.arrays["ends"]
        curves = [
            np.interp(start[:, k], self.arrays["x"][a:b], self.arrays["y"][a:b])
            for k, (a, b) in enumerate(pairwise(ends))
        ]
        return np.stack(curves, axis=1)
