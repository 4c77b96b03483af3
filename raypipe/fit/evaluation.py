"""How good a head is on held-out rows, from its scores of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.fit.duplicates import Copies
from raypipe.fit.metrics import evaluate
from raypipe.fit.reliability import calibration_error, log_loss, reliability_bins
from raypipe.heads import Head
from raypipe.heads.scorer import softmax

__all__ = ["accuracy_without", "evaluate_scores"]

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.object_]


def evaluate_scores(head: Head, scores: Floats, truth: Labels) -> tuple[dict[str, Any], Floats]:
    """Return metrics of held-out rows, and their probabilities (N, K).

    Args:
        head: calibrated, if it is to be.
        scores: (N, K) of `head.scores`.
        truth: (N,) class names.
    """
    probabilities = head.probabilities(scores)
    classes = np.array(head.classes, dtype=object)
    codes = np.searchsorted(classes, truth)
    predicted = classes[probabilities.argmax(axis=1)]
    metrics = evaluate(truth, predicted, head.classes)
    return {**metrics, "reliability": _reliability(head, scores, probabilities, codes)}, (
        probabilities
    )


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


def accuracy_without(
    copies: Copies | None, right: npt.NDArray[np.bool_]
) -> dict[str, int | float | None]:
    """Return how many held-out rows are copies, and the accuracy on the others.

    Args:
        copies: what held-out rows are most like; None if nobody has looked.
        right: (N,) whether its class was found.
    """
    if copies is None:
        return {"near_duplicates": None, "accuracy_without_duplicates": None}
    rest = right[~copies.mask]
    return {
        "near_duplicates": int(copies.mask.sum()),
        "accuracy_without_duplicates": float(rest.mean()) if len(rest) else None,
    }
