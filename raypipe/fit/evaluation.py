"""How good a head is on held-out rows, from its scores of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.fit.duplicates import Copies
from raypipe.fit.metrics import scores_of
from raypipe.fit.reliability import calibration_error, log_loss, reliability_bins
from raypipe.heads import Head
from raypipe.heads.scorer import softmax

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.object_]


def evaluate(
    head: Head, scores: Floats, truth: Labels, copies: Copies | None
) -> tuple[dict[str, Any], Floats]:
    """Return metrics of held-out rows, and their probabilities (N, K).

    Args:
        head: calibrated, if it is to be.
        scores: (N, K) of `head.scores`.
        truth: (N,) class names.
        copies: what rows are most like among those the head was fitted on; None if nobody has
            looked.
    """
    probabilities = head.probabilities(scores)
    count = len(head.classes)
    codes = np.searchsorted(np.array(head.classes, dtype=object), truth)
    predicted = probabilities.argmax(axis=1)
    confusion = np.bincount(codes * count + predicted, minlength=count**2).reshape(count, count)
    metrics = {
        **scores_of(confusion, head.classes),
        "reliability": _reliability(head, scores, probabilities, codes),
        **_without(copies, predicted == codes),
    }
    return metrics, probabilities


def _reliability(
    head: Head, scores: Floats, probabilities: Floats, codes: npt.NDArray[np.int64]
) -> dict[str, Any]:
    kind = head.calibration.kind if head.calibration else None
    before = _errors(softmax(scores), codes) if kind else None
    return {
        "calibration": kind or "none",
        **_errors(probabilities, codes),
        "before": before,
        "bins": reliability_bins(probabilities, codes),
    }


def _errors(probabilities: Floats, codes: npt.NDArray[np.int64]) -> dict[str, float]:
    return {
        "expected_calibration_error": calibration_error(reliability_bins(probabilities, codes)),
        "log_loss": log_loss(probabilities, codes),
    }


def _without(copies: Copies | None, right: npt.NDArray[np.bool_]) -> dict[str, int | float | None]:
    """Return how many rows are copies, and the accuracy on the others."""
    if copies is None:
        return {"near_duplicates": None, "accuracy_without_duplicates": None}
    rest = right[~copies.mask]
    return {
        "near_duplicates": int(copies.mask.sum()),
        "accuracy_without_duplicates": float(rest.mean()) if len(rest) else None,
    }
