"""Choosing the number of clusters on a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from raypipe.errors import UsageError

__all__ = ["SAMPLE", "choose_k"]

Array = npt.NDArray[Any]

#: Rows that are looked at. The silhouette compares all pairs of them.
SAMPLE = 5000


def choose_k(
    sample: Array, numbers: Sequence[int], how: Literal["silhouette", "elbow"], seed: int
) -> tuple[int, list[dict[str, float]]]:
    """Return the best number of clusters, and the figures of all.

    `silhouette` takes the largest mean silhouette (Rousseeuw, 1987). `elbow` takes the point of the
    inertia's curve that lies farthest below the line between its ends (Satopää et al., 2011).

    Args:
        sample: (n, D) scaled rows.
        numbers: of clusters to try, from small to large.
        how: which figure decides.
        seed: of k-means.

    Raises:
        UsageError: the sample is too small.
    """
    if numbers[-1] >= len(sample):
        raise UsageError(
            f"--k: a range may go up to {len(sample) - 1}, one less than the {len(sample)} rows it "
            f"is chosen on; got {numbers[-1]}"
        )
    figures = []
    for k in numbers:
        fitted = KMeans(k, random_state=seed, n_init=1).fit(sample)
        found = len(np.unique(fitted.labels_))
        score = float(silhouette_score(sample, fitted.labels_)) if found > 1 else -1.0
        figures.append({"k": k, "inertia": float(fitted.inertia_), "silhouette": score})
    if how == "silhouette":
        best = int(np.argmax([figure["silhouette"] for figure in figures]))
    else:
        best = _elbow([figure["inertia"] for figure in figures])
    return numbers[best], figures


def _elbow(inertia: Sequence[float]) -> int:
    """Return the number of the point farthest below the line from the first to the last."""
    if len(inertia) < 3:
        return 0
    curve = np.array(inertia)
    line = np.linspace(curve[0], curve[-1], len(curve))
    return int((line - curve).argmax())
