"""L-BFGS for many functions at once, which are evaluated together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Vector = npt.NDArray[np.float64]
Evaluate = Callable[[dict[int, Vector]], dict[int, tuple[float, Vector]]]

#: scikit-learn's settings for logistic regression.
_LINE_SEARCH_STEPS = 50
_FUNCTION_TOLERANCE = 64 * np.finfo(float).eps

#: SciPy's status of a minimisation that was cut short.
_OUT_OF_ITERATIONS = 1


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Attributes:
        x: the point.
        iterations: that were made.
        gradient: largest absolute value of the gradient there.
        converged: whether that is within the tolerance.
        stalled: whether rounding hid all further progress before that.
    """

    x: Vector
    iterations: int
    gradient: float
    converged: bool
    stalled: bool


class _StoppedError(Exception):
    """The evaluation has failed elsewhere."""


def minimize_together(
    starts: Sequence[Vector], evaluate: Evaluate, *, tol: float, max_iter: Sequence[int]
) -> list[Minimum]:
    """Minimise several smooth functions with SciPy's L-BFGS-B, in step with each other.

    Each function has its own optimiser, in a thread of its own that waits nearly always. Whenever
    all those that still run have asked for a value, one call evaluates all their points, so that
    one pass over the data serves all of them.

    Args:
        starts: where to start, one point (P,) per function; each may have a P of its own.
        evaluate: returns value and gradient (P,) for points by the number of their function.
        tol: largest absolute value of the gradient to stop at.
        max_iter: most iterations of each.

    Raises:
        BaseException: what `evaluate` raised, or an optimiser did.
    """
    asked: queue.Queue[tuple[int, Any]] = queue.Queue()
    answers: list[queue.Queue[Any]] = [queue.Queue() for _ in starts]
    workers = [
        threading.Thread(
            target=_optimise, args=(i, start, asked, answers[i], tol, max_iter[i]), daemon=True
        )
        for i, start in enumerate(starts)
    ]
    for worker in workers:
        worker.start()
    minima: dict[int, Minimum] = {}
    try:
        while len(minima) < len(starts):
            points: dict[int, Vector] = {}
            while len(points) + len(minima) < len(starts):
                number, message = asked.get()
                if isinstance(message, Minimum):
                    minima[number] = message
                elif isinstance(message, BaseException):
                    raise message
                else:
                    points[number] = message
            for number, value in evaluate(dict(sorted(points.items()))).items() if points else ():
                answers[number].put(value)
    finally:
        for answer in answers:
            answer.put(None)
    return [minima[number] for number in range(len(starts))]


def _optimise(
    number: int,
    start: Vector,
    asked: queue.Queue[tuple[int, Any]],
    answer: queue.Queue[Any],
    tol: float,
    max_iter: int,
) -> None:
    """Run one optimiser, which asks for values through a queue."""

    def value(x: Vector) -> tuple[float, Vector]:
        asked.put((number, x.copy()))
        given = answer.get()
        if given is None:
            raise _StoppedError
        return given  # type: ignore[no-any-return]

    options = {
        "maxiter": max_iter,
        "maxfun": 20 * max_iter,
        "maxls": _LINE_SEARCH_STEPS,
        "gtol": tol,
        "ftol": _FUNCTION_TOLERANCE,
    }
    try:
        found = minimize(value, start, method="L-BFGS-B", jac=True, options=options)
    except _StoppedError:
        return
    except BaseException as error:
        asked.put((number, error))
        return
    gradient = float(np.abs(found.jac).max(initial=0.0))
    converged = gradient <= tol
    stalled = not converged and found.status != _OUT_OF_ITERATIONS
    asked.put((number, Minimum(found.x, int(found.nit), gradient, converged, stalled)))
