"""Scores of predicted classes, from how often each was predicted for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def scores_of(confusion: npt.NDArray[np.int64], classes: tuple[str, ...]) -> dict[str, Any]:
    """Return accuracy, scikit-learn's report as text and numbers, and the confusion matrix.

    Args:
        confusion: (K, K) numbers of rows, known class by predicted class.
        classes: K names.

    Returns:
        `accuracy` is None, and the reports are empty, where there are no rows.
    """
    from sklearn.metrics import classification_report  # which takes a second to import

    count = len(classes)
    truth, predicted = np.divmod(np.repeat(np.arange(count**2), confusion.ravel()), count)
    found: dict[str, Any] = {"accuracy": None, "report_text": "no row to score\n", "report": {}}
    if rows := len(truth):
        options = {"labels": range(count), "target_names": list(classes), "zero_division": 0}
        found = {
            "accuracy": float(confusion.trace() / rows),
            "report_text": classification_report(truth, predicted, digits=3, **options),
            "report": classification_report(truth, predicted, output_dict=True, **options),
        }
    return {**found, "confusion": confusion.tolist()}
