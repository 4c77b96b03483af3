"""Scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix

from raypipe.fit.moments import moments_of

__all__ = ["MOST_DUPLICATES_WORK", "evaluate", "near_duplicates", "near_duplicates_in_pieces"]

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.object_]

#: Cosine of standardised features above which two photographs are taken for the same picture. In
#: the Oxford 17 flowers, which hold some pictures twice, pairs that are equal but for rounding lie
#: above 0.999, those compressed differently above 0.99, and different pictures below 0.98
#: (MobileNet v1, average of its last layer).
DUPLICATE_COSINE = 0.99
_BLOCK = 4096

#: Multiplications above which near-duplicates are not looked for: about a minute on a few cores.
MOST_DUPLICATES_WORK = 2 * 10**12


def evaluate(truth: Labels, predicted: Labels, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return accuracy, scikit-learn's report as text and numbers, and the confusion matrix."""
    names = list(classes)
    report = {"labels": names, "zero_division": 0}
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "report_text": classification_report(truth, predicted, digits=3, **report),
        "report": classification_report(truth, predicted, output_dict=True, **report),
        "confusion": confusion_matrix(truth, predicted, labels=names).tolist(),
    }


def near_duplicates(test: Floats, train: Floats) -> npt.NDArray[np.bool_] | None:
    """Return which rows of (N, D) have a near-duplicate among (M, D); None if it is too much work.

    The same picture on both sides of a split makes an accuracy look better than it is. Rows are
    compared by cosine after standardisation: raw features share a large common part, so that even
    unrelated images can have a cosine close to one.
    """
    if len(test) * train.size > MOST_DUPLICATES_WORK:
        return None
    mean, std = train.mean(axis=0), train.std(axis=0)
    std = np.where(std == 0, 1, std)
    other = _unit((train - mean) / std)
    found = [
        (_unit((test[start : start + _BLOCK] - mean) / std) @ other.T).max(axis=1)
        > DUPLICATE_COSINE
        for start in range(0, len(test), _BLOCK)
    ]
    return np.concatenate(found)


def near_duplicates_in_pieces(
    test: Floats, pieces: Callable[[], Iterable[Floats]], rows: int
) -> npt.NDArray[np.bool_] | None:
    """Return the same where training rows come in pieces.

    Args:
        test: (N, D).
        pieces: gives the training rows, (m, D) at a time; it is called twice.
        rows: how many training rows there are.
    """
    width = test.shape[1]
    if len(test) * rows * width > MOST_DUPLICATES_WORK:
        return None
    mean, std = (a.astype(np.float32) for a in moments_of(pieces(), width).of([0]))
    unit = _unit((test - mean) / std)
    found = np.zeros(len(test), bool)
    for piece in pieces():
        other = _unit((piece - mean) / std)
        for start in range(0, len(unit), _BLOCK):
            block = slice(start, start + _BLOCK)
            found[block] |= (unit[block] @ other.T).max(axis=1) > DUPLICATE_COSINE
    return found


def _unit(rows: Floats) -> Floats:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms == 0, 1, norms)
