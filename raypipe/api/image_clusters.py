"""Clusters of images, which scikit-learn takes for a fitted estimator of its own."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.metrics import pairwise_distances_argmin

from raypipe import schema
from raypipe.api.arguments import Origin
from raypipe.display.html import table
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit.kmeans.in_memory import Clusters
from raypipe.heads import as_rows
from raypipe.reports.inline import MOST, pictures
from raypipe.reports.thumbnails import find_uris
from raypipe.rows.features import finite
from raypipe.storage import is_object, local_copy
from raypipe.store.reader import reopen

_SIZES = 12
_ASSIGNED = "clusters.parquet"
Floats = npt.NDArray[np.floating[Any]]


class ImageClusters(ClusterMixin, BaseEstimator):  # type: ignore[misc] # has no types
    """Clusters of a store's images: what `cluster` returns.

    Args:
        found: the clusters.
        origin: where they were written.

    Examples:
        >>> groups = raypipe.cluster(store, out="groups", k=3)
        >>> bool((groups.predict(store.to_numpy().features) == groups.labels).all())
        True
    """

    def __init__(self, found: Clusters, origin: Origin) -> None:
        self.found = found
        self.origin = origin

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """The cluster of each image, (N,), by id."""
        return self.found.labels

    @property
    def centers(self) -> Floats:
        """Their centres, (k, D), among scaled features."""
        return self.found.centers

    @property
    def distances(self) -> Floats:
        """How far each image is from its centre, (N,), among scaled features."""
        return self.found.distances

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """How many images each cluster has, (k,)."""
        return self.found.sizes

    @property
    def inertia(self) -> float:
        """The sum of squared distances to the closest centre."""
        return self.found.inertia

    @property
    def iterations(self) -> int:
        """How many were run."""
        return self.found.iterations

    @property
    def converged(self) -> bool:
        """Whether they ended by themselves."""
        return self.found.converged

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json says, as `store`, `snapshot`, `column`, `scale` and `distance`."""
        with local_copy(self.origin.unchanged(), (self.origin.file,), "folder") as folder:
            found: dict[str, Any] = json.loads(Path(folder, self.origin.file).read_text())
        return found

    # As scikit-learn's KMeans has them.
    labels_ = labels
    cluster_centers_ = centers
    inertia_ = inertia
    n_iter_ = iterations

    def fit(self, *_: object) -> ImageClusters:
        """Refuse to fit: `raypipe.cluster` does, from a store.

        Raises:
            UsageError: always. scikit-learn knows its estimators by this method.
        """
        raise UsageError("these are fitted; raypipe.cluster(store, out=..., k=...) fits others")

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, features: Floats) -> npt.NDArray[np.int64]:
        """Return (N,) clusters of (N, …) features, as those of the store.

        Raises:
            UsageError: they are of another width or not finite.
        """
        column, spatial = self.metrics["column"], self.metrics["spatial"]
        given = np.asarray(features)
        rows = as_rows(given, spatial, self.metrics["channels"]) if given.ndim > 1 else given
        width = self.centers.shape[1]
        if given.dtype.kind != "f" or rows.ndim != 2 or rows.shape[1] != width:
            raise UsageError(
                f"features: floats (N, …) of {width} values each, as the store's {column!r}; got "
                f"an array {given.shape} of {given.dtype}"
            )
        if not finite(rows).all():
            raise UsageError("features: some are NaN or infinite")
        centers = self.centers.astype(rows.dtype, copy=False)
        scaled = self.found.scaling.apply(rows)
        found: npt.NDArray[np.int64] = pairwise_distances_argmin(scaled, centers)
        return found

    def __repr__(self, N_CHAR_MAX: int = 0) -> str:  # noqa: N803 - as its base has it
        return (
            f"<ImageClusters {self.origin.place!r}: {len(self.labels)} images in "
            f"{len(self.sizes)} clusters of {self._sizes}>"
        )

    @property
    def _sizes(self) -> str:
        more = ", …" * (len(self.sizes) > _SIZES)
        return ", ".join(map(str, self.sizes[:_SIZES])) + more

    def _repr_html_(self) -> str:
        facts = [
            ("images", len(self.labels)),
            ("sizes", self._sizes),
            ("inertia", f"{self.inertia:.6g}"),
            ("iterations", self.iterations),
        ]
        return table(f"{len(self.sizes)} clusters", facts) + self._pictures()

    def _pictures(self) -> str:
        """Show the image nearest to the centre of each of the largest clusters."""
        try:
            if is_object(self.origin.place):
                return ""
            with local_copy(self.origin.unchanged(), (_ASSIGNED,), "folder") as folder:
                ids = pq.read_table(Path(folder, _ASSIGNED))[schema.ID].to_pylist()
            nearest = {}
            largest = np.argsort(-self.sizes, kind="stable")[:MOST]
            for cluster in largest[self.sizes[largest] > 0]:
                members = np.flatnonzero(self.labels == cluster)
                nearest[int(cluster)] = str(ids[members[self.distances[members].argmin()]])
            uris = find_uris(reopen(self.metrics), nearest.values())
        except (RaypipeError, OSError):  # a look at an object is no reason to fail
            return ""
        return pictures((f"cluster {n}", uris[name]) for n, name in nearest.items() if name in uris)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}
