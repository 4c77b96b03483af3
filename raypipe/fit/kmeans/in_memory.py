"""k-means through scikit-learn, where the features fit in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from raypipe.display.html import table
from raypipe.heads.scaling import Kind, Scaling

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
        iterations: that were run.
        scaling: of the features.
        converged: whether they ended by themselves.
    """

    labels: npt.NDArray[np.int32]
    centers: Floats
    distances: Floats
    sizes: npt.NDArray[np.int64]
    inertia: float
    iterations: int
    scaling: Scaling
    converged: bool = True

    def _repr_html_(self) -> str:
        facts = [
            ("images", len(self.labels)),
            ("sizes", ", ".join(map(str, self.sizes))),
            ("inertia", f"{self.inertia:.6g}"),
            ("iterations", self.iterations),
        ]
        return table(f"{len(self.sizes)} clusters", facts)


@dataclass(frozen=True)
class KMeansOptions:
    """How to cluster, whatever does it.

    Attributes:
        k: number of clusters.
        seed: of everything random.
        scale: scaling of the features.
        init: `k-means++`, `k-means||`, or (k, D) centres in the scaled space.
        n_init: starts to try.
        tol: iterations stop once the squared shift of all centres is at most this share of the
            features' mean variance.
        max_iter: most iterations.
        spherical: whether the distance is the cosine.
    """

    k: int
    seed: int
    scale: Kind = "none"
    init: str | Floats = "k-means++"
    n_init: int = 1
    tol: float = 1e-4
    max_iter: int = 300
    spherical: bool = False


def fit_scaling(features: Floats, kind: Kind) -> Scaling:
    """Return what brings (N, D) features to zero mean and unit variance, or to unit length."""
    if kind == "none" or kind == "l2":
        return Scaling.without(kind)
    fitted = StandardScaler().fit(features)
    return Scaling(kind, fitted.mean_, fitted.scale_)


def fit_kmeans(features: Floats, options: KMeansOptions, scaling: Scaling) -> Clusters:
    """Cluster (N, D) features, which have been scaled, with scikit-learn."""
    init = options.init if isinstance(options.init, str) else options.init.astype(features.dtype)
    fitted = KMeans(
        options.k,
        random_state=options.seed,
        init=init,
        n_init=options.n_init,
        tol=options.tol,
        max_iter=options.max_iter,
    ).fit(features)
    return Clusters(
        labels=fitted.labels_,
        centers=fitted.cluster_centers_,
        distances=np.linalg.norm(features - fitted.cluster_centers_[fitted.labels_], axis=1),
        sizes=np.bincount(fitted.labels_, minlength=options.k),
        inertia=float(fitted.inertia_),
        iterations=int(fitted.n_iter_),
        scaling=scaling,
        converged=int(fitted.n_iter_) < options.max_iter,
    )
