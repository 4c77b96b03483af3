"""Result of every way of fitting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.fit.engine import Engine
from raypipe.heads import Head


@dataclass(frozen=True)
class OutOfFold:
    """Scores of training rows by heads that were not fitted on them.

    Attributes:
        rows: (M,) positions within the training rows.
        scores: (M, K) in the order of the head's classes.
    """

    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Fitted:
    """A head, and how it was found.

    Attributes:
        head: fitted on all training rows with the best parameters; not calibrated.
        best_params: the best parameters of the grid.
        cv_accuracy: their mean accuracy over the folds; None where nothing was compared.
        grid: for each combination its `params`, and `mean` and `std` of the accuracy.
        converged: whether the last fit reached its optimum: of a logistic regression, whether its
            gradient is within the tolerance.
        engine: `sklearn` in memory, or `ray` where features need not lie there all at once.
        ended_early: whether rounding, and not the number of iterations, kept it from that.
        details: goes into metrics.json: iterations, gradient norm, curves, …
        curves: a line per epoch of all combinations, where there are epochs.
        forget: removes what a fit that is stopped goes on from; called once all is written.
        out_of_fold: computes what a calibration is fitted on, when it is asked for; None where
            there is no way to.
    """

    head: Head
    best_params: dict[str, Any]
    cv_accuracy: float | None
    grid: list[dict[str, Any]]
    converged: bool
    engine: Engine
    ended_early: bool = False
    details: dict[str, Any] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    forget: Callable[[], None] = lambda: None
    out_of_fold: Callable[[], OutOfFold] | None = None
