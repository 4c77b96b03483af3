"""k-means through scikit-learn, where the features fit in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler, normalize

__all__ = ["Clusters", "fit_kmeans", "scale_rows"]

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Clusters:
    """A k-means result.

    Attributes:
        labels: (N,) cluster of each row.
        centers: (k, D) in the scaled space.
        distances: (N,) Euclidean distance of each row to its centre.
        sizes: (k,) rows per cluster.
        inertia: sum of squared distances to the closest centre.
        iterations: Lloyd iterations that were run.
    """

    labels: npt.NDArray[np.int32]
    centers: Floats
    distances: Floats
    sizes: npt.NDArray[np.int64]
    inertia: float
    iterations: int


def scale_rows(features: Floats, how: Literal["none", "standard", "l2"]) -> Floats:
    """Return (N, D) features scaled to zero mean and unit variance, to unit length, or as is."""
    if how == "standard":
        return np.asarray(StandardScaler().fit_transform(features))
    return np.asarray(normalize(features)) if how == "l2" else features


def fit_kmeans(features: Floats, k: int, seed: int) -> Clusters:
    """Cluster (N, D) features with scikit-learn's defaults: k-means++ and Lloyd."""
    fitted = KMeans(n_clusters=k, random_state=seed).fit(features)
    return Clusters(
        labels=fitted.labels_,
        centers=fitted.cluster_centers_,
        distances=np.linalg.norm(features - fitted.cluster_centers_[fitted.labels_], axis=1),
        sizes=np.bincount(fitted.labels_, minlength=k),
        inertia=float(fitted.inertia_),
        iterations=int(fitted.n_iter_),
    )
