"""Fitting a calibration on scores of rows that the head was not fitted on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from raypipe.errors import UsageError
from raypipe.fit.fitted import Fitted
from raypipe.heads import Calibration, Head
from raypipe.heads.scorer import Arrays

Floats = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.int64]
Kind = Literal["temperature", "sigmoid", "isotonic"]

#: What one class against the rest starts from: as in scikit-learn, the decision function of an svm
#: and the shares of trees and neighbours. Scores that are meant for a softmax give its odds, with
#: which the result does not depend on what all scores of a row have in common.
_START: dict[str, Literal["scores", "odds", "probabilities"]] = {
    "svm": "scores",
    "forest": "probabilities",
    "knn": "probabilities",
}
_LOG_TEMPERATURE = 10.0


def kind_for(head: str, asked: str) -> Kind | None:
    """Return the calibration to fit: `auto` is sigmoid for svm and none for the other heads.

    Raises:
        UsageError: none for svm.
    """
    if asked == "none" and head == "svm":
        raise UsageError(
            "--calibrate none: the scores of --head svm are no probabilities; "
            "give sigmoid, isotonic or temperature"
        )
    kind = "sigmoid" if asked == "auto" and head == "svm" else asked
    return None if kind in ("auto", "none") else kind  # type: ignore[return-value]


def calibrated(fitted: Fitted, labels: npt.NDArray[np.object_], kind: Kind | None) -> Head:
    """Return the head with a calibration fitted on its scores out of fold.

    Args:
        fitted: the head, and where those scores come from.
        labels: (N,) of all training rows.
        kind: None leaves the head as it is.

    Raises:
        UsageError: there are no such scores.
    """
    head = fitted.head
    if kind is None:
        return head
    if fitted.out_of_fold is None:
        raise UsageError(f"--calibrate {kind}: this way of fitting --head {head.kind} has no folds")
    found = fitted.out_of_fold()
    codes = np.searchsorted(np.array(head.classes, dtype=object), labels[found.rows])
    return replace(head, calibration=fit_calibration(kind, found.scores, codes, head.kind))


def fit_calibration(kind: Kind, scores: Floats, codes: Codes, head: str) -> Calibration:
    """Fit a calibration.

    Args:
        kind: one `temperature` for all scores, which minimises the log loss (Guo et al., On
            calibration of modern neural networks, 2017); `sigmoid`, a logistic function per class
            (Platt, Probabilistic outputs for support vector machines, 1999, with his smoothed
            targets); `isotonic`, a rising step curve per class (Zadrozny and Elkan, 2002).
        scores: (N, K).
        codes: (N,) number of the true class.
        head: kind of the head.
    """
    empty = Calibration(kind, {}, _START.get(head, "odds"))
    fit = {"temperature": _temperature, "sigmoid": _sigmoid, "isotonic": _isotonic}[kind]
    return replace(empty, arrays=fit(empty.start(scores), codes))


def _temperature(start: Floats, codes: Codes) -> Arrays:
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows = np.arange(len(codes))
    found = minimize_scalar(
        lambda log_t: -log_softmax(start / np.exp(log_t), axis=1)[rows, codes].mean(),
        bounds=(-_LOG_TEMPERATURE, _LOG_TEMPERATURE),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return {"temperature": np.exp([found.x])}


def _sigmoid(start: Floats, codes: Codes) -> Arrays:
    pairs = [_platt(column, codes == k) for k, column in enumerate(start.T)]
    slope, offset = np.array(pairs).T
    return {"slope": slope, "offset": offset}


def _platt(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset of one class; its own, as scikit-learn's takes no finished scores."""
    from scipy.optimize import minimize

    positives, negatives = positive.sum(), (~positive).sum()
    target = np.where(positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # Brought to one scale, where the minimiser works well; the minimum is the same.
    middle, spread = scores.mean(), scores.std() or 1.0
    z = (scores - middle) / spread

    def loss(parameters: Floats) -> tuple[float, Floats]:
        line = parameters[0] * z + parameters[1]
        error = np.exp(-np.logaddexp(0, -line)) - target
        value = np.mean(np.logaddexp(0, line) - target * line)
        return float(value), np.array([np.mean(error * z), np.mean(error)])

    begin = np.array([0.0, np.log((positives + 1) / (negatives + 1))])
    a, b = minimize(loss, begin, jac=True, method="BFGS", options={"gtol": 1e-8}).x
    return a / spread, b - a * middle / spread


def _isotonic(start: Floats, codes: Codes) -> Arrays:
    from sklearn.isotonic import IsotonicRegression

    curves = [
        IsotonicRegression(out_of_bounds="clip").fit(column, codes == k)
        for k, column in enumerate(start.T)
    ]
    return {
        "x": np.concatenate([curve.X_thresholds_ for curve in curves]),
        "y": np.concatenate([curve.y_thresholds_ for curve in curves]),
        "ends": np.cumsum([0, *(len(curve.X_thresholds_) for curve in curves)]),
    }
