"""Logistic regression on rows that lie in shards: scikit-learn's objective, solved exactly.

For the rows of one fit, with weights s by class, it minimises over coefficients w and intercepts b

    (1/S) · Σᵢ sᵢ · loss(w·xᵢ + b, yᵢ)  +  ‖w‖² / (2·C·S),        S = Σᵢ sᵢ

with the multinomial loss, or the logistic one for two classes; intercepts are not penalised. This
is scikit-learn's LogisticRegression with its L-BFGS solver, with the same meaning of C, of `tol`
(largest absolute value of the gradient) and of `max_iter`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from raypipe.display import say
from raypipe.fit.logistic.lbfgs import Vector
from raypipe.fit.logistic.loss import LinearModels
from raypipe.fit.logistic.rounds import minimize_in_rounds
from raypipe.fit.shards.checkpoint import Checkpoint
from raypipe.fit.shards.groups import RowGroups
from raypipe.fit.shards.sums import Moments, Sharded
from raypipe.heads import Scaling

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PathResult:
    """The best of a path of penalties, fitted on all training rows.

    Attributes:
        scaling: of the features.
        model: one model, for scaled features.
        best: its C.
        accuracies: (values of C, folds) on the rows that were left out.
        fold_models: a model for each fold at the best C.
        iterations: of the last fit.
        gradient: largest absolute value of its gradient.
        loss: its objective.
        converged: whether the gradient is within `tol`, or as small as float64 can tell.
    """

    scaling: Scaling
    model: LinearModels
    best: float
    accuracies: Array
    fold_models: LinearModels
    iterations: int
    gradient: float
    loss: float
    converged: bool


@dataclass(frozen=True)
class _Task:
    """One fit: a penalty, the groups of rows it is fitted on, and how they are weighted.

    `mean` and `std` are those of its own rows, after all rows have been scaled.
    """

    penalty: float
    groups: tuple[int, ...]
    mean: Array
    std: Array
    class_weight: Array
    total_weight: float


class LogisticPath:
    """Fits a path of C by cross-validation, and the best one on all rows.

    All penalties and folds are evaluated in one matrix product per pass over the rows. Each fold's
    rows are scaled by their own mean and deviation, as a pipeline in scikit-learn does; that is an
    affine change of its coefficients, so the rows are scaled only once.

    Args:
        shards: the rows, in groups as `groups` says.
        groups: what each group of rows is for.
        penalties: values of C.
        scale: scaling of the features.
        balanced: whether rows are weighted inversely to the frequency of their class.
        tol: largest absolute value of the gradient to stop at.
        max_iter: most iterations of one fit.
        checkpoint: what a killed fit goes on from.
    """

    def __init__(
        self,
        shards: Sharded,
        groups: RowGroups,
        *,
        penalties: Sequence[float],
        scale: Literal["none", "standard", "l2"],
        balanced: bool = False,
        tol: float = 1e-4,
        max_iter: int = 1000,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.shards, self.groups = shards, groups
        self.penalties = list(penalties)
        self.scale, self.balanced = scale, balanced
        self.tol, self.max_iter = tol, max_iter
        self.checkpoint = checkpoint or Checkpoint(None, {}, resume=False)

    def fit(self) -> PathResult:
        """Search the path and fit the best on all training rows.

        Without folds there is nothing to compare: then it is the first penalty.
        """
        folds = self.groups.folds
        tasks = [self._task(c, fold) for c in self.penalties for fold in range(folds)]
        searched = self._minimise(tasks, [np.zeros(self._size)] * len(tasks), "grid")
        models = self._models_at(tasks, [minimum.x for minimum in searched])
        accuracies = self._accuracies(models)
        best = int(accuracies.mean(axis=1).argmax()) if folds else 0
        at_best = np.arange(best * folds, (best + 1) * folds)
        final = self._task(self.penalties[best], None)
        # The folds' solutions are near the one for all rows, so their mean is a good start.
        start = np.mean([searched[i].x for i in at_best] or [np.zeros(self._size)], axis=0)
        (found,) = self._minimise([final], [start], "final")
        loss, _ = self._values([final], {0: found.x}, double=True)[0]
        return PathResult(
            scaling=self.scaling,
            model=self._models_at([final], [found.x]),
            best=self.penalties[best],
            accuracies=accuracies,
            fold_models=models.take(at_best),
            iterations=found.iterations,
            gradient=found.gradient,
            loss=loss,
            converged=found.converged,
        )

    @cached_property
    def moments(self) -> Moments | None:
        """Moments of each group's features, where they are scaled by them."""
        if self.scale != "standard":
            return None
        found: Moments = self.shards.total("moments", None)
        return found

    @cached_property
    def scaling(self) -> Scaling:
        """What all rows are scaled by: mean and deviation of all training rows, where asked for."""
        if self.moments is None:
            return Scaling.without("none" if self.scale == "none" else "l2")
        return Scaling("standard", *self.moments.of(self.groups.training(None)))

    @property
    def _shape(self) -> tuple[int, int]:
        classes = self.groups.classes
        return (1 if classes == 2 else classes), self.shards.width

    @property
    def _size(self) -> int:
        scores, width = self._shape
        return scores * (width + 1)

    def _task(self, penalty: float, fold: int | None) -> _Task:
        """Return the fit that leaves out a fold, or, with None, the one on all rows."""
        groups = self.groups.training(fold)
        mean, std = np.zeros(self.shards.width), np.ones(self.shards.width)
        if self.moments is not None and fold is not None:
            own_mean, own_std = self.moments.of(groups)
            mean = (own_mean - self.scaling.mean) / self.scaling.std
            std = own_std / self.scaling.std
        counts = self.groups.class_counts[list(groups)].sum(axis=0).astype(float)
        weight = np.ones(len(counts))
        if self.balanced:
            weight = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return _Task(penalty, groups, mean, std, weight, float(weight @ counts))

    def _minimise(self, tasks: Sequence[_Task], starts: Sequence[Vector], stage: str) -> Any:
        passes = 0

        def values(points: dict[int, Vector], *, double: bool) -> dict[int, tuple[float, Vector]]:
            nonlocal passes
            passes += 1
            found = self._values(tasks, points, double=double)
            if passes % 10 == 0:
                steepest = max(float(abs(slope).max()) for _, slope in found.values())
                precision = " in float64" if double else ""
                say(f"pass {passes}: {len(points)} fits left{precision}, gradient {steepest:.2g}")
            return found

        return minimize_in_rounds(
            values,
            starts,
            tol=self.tol,
            max_iter=self.max_iter,
            checkpoint=self.checkpoint,
            stage=stage,
        )

    def _values(
        self, tasks: Sequence[_Task], points: dict[int, Vector], *, double: bool
    ) -> dict[int, tuple[float, Vector]]:
        """Return objective and gradient of some of the tasks at some points, in one pass."""
        chosen = {number: tasks[number] for number in points}
        models = self._models_at(list(chosen.values()), list(points.values()), double=double)
        members = [
            np.array([i for i, task in enumerate(chosen.values()) if group in task.groups], int)
            for group in range(len(self.groups))
        ]
        sums = self.shards.total("gradient", self.scaling, models, members)
        return {
            number: self._objective(task, points[number], *(total[i] for total in sums))
            for i, (number, task) in enumerate(chosen.items())
        }

    def _objective(
        self, task: _Task, point: Vector, loss: float, by_coef: Array, by_intercept: Array
    ) -> tuple[float, Vector]:
        """Add the penalty, and turn the gradient from all rows' scaling to the task's own."""
        coef = point[: -len(by_intercept)]
        slopes = (by_coef - by_intercept[:, None] * task.mean) / task.std
        strength = 1 / (task.penalty * task.total_weight)
        gradient = np.concatenate([slopes.ravel(), by_intercept]) / task.total_weight
        gradient[: len(coef)] += strength * coef
        value = float(loss) / task.total_weight + 0.5 * strength * float(coef @ coef)
        return value, gradient

    def _models_at(
        self, tasks: Sequence[_Task], points: Sequence[Vector], *, double: bool = False
    ) -> LinearModels:
        """Return the models at some points, for rows with all rows' scaling."""
        scores, width = self._shape
        coef = np.empty((len(tasks), scores, width))
        intercept = np.empty((len(tasks), scores))
        for i, (task, point) in enumerate(zip(tasks, points, strict=True)):
            coef[i] = point[:-scores].reshape(scores, width) / task.std
            intercept[i] = point[-scores:] - coef[i] @ task.mean
        weight = np.array([task.class_weight for task in tasks]) if self.balanced else None
        return LinearModels(coef, intercept, weight, double)

    def _accuracies(self, models: LinearModels) -> Array:
        """Return (penalties, folds) shares of the left-out rows that are classified correctly."""
        folds = self.groups.folds
        if not folds:
            return np.empty((len(self.penalties), 0))
        members = [np.empty(0, int) for _ in range(len(self.groups))]
        for fold in range(folds):
            members[self.groups.scored(fold)] = np.arange(fold, len(models), folds)
        (right,) = self.shards.total("hits", self.scaling, models, members)
        scored = [self.groups.class_counts[self.groups.scored(fold)].sum() for fold in range(folds)]
        return np.asarray(right.reshape(-1, folds) / np.array(scored))
