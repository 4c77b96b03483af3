"""k-means on rows that lie in shards: Lloyd's iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.display import say
from raypipe.fit.checkpoint import Checkpoint
from raypipe.fit.sums import Moments, Sharded
from raypipe.heads import Scaling

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Partition:
    """Where the centres ended up.

    Attributes:
        centers: (K, D) in the scaled space.
        iterations: that were made in the run that was kept.
        converged: whether the centres had stopped moving before the last iteration allowed.
    """

    centers: Array
    iterations: int
    converged: bool


@dataclass(frozen=True)
class Lloyd:
    """How iterations go on and when they end.

    Attributes:
        scaling: of the rows.
        tol: iterations stop once the squared shift of all centres is at most this share of the
            features' mean variance, as in scikit-learn.
        max_iter: most iterations.
        spherical: whether centres are brought to unit length, for rows of unit length: then the
            nearest centre is the one of largest cosine (Dhillon and Modha, 2001).
    """

    scaling: Scaling
    tol: float = 1e-4
    max_iter: int = 300
    spherical: bool = False


def fit_lloyd(
    shards: Sharded, how: Lloyd, starts: Sequence[Array], checkpoint: Checkpoint
) -> Partition:
    """Run Lloyd's iterations from each of some sets of centres and keep the best end.

    All runs share each pass over the rows.

    Args:
        shards: the rows.
        how: scaling and stopping.
        starts: R times (K, D) centres.
        checkpoint: what a killed fit goes on from.
    """
    state = checkpoint.state or {}
    centers = np.array(state.get("centers", np.array(starts)))
    iterations = np.array(state.get("iterations", np.zeros(len(starts), np.int64)))
    done = np.array(state.get("done", np.zeros(len(starts), bool)))
    limit = how.tol * _mean_variance(shards, how.scaling)
    while True:
        active = np.flatnonzero(~done & (iterations < how.max_iter))
        if not len(active):
            break
        sums, counts = shards.total("lloyd", how.scaling, centers[active])
        for i, run in enumerate(active):
            moved = _next_centers(shards, how, centers[run], sums[i], counts[i])
            shift = float(((moved - centers[run]) ** 2).sum())
            centers[run], done[run] = moved, shift <= limit
            iterations[run] += 1
        checkpoint.save({"centers": centers, "iterations": iterations, "done": done})
        if iterations.max() % 10 == 0:
            say(f"iteration {iterations.max()}: centres moved by {shift**0.5:.3g}")
    best = 0
    if len(centers) > 1:
        (inertia,) = shards.total("inertia", how.scaling, centers)
        best = int(inertia.argmin())
    return Partition(centers[best], int(iterations[best]), bool(done[best]))


def _next_centers(shards: Sharded, how: Lloyd, centers: Array, sums: Array, counts: Array) -> Array:
    """Return the means of the rows that were nearest to each centre."""
    if empty := int((counts == 0).sum()):
        found = shards.each("farthest", how.scaling, centers, empty)
        sums, counts = relocate_empty(sums, counts, found)
    return _means(sums, counts, centers, how.spherical)


def relocate_empty(
    sums: Array, counts: Array, candidates: Sequence[tuple[Array, Array, Array, Array]]
) -> tuple[Array, Array]:
    """Give each centre without rows the row farthest from its own, as scikit-learn does.

    Args:
        sums: (K, D) of each centre's rows.
        counts: (K,) rows of each centre.
        candidates: each shard's farthest rows: squared distances (n,), numbers (n,), centres'
            numbers (n,), rows (n, D).

    Returns:
        Sums (K, D) and counts (K,) after it.
    """
    far, numbers, owners, rows = (
        np.concatenate(column) for column in zip(*candidates, strict=True)
    )
    order = np.lexsort((numbers, -far))
    sums, counts = sums.copy(), counts.copy()
    for empty, row in zip(np.flatnonzero(counts == 0), order, strict=False):
        sums[owners[row]] -= rows[row]
        counts[owners[row]] -= 1
        sums[empty], counts[empty] = rows[row], 1
    return sums, counts


def _means(sums: Array, counts: Array, before: Array, spherical: bool) -> Array:
    lengths = np.linalg.norm(sums, axis=1) if spherical else counts
    kept = (counts > 0) & (lengths > 0)
    centers: Array = before.copy()
    centers[kept] = sums[kept] / lengths[kept, None]
    return centers


def _mean_variance(shards: Sharded, scaling: Scaling) -> float:
    found: Moments = shards.total("moments", scaling)
    total = max(1.0, float(found.count[0]))
    return float(found.squares[0].mean() / total)
