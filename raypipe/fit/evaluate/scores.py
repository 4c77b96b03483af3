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
    """Return accuracy, a report as text and numbers, and the confusion matrix.

    The report has the form of scikit-learn's, and its numbers where every class occurs. What a
    class without rows has none of is left open, and takes no part in the mean of classes ("macro
    avg"), where scikit-learn counts it as 0.

    Args:
        confusion: (K, K) numbers of rows, known class by predicted class.
        classes: K names.
        digits: behind the point, in the text.

    Returns:
        `accuracy` is None, and the reports are empty, where there are no rows.
    """
    found: dict[str, Any] = {"accuracy": None, "report_text": "no row to score\n", "report": {}}
    if rows := int(confusion.sum()):
        accuracy = float(confusion.trace() / rows)
        by_class, means = _by_class(confusion)
        found = {
            "accuracy": accuracy,
            "report_text": _as_text(classes, by_class, means, accuracy, digits),
            "report": dict(zip(classes, by_class, strict=True)) | {"accuracy": accuracy} | means,
        }
    return {**found, "confusion": confusion.tolist()}


_Entry = dict[str, float | None]


def _by_class(confusion: npt.NDArray[np.int64]) -> tuple[list[_Entry], dict[str, _Entry]]:
    """Return figures of each class, None where there are none, and their means.

    A class that has rows and is never predicted has a precision of 0; one that has none has no
    recall, and a precision if it is predicted all the same, which is 0.
    """
    right, support, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    values = {
        "precision": right / np.maximum(predicted, 1),
        "recall": right / np.maximum(support, 1),
        "f1-score": 2 * right / np.maximum(support + predicted, 1),
    }
    occurs = support > 0
    there = {"precision": occurs | (predicted > 0), "recall": occurs, "f1-score": occurs}
    entries: list[_Entry] = [
        {name: float(v[i]) if there[name][i] else None for name, v in values.items()}
        | {"support": float(count)}
        for i, count in enumerate(support)
    ]
    total: _Entry = {"support": float(support.sum())}
    macro: _Entry = {name: float(np.average(v[occurs])) for name, v in values.items()}
    weighted: _Entry = {name: float(np.average(v, weights=support)) for name, v in values.items()}
    return entries, {"macro avg": macro | total, "weighted avg": weighted | total}


def _as_text(
    classes: tuple[str, ...],
    by_class: list[_Entry],
    means: dict[str, _Entry],
    accuracy: float,
    digits: int,
) -> str:
    names = [*map(printable, classes), *means]
    width = max(digits, *map(len, names))
    headings = "".join(f" {name:>9}" for name in by_class[0])

    def line(name: str, entry: _Entry) -> str:
        *figures, support = entry.values()
        cells = ["–" if one is None else f"{one:.{digits}f}" for one in figures]
        return f"{name:>{width}} " + "".join(f" {cell:>9}" for cell in [*cells, f"{support:.0f}"])

    entries = [line(name, entry) for name, entry in zip(names, by_class, strict=False)]
    rows = f"{means['macro avg']['support']:.0f}"
    total = f"{'accuracy':>{width}} {'':20} {accuracy:>9.{digits}f} {rows:>9}"
    lines = [f"{'':{width}} {headings}", "", *entries, "", total]
    lines += [line(name, entry) for name, entry in means.items()]
    text = "\n".join(lines) + "\n"
    if absent := sum(not entry["support"] for entry in by_class):
        text += f"macro avg: of the {len(classes) - absent} of {len(classes)} classes that occur\n"
    return text


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
