"""The interface of every kind of head."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Arrays = dict[str, npt.NDArray[Any]]


class Scorer(Protocol):
    """Scores of scaled rows. The softmax of them is the probability without calibration."""

    @property
    def kind(self) -> str:
        """Name in `SCORERS`, and in the model's file."""

    def scores(self, x: Floats) -> Floats:
        """Return (N, K) scores for (N, D) scaled rows."""

    def arrays(self) -> Arrays:
        """Return what is saved as safetensors."""

    def settings(self) -> dict[str, Any]:
        """Return what is saved as JSON."""

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: Arrays) -> Scorer:
        """Return the scorer that was saved."""


def softmax(scores: Floats) -> Floats:
    """Return (N, K) probabilities for (N, K) scores; some of a row may be −∞, but not all."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
