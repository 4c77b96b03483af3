"""Logistic regression through scikit-learn: grid search, cross-validation, and the fitted head."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from raypipe.errors import UsageError, nearest
from raypipe.fit.fitted import Fitted
from raypipe.heads import Head, Linear, Scaling

__all__ = ["fit_logistic", "parse_grid", "to_fitted"]

Floats = npt.NDArray[np.floating[Any]]
Scale = Literal["none", "standard", "l2"]

#: What can be searched, and what its values are.
_PARAMETERS = ("C",)


def parse_grid(entries: tuple[str, ...]) -> dict[str, list[float]]:
    """Read `C=0.1,1,10` into `{"C": [0.1, 1.0, 10.0]}`.

    Raises:
        UsageError: an entry of another form, an unknown parameter or a value that is not positive.
    """
    grid: dict[str, list[float]] = {}
    for entry in entries:
        name, _, values = entry.partition("=")
        if name not in _PARAMETERS:
            raise UsageError(
                f"--grid: expected NAME=VALUE,VALUE,… with NAME one of {', '.join(_PARAMETERS)}; "
                f"got {entry!r}{nearest(name, _PARAMETERS)}"
            )
        try:
            grid.setdefault(name, []).extend(float(value) for value in values.split(","))
        except ValueError:
            raise UsageError(f"--grid: {name} must be numbers; got {values!r}") from None
        if not all(0 < value < np.inf for value in grid[name]):
            raise UsageError(f"--grid: {name} must be positive numbers; got {values!r}")
    return grid


def fit_logistic(
    features: Floats,
    labels: npt.NDArray[np.object_],
    *,
    grid: dict[str, list[float]],
    folds: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    scale: Scale,
    max_iter: int,
) -> GridSearchCV:
    """Search the grid by cross-validation and refit the best on all rows.

    Scaling is fitted within each fold. Runs on joblib's current backend.

    Args:
        features: (N, D).
        labels: (N,) class names.
        grid: values by parameter name.
        folds: rows to fit on and rows to score on, for each fold.
        scale: scaling in front of the classifier.
        max_iter: most iterations of one fit.
    """
    steps = {
        "none": FunctionTransformer(),
        "standard": StandardScaler(),
        "l2": Normalizer(),
    }
    pipeline = Pipeline([("scale", steps[scale]), ("head", LogisticRegression(max_iter=max_iter))])
    search = GridSearchCV(
        pipeline,
        {f"head__{name}": values for name, values in grid.items()},
        cv=folds,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` tells, in one place
        return search.fit(features, labels)


def converged(search: GridSearchCV, max_iter: int) -> bool:
    """Whether the refitted classifier stopped before its last iteration."""
    return bool(search.best_estimator_["head"].n_iter_.max() < max_iter)


def to_fitted(search: GridSearchCV, scale: Scale, max_iter: int) -> Fitted:
    """Return the best estimator as arrays, and how it was found."""
    classifier = search.best_estimator_["head"]
    scaling = Scaling.without(scale) if scale != "standard" else _standard(search)
    results = search.cv_results_
    scores = zip(
        map(_short_names, results["params"]),
        map(float, results["mean_test_score"]),
        map(float, results["std_test_score"]),
        strict=True,
    )
    return Fitted(
        head=Head(
            classes=tuple(map(str, classifier.classes_)),
            spatial="flatten",
            scaling=scaling,
            scorer=Linear("logistic", classifier.coef_, classifier.intercept_),
        ),
        best_params=_short_names(search.best_params_),
        cv_accuracy=float(search.best_score_),
        grid=[{"params": p, "mean": mean, "std": std} for p, mean, std in scores],
        converged=converged(search, max_iter),
    )


def _standard(search: GridSearchCV) -> Scaling:
    scaler = search.best_estimator_["scale"]
    return Scaling("standard", scaler.mean_, scaler.scale_)


def _short_names(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("head__"): value for name, value in parameters.items()}
