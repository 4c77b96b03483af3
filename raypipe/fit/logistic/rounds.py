"""Many minimisations in rounds: what a killed one goes on from, and when float32 is not enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from raypipe.fit.logistic.lbfgs import Minimum, Vector, minimize_together
from raypipe.fit.shards.checkpoint import Checkpoint

#: A round's length in iterations, and the bytes of answers it may leave in the checkpoint.
_LENGTH = 500
_SHORTEST = 20
_LOG_BYTES = 2**31


class Values(Protocol):
    """Evaluates points, by the number of their function, together."""

    def __call__(
        self, points: dict[int, Vector], *, double: bool
    ) -> dict[int, tuple[float, Vector]]:
        """Return values and gradients (P,) of points (P,), computed in float64 or in float32."""


def minimize_in_rounds(
    values: Values,
    starts: Sequence[Vector],
    *,
    tol: float,
    max_iter: int,
    checkpoint: Checkpoint,
    stage: str,
) -> list[Minimum]:
    """Minimise several functions as `minimize_together` does, keeping a checkpoint.

    After a round, L-BFGS starts anew from where it is: then a resumed fit needs only the answers of
    one round. Rounds are so long that few fits see the end of the first. A function that float32
    cannot bring within the tolerance goes on in float64.

    Args:
        values: evaluates points.
        starts: where to start, one point (P,) per function.
        tol: largest absolute value of the gradient to stop at.
        max_iter: most iterations of each.
        checkpoint: keeps state and answers.
        stage: a name for these minimisations within the checkpoint.
    """
    found = _restore(checkpoint, stage) or [
        Minimum(start, 0, np.inf, converged=False, stalled=False) for start in starts
    ]
    size = 8 * sum(len(start) for start in starts)
    length = int(np.clip(_LOG_BYTES // max(1, size), _SHORTEST, _LENGTH))
    for double in (False, True):
        while active := [i for i, at in enumerate(found) if _goes_on(at, double, max_iter)]:
            result = minimize_together(
                [found[i].x for i in active],
                partial(_ask, values, active, double, checkpoint),
                tol=tol,
                max_iter=[min(length, max_iter - found[i].iterations) for i in active],
            )
            for i, new in zip(active, result, strict=True):
                found[i] = _continued(found[i], new, double)
            _save(checkpoint, stage, found)
    # One that stalls in float64 as well has gone as far as it can, which need not be the optimum.
    return [replace(at, converged=at.gradient <= tol) for at in found]


def _goes_on(at: Minimum, double: bool, max_iter: int) -> bool:
    return not at.converged and at.stalled == double and at.iterations < max_iter


def _continued(before: Minimum, new: Minimum, double: bool) -> Minimum:
    return Minimum(
        new.x,
        before.iterations + new.iterations,
        new.gradient,
        # Where float64 stalls too, nothing is left to do.
        converged=new.converged or (double and new.stalled),
        stalled=new.stalled or double,
    )


def _ask(
    values: Values,
    active: Sequence[int],
    double: bool,
    checkpoint: Checkpoint,
    points: dict[int, Vector],
) -> dict[int, tuple[float, Vector]]:
    """Evaluate points by their number within the round, or take answers from the checkpoint."""
    named = {active[i]: x for i, x in points.items()}

    def compute() -> dict[str, npt.NDArray[Any]]:
        answers = values(named, double=double)
        return {
            "values": np.array([answers[i][0] for i in named]),
            "gradients": np.array([answers[i][1] for i in named]),
        }

    about = repr((list(named), double)).encode()
    answer = checkpoint.answer(about + b"".join(x.tobytes() for x in named.values()), compute)
    pairs = zip(points, answer["values"], answer["gradients"], strict=True)
    return {number: (float(value), gradient) for number, value, gradient in pairs}


def _save(checkpoint: Checkpoint, stage: str, found: Sequence[Minimum]) -> None:
    columns = {
        "x": np.array([m.x for m in found]),
        "iterations": np.array([m.iterations for m in found]),
        "gradient": np.array([m.gradient for m in found]),
        "converged": np.array([m.converged for m in found]),
        "stalled": np.array([m.stalled for m in found]),
    }
    named = {f"{stage}.{name}": column for name, column in columns.items()}
    checkpoint.save({**(checkpoint.state or {}), **named})


def _restore(checkpoint: Checkpoint, stage: str) -> list[Minimum] | None:
    state = checkpoint.state or {}
    names = ("x", "iterations", "gradient", "converged", "stalled")
    columns = [state.get(f"{stage}.{name}") for name in names]
    if columns[0] is None:
        return None
    return [
        Minimum(x, int(iterations), float(gradient), bool(converged), bool(stalled))
        for x, iterations, gradient, converged, stalled in zip(*columns, strict=True)
    ]
