"""Scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix

__all__ = ["evaluate"]

Labels = npt.NDArray[np.object_]


def evaluate(truth: Labels, predicted: Labels, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return accuracy, scikit-learn's report as text and numbers, and the confusion matrix.

    Args:
        truth: (N,) names of classes.
        predicted: (N,) names of classes.
        classes: the K names, in the order of the report and of the matrix.

    Returns:
        `accuracy`, `report_text`, `report`, and `confusion`: (K, K) counts as lists, a row per
        true class.
    """
    names = list(classes)
    report = {"labels": names, "zero_division": 0}
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "report_text": classification_report(truth, predicted, digits=3, **report),
        "report": classification_report(truth, predicted, output_dict=True, **report),
        "confusion": confusion_matrix(truth, predicted, labels=names).tolist(),
    }
