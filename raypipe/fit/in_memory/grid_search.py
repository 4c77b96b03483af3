"""Heads through scikit-learn: grid search with cross-validation, for features in memory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from raypipe.errors import UsageError
from raypipe.fit.fitted import Fitted, OutOfFold
from raypipe.fit.grid import DEFAULT_GRIDS, ESTIMATORS, Grid
from raypipe.fit.in_memory.gradient import gradient_norm
from raypipe.fit.in_memory.to_head import to_head

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.object_]
Folds = list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]

#: scikit-learn's tolerance of a logistic regression's gradient, and what rounding may add to one.
_TOLERANCE = 1e-4
_ROUNDING = 1.1


@dataclass(frozen=True)
class Settings:
    """What is the same for all points of the grid.

    Attributes:
        head: the kind of classifier.
        scale: scaling in front of it.
        max_iter: most iterations of one fit (logistic, svm).
        tol: tolerance for stopping (logistic, svm); None for scikit-learn's.
        class_weight: `balanced` weighs rows by the inverse of their class's frequency (not knn).
        seed: of the forest, and of the order in which the svm visits rows.
    """

    head: str
    scale: Literal["none", "standard", "l2"] = "standard"
    max_iter: int = 1000
    tol: float | None = None
    class_weight: Literal["none", "balanced"] = "none"
    seed: int = 0


def fit_search(
    features: Floats, labels: Labels, *, settings: Settings, grid: Grid, folds: Folds
) -> Fitted:
    """Search the grid by cross-validation and refit the best on all rows.

    Scaling is fitted within each fold. Runs on joblib's current backend. A logistic regression that
    float32 ends before its gradient is within the tolerance is fitted anew in float64, as is one
    whose features are not scaled: there, float32 may choose another point of the grid.

    Args:
        features: (N, D).
        labels: (N,) class names.
        settings: what is not searched.
        grid: values by parameter name.
        folds: numbers of rows to fit on (n,) and of rows to score on (m,), for each fold.

    Raises:
        UsageError: more neighbours than a fold has rows.
    """
    if settings.head == "knn":
        grid = _with_enough_rows(grid, min(len(fitted) for fitted, _ in folds))
    if settings.head == "logistic" and settings.scale == "none":
        features = features.astype(np.float64, copy=False)
    fitted = _search(features, labels, settings, grid, folds)
    if fitted.ended_early and features.dtype != np.float64:
        fitted = _search(features.astype(np.float64), labels, settings, grid, folds)
    return fitted


def _search(
    features: Floats, labels: Labels, settings: Settings, grid: Grid, folds: Folds
) -> Fitted:
    search = GridSearchCV(
        _pipeline(settings),
        {f"head__{name}": values for name, values in grid.items()},
        cv=folds,
        error_score="raise",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` tells, in one place
        search.fit(features, labels)
    return _fitted(search, settings, features, labels, folds)


def _pipeline(settings: Settings) -> Pipeline:
    steps = {"none": FunctionTransformer, "standard": StandardScaler, "l2": Normalizer}
    weight = "balanced" if settings.class_weight == "balanced" else None
    stop = {"max_iter": settings.max_iter, "tol": settings.tol}
    stop = {name: value for name, value in stop.items() if value is not None}
    estimator = ESTIMATORS[settings.head](weight, stop, settings.seed)
    return Pipeline([("scale", steps[settings.scale]()), ("head", estimator)])


def _with_enough_rows(grid: Grid, rows: int) -> Grid:
    """Return the grid if every fold has so many neighbours; of the default what there are."""
    possible = [k for k in grid.get("n_neighbors", []) if k <= rows]
    if len(possible) == len(grid.get("n_neighbors", [])):
        return grid
    if grid is DEFAULT_GRIDS["knn"]:
        return {**grid, "n_neighbors": possible}
    raise UsageError(
        f"--grid: n_neighbors must be at most {rows}, the rows that a fold is fitted on; "
        f"got {max(grid['n_neighbors'])}"
    )


def _fitted(
    search: GridSearchCV, settings: Settings, features: Floats, labels: Labels, folds: Folds
) -> Fitted:
    results = search.cv_results_
    scores = zip(
        map(_short_names, results["params"]),
        map(float, results["mean_test_score"]),
        map(float, results["std_test_score"]),
        strict=True,
    )
    best = search.best_estimator_
    iterations = int(np.max(getattr(best["head"], "n_iter_", 0)))
    details = _details(best, settings.head, features, labels, iterations)
    in_time = iterations < settings.max_iter
    steep = details.get("gradient_norm", 0.0) > _ROUNDING * (settings.tol or _TOLERANCE)
    return Fitted(
        head=to_head(best, settings.head),
        best_params=_short_names(search.best_params_),
        cv_accuracy=float(search.best_score_),
        grid=[{"params": p, "mean": mean, "std": std} for p, mean, std in scores],
        converged=in_time and not steep,
        engine="sklearn",
        ended_early=in_time and steep,
        details=details,
        out_of_fold=partial(_out_of_fold, best, settings.head, features, labels, folds),
    )


def _details(
    best: Pipeline, head: str, features: Floats, labels: Labels, iterations: int
) -> dict[str, Any]:
    if not iterations:
        return {}
    if head != "logistic":
        return {"iterations": iterations}
    fitted, model = best["head"], to_head(best, head)
    norm = gradient_norm(model, features, labels, fitted.C, fitted.class_weight)
    return {"iterations": iterations, "gradient_norm": norm}


def _out_of_fold(
    best: Pipeline, head: str, features: Floats, labels: Labels, folds: Folds
) -> OutOfFold:
    """Fit the best parameters again for each fold, and score its other rows.

    Raises:
        UsageError: in each fold a class is missing among the rows to fit on.
    """
    classes = len(best.classes_)
    complete = [fold for fold in folds if len(set(labels[fold[0]])) == classes]
    if not complete:
        raise UsageError("--calibrate: every fold lacks a class to fit on; give a smaller --cv")
    scores = Parallel()(
        delayed(_fold_scores)(clone(best), head, features[fitted], labels[fitted], features[scored])
        for fitted, scored in complete
    )
    return OutOfFold(np.concatenate([scored for _, scored in complete]), np.concatenate(scores))


def _fold_scores(
    pipeline: Pipeline, head: str, features: Floats, labels: Labels, scored: Floats
) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return to_head(pipeline.fit(features, labels), head).scores(scored)


def _short_names(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("head__"): value for name, value in parameters.items()}
