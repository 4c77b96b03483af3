"""Linear heads: logistic regression and the linear support vector machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from raypipe.heads.scorer import Arrays, Floats


@dataclass(frozen=True)
class Linear:
    """`x · coef.T + intercept`.

    Two classes have one row of coefficients, as in scikit-learn: with z its value, their scores are
    −z/2 and z/2, whose softmax is the logistic function of z.

    Attributes:
        kind: the estimator it came from, `logistic` or another.
        coef: (K, D), or (1, D) for two classes.
        intercept: (K,), or (1,) for two classes.
    """

    kind: str
    coef: Floats
    intercept: Floats

    def scores(self, x: Floats) -> Floats:
        """Return (N, K) scores for (N, D) scaled rows."""
        z = x @ self.coef.T + self.intercept
        return np.hstack([-z / 2, z / 2]) if len(self.coef) == 1 else z

    def arrays(self) -> Arrays:
        """Return what is saved as safetensors."""
        return {"coef": self.coef, "intercept": self.intercept}

    def settings(self) -> dict[str, Any]:
        """Return what is saved as JSON."""
        return {"kind": self.kind}

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: Arrays) -> Linear:
        """Return the scorer that was saved."""
        return cls(kind=settings["kind"], **arrays)
