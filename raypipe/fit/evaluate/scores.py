"""Scores of a head on held-out rows: accuracy, classes, confusion, reliability."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.display import printable
from raypipe.fit.evaluate.duplicates import Copies
from raypipe.heads import Head
from raypipe.heads.scorer import softmax

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.object_]
Codes = npt.NDArray[np.int64]

_BINS = 10


def evaluate(
    head: Head, scores: Floats, truth: Labels, copies: Copies | None, digits: int = 3
) -> tuple[dict[str, Any], Floats]:
    """Return metrics of held-out rows, and their probabilities (N, K).

    `accuracy` is that on rows that are no near-duplicates of those the head was fitted on, or None
    if no row is left; `accuracy_with_duplicates`, the confusion matrix, the report and the
    reliability are those of all rows. Where nobody has looked, both are the same.

    Args:
        head: calibrated, if it is to be.
        scores: (N, K) of `head.scores`.
        truth: (N,) class names.
        copies: what rows are most like among those the head was fitted on; None if nobody has
            looked.
        digits: behind the point, in the report.
    """
    probabilities = head.probabilities(scores)
    count = len(head.classes)
    codes = np.searchsorted(np.array(head.classes, dtype=object), truth)
    predicted = probabilities.argmax(axis=1)
    confusion = np.bincount(codes * count + predicted, minlength=count**2).reshape(count, count)
    metrics = {
        **scores_of(confusion, head.classes, digits),
        **_honest(copies, predicted == codes),
        "reliability": _reliability(head, scores, probabilities, codes),
    }
    return metrics, probabilities


def _reliability(head: Head, scores: Floats, probabilities: Floats, codes: Codes) -> dict[str, Any]:
    return {
        "calibration": head.calibration.kind if head.calibration else "none",
        **_errors(probabilities, codes),
        "before": _errors(softmax(scores), codes) if head.calibration else None,
        "bins": reliability_bins(probabilities, codes),
    }


def _errors(probabilities: Floats, codes: npt.NDArray[np.int64]) -> dict[str, float]:
    return {
        "expected_calibration_error": calibration_error(reliability_bins(probabilities, codes)),
        "log_loss": log_loss(probabilities, codes),
    }


def _honest(copies: Copies | None, right: npt.NDArray[np.bool_]) -> dict[str, int | float | None]:
    """Return the accuracy without and with copies, and how many these are."""
    rest = right if copies is None else right[~copies.mask]
    return {
        "accuracy": float(rest.mean()) if len(rest) else None,
        "accuracy_with_duplicates": float(right.mean()) if len(right) else None,
        "near_duplicates": None if copies is None else int(copies.mask.sum()),
    }


def scores_of(
    confusion: npt.NDArray[np.int64], classes: tuple[str, ...], digits: int = 3
) -> dict[str, Any]:
    """Return accuracy, scikit-learn's report as text and numbers, and the confusion matrix.

    Args:
        confusion: (K, K) numbers of rows, known class by predicted class.
        classes: K names.
        digits: behind the point, in the text.

    Returns:
        `accuracy` is None, and the reports are empty, where there are no rows.
    """
    from sklearn.metrics import classification_report  # which takes a second to import

    count = len(classes)
    truth, predicted = np.divmod(np.repeat(np.arange(count**2), confusion.ravel()), count)
    found: dict[str, Any] = {"accuracy": None, "report_text": "no row to score\n", "report": {}}
    if rows := len(truth):
        shown = [printable(name) for name in classes]
        options = {"labels": range(count), "target_names": list(classes), "zero_division": 0}
        found = {
            "accuracy": float(confusion.trace() / rows),
            "report_text": classification_report(
                truth, predicted, digits=digits, **options | {"target_names": shown}
            ),
            "report": classification_report(truth, predicted, output_dict=True, **options),
        }
    return {**found, "confusion": confusion.tolist()}


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
