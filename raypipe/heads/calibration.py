"""From scores to probabilities that are as often right as they say."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from raypipe.heads.scorer import Arrays, Floats, softmax

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
        of: what `sigmoid` and `isotonic` start from: the `scores` (of an svm, which are one class
            against the rest already); the `odds`, log(p / (1 − p)) of their softmax (other scores
            mean something beside each other only); or the `probabilities`, their softmax (of heads
            whose scores are logarithms of shares, which have no smallest value).
        arrays: as said above.
    """

    kind: Literal["temperature", "sigmoid", "isotonic"]
    arrays: Arrays
    of: Literal["scores", "odds", "probabilities"] = "scores"

    def apply(self, scores: Floats) -> Floats:
        """Return (N, K) probabilities for (N, K) scores; each row adds up to 1."""
        if self.kind == "temperature":
            return softmax(self.start(scores) / self.arrays["temperature"])
        start = self.start(scores)
        each = self._sigmoid(start) if self.kind == "sigmoid" else self._isotonic(start)
        total = each.sum(axis=1, keepdims=True)
        even = np.full_like(each, 1 / each.shape[1])  # as scikit-learn: no class is better
        probabilities: Floats = np.divide(each, total, out=even, where=total > 0)
        return probabilities

    def start(self, scores: Floats) -> Floats:
        """Return (N, K) finite values that the map takes, for (N, K) scores."""
        scores = np.asarray(scores, np.float64)
        if self.of == "scores" or self.kind == "temperature":
            return np.where(np.isneginf(scores), _SMALLEST, scores)
        return softmax(scores) if self.of == "probabilities" else _log_odds(scores)

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


def _log_odds(scores: Floats) -> Floats:
    """Return log(p / (1 − p)) of the softmax, as far as float64 can tell p from one."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    odds: Floats = logarithms - np.log(np.maximum(-np.expm1(logarithms), np.exp(_SMALLEST)))
    return odds
