"""Choosing the number of clusters on a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

Array = npt.NDArray[Any]

#: Rows that are looked at. The silhouette compares all pairs of them.
SAMPLE = 5000

#: The figure that decides, as `metrics.json` calls it.
CRITERION = "silhouette"


def choose_k(
    sample: Array, numbers: Sequence[int], seed: int
) -> tuple[int, list[dict[str, float]]]:
    """Return the best number of clusters, and the figures of all.

    The best is the one with the largest mean silhouette (Rousseeuw, 1987).

    Args:
        sample: (n, D) scaled rows, more than the largest of the numbers.
        numbers: of clusters to try, from small to large.
        seed: of k-means.
    """
    figures = []
    for k in numbers:
        fitted = KMeans(k, random_state=seed, n_init=1).fit(sample)
        found = len(np.unique(fitted.labels_))
        score = float(silhouette_score(sample, fitted.labels_)) if found > 1 else -1.0
        figures.append({"k": k, "inertia": float(fitted.inertia_), CRITERION: score})
    best = int(np.argmax([figure[CRITERION] for figure in figures]))
    return numbers[best], figures
