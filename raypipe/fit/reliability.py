"""Whether probabilities are as often right as they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.int64]

_BINS = 10


def reliability_bins(probabilities: Floats, codes: Codes) -> list[dict[str, Any]]:
    """Return how often the most probable class is right, by its probability.

    Args:
        probabilities: (N, K).
        codes: (N,) number of the true class.

    Returns:
        Ten bins of equal width (`lower` excluded, `upper` included), each with `count`,
        `mean_confidence` and `accuracy`; the last two are None in an empty bin.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == codes
    bins = np.clip(np.ceil(confidence * _BINS) - 1, 0, _BINS - 1)
    table = []
    for number in range(_BINS):
        inside = bins == number
        some = bool(inside.any())
        table.append(
            {
                "lower": number / _BINS,
                "upper": (number + 1) / _BINS,
                "count": int(inside.sum()),
                "mean_confidence": float(confidence[inside].mean()) if some else None,
                "accuracy": float(right[inside].mean()) if some else None,
            }
        )
    return table


def calibration_error(bins: list[dict[str, Any]]) -> float:
    """Return the expected calibration error: mean |accuracy − confidence|, weighted by count.

    Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, 2015.
    """
    full = [entry for entry in bins if entry["count"]]
    total = sum(entry["count"] for entry in full)
    gaps = (entry["count"] * abs(entry["accuracy"] - entry["mean_confidence"]) for entry in full)
    return float(sum(gaps) / total) if total else 0.0


def log_loss(probabilities: Floats, codes: Codes) -> float:
    """Return the mean of −log of the true class's probability, that taken as 2e-16 or more.

    Args:
        probabilities: (N, K).
        codes: (N,) number of the true class.
    """
    true = probabilities[np.arange(len(codes)), codes]
    return float(-np.log(np.maximum(true, np.finfo(np.float64).eps)).mean())
