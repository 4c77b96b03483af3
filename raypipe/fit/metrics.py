"""Splits and scores."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix
from sklearn.model_selection import train_test_split

from raypipe.errors import UsageError

__all__ = ["check_classes", "evaluate", "near_duplicates", "split"]

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.object_]

#: Cosine of standardised features above which two photographs are taken for the same picture. In
#: the Oxford 17 flowers, which hold some pictures twice, pairs that are equal but for rounding lie
#: above 0.999, those compressed differently above 0.99, and different pictures below 0.98
#: (MobileNet v1, average of its last layer).
DUPLICATE_COSINE = 0.99
_BLOCK = 4096


def check_classes(labels: Labels, *, cv: int, test_size: float) -> None:
    """Make sure that every class can be split and cross-validated.

    Raises:
        UsageError: naming the classes and counts that are too few.
    """
    counts = Counter(labels)
    if len(counts) < 2:
        found = ", ".join(map(repr, counts)) or "none"
        raise UsageError(f"STORE: a classifier needs two classes or more; labels found: {found}")
    single = [name for name, count in counts.items() if count < 2]
    if single:
        raise UsageError(
            f"STORE: every class needs two images or more; only one has: {_some(single)}"
        )
    held_out = int(np.ceil(test_size * len(labels)))
    if min(held_out, len(labels) - held_out) < len(counts):
        raise UsageError(
            f"--test-size: {test_size} of {len(labels)} rows leaves {held_out} to test on and "
            f"{len(labels) - held_out} to train on; {len(counts)} classes need one each in both"
        )
    smallest, name = min((count, name) for name, count in counts.items())
    training = smallest - int(np.ceil(test_size * smallest))
    if training < cv:
        raise UsageError(
            f"--cv: {cv} folds need {cv} training images of every class; {name!r} has "
            f"{smallest}, about {training} of them for training; give a smaller --cv or --test-size"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, sorted(names)[:5])) + more


def split(
    labels: Labels, *, test_size: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return row numbers for training and for the hold-out, stratified by label."""
    rows = np.arange(len(labels))
    train, test = train_test_split(rows, test_size=test_size, stratify=labels, random_state=seed)
    return train, test


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


def near_duplicates(test: Floats, train: Floats) -> npt.NDArray[np.bool_]:
    """Return which rows of (N, D) have a near-duplicate among (M, D).

    The same picture on both sides of a split makes an accuracy look better than it is. Rows are
    compared by cosine after standardisation: raw features share a large common part, so that even
    unrelated images can have a cosine close to one.
    """
    mean, std = train.mean(axis=0), train.std(axis=0)
    std = np.where(std == 0, 1, std)
    other = _unit((train - mean) / std)
    found = [
        (_unit((test[start : start + _BLOCK] - mean) / std) @ other.T).max(axis=1)
        > DUPLICATE_COSINE
        for start in range(0, len(test), _BLOCK)
    ]
    return np.concatenate(found)


def _unit(rows: Floats) -> Floats:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms == 0, 1, norms)
