"""How far a logistic regression is from its optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.class_weight import compute_class_weight

from raypipe.heads import Head, Linear

_BLOCK = 8192


def gradient_norm(
    head: Head,
    features: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.object_],
    c: float,
    class_weight: str | None = None,
) -> float:
    """Return the largest absolute value of the gradient, which scikit-learn compares with `tol`.

    The objective is C · Σ weight · log loss + ½ |coef|², the intercept being free (user guide of
    scikit-learn, section Logistic regression); the gradient is that of its mean over rows, divided
    by C · Σ weight.

    Args:
        head: a linear head without calibration.
        features: (N, D) rows as it was fitted on, before scaling.
        labels: (N,) their classes.
        c: C.
        class_weight: `balanced` or None.

    Raises:
        TypeError: the head is not linear.
    """
    linear = head.scorer
    if not isinstance(linear, Linear):
        raise TypeError(f"a linear head is needed; got {head.kind}")
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    weights = compute_class_weight(class_weight, classes=np.arange(len(names)), y=codes)[codes]
    of_coef = np.zeros((len(names), features.shape[1]))
    of_intercept = np.zeros(len(names))
    for start in range(0, len(features), _BLOCK):
        rows = slice(start, start + _BLOCK)
        x = features[rows]
        errors = head.predict_proba(x).astype(np.float64)
        errors[np.arange(len(errors)), codes[rows]] -= 1
        errors *= c * weights[rows, None]
        of_coef += errors.T @ head.scaling.apply(x)
        of_intercept += errors.sum(axis=0)
    if len(linear.coef) == 1:  # one row, of the second class
        of_coef, of_intercept = of_coef[1:], of_intercept[1:]
    of_coef += linear.coef
    steepest = max(np.abs(of_coef).max(), np.abs(of_intercept).max())
    return float(steepest / (c * weights.sum()))
