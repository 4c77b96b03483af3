"""k-means on rows that lie in shards, from the start to the assignment of every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.display import say
from raypipe.fit.kmeans.in_memory import Clusters, KMeansOptions
from raypipe.fit.kmeans.lloyd import Lloyd, fit_lloyd
from raypipe.fit.kmeans.seeding import plus_plus, sample_rows, sample_size, scalable_plus_plus
from raypipe.fit.shards.checkpoint import Checkpoint
from raypipe.fit.shards.sums import Sharded
from raypipe.heads import Scaling

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Scaled:
    """What rows are scaled by, and (D,) what was subtracted from all of them besides."""

    rows: Scaling
    origin: Array


def fit_on_shards(
    shards: Any, rows: int, options: KMeansOptions, scaled: Scaled, checkpoint: Checkpoint
) -> tuple[Clusters, npt.NDArray[np.int64]]:
    """Cluster the rows of a `ShardPool`.

    Args:
        shards: all rows in one group.
        rows: how many there are.
        options: how; `init` is not `auto`.
        scaled: of `scaling_of`.
        checkpoint: what a killed fit goes on from.

    Returns:
        The clusters, and (N,) where the rows are stored that they are of.
    """
    scaling, origin = scaled.rows, scaled.origin
    how = Lloyd(scaling, options.tol, options.max_iter, options.spherical)
    starts: list[Array] = []
    if checkpoint.state is None:
        starts = _starts(shards, rows, scaling, origin, options)
    else:  # which has left them behind it
        say("going on from the checkpoint")
    found = fit_lloyd(shards, how, starts, checkpoint)
    assigned = shards.each("assign", scaling, found.centers)
    labels = np.concatenate([part[0] for part in assigned])
    clusters = Clusters(
        labels=labels,
        centers=found.centers + origin,
        distances=np.concatenate([part[1] for part in assigned]),
        sizes=np.bincount(labels, minlength=options.k),
        inertia=float(sum(part[2] for part in assigned)),
        iterations=found.iterations,
        scaling=Scaling.without("none") if options.scale == "none" else scaling,
        converged=found.converged,
    )
    return clusters, np.concatenate(shards.stored)


def scaling_of(shards: Sharded, options: KMeansOptions) -> Scaled:
    """Return what the rows are scaled by.

    Without scaling their mean is subtracted all the same: distances stay, and are more exact.
    """
    if options.scale == "l2":
        return Scaled(Scaling.without("l2"), np.zeros(shards.width))
    mean, std = shards.total("moments", None).of([0])
    if options.scale != "none":
        return Scaled(Scaling(options.scale, mean, std), np.zeros(shards.width))
    return Scaled(Scaling("standard", mean, np.ones_like(mean)), mean)


def _starts(
    shards: Sharded, rows: int, scaling: Scaling, origin: Array, options: KMeansOptions
) -> list[Array]:
    if not isinstance(options.init, str):
        return [np.asarray(options.init, float) - origin]
    seeds = [(options.seed + n) % 2**32 for n in range(options.n_init)]
    if options.init == "k-means||":
        return [
            scalable_plus_plus(
                shards, scaling, sample_rows(shards, scaling, rows, 1, seed), options.k, seed
            )
            for seed in seeds
        ]
    count = sample_size(rows, shards.width, options.k)
    say(f"k-means++ on {count} rows")
    return plus_plus(sample_rows(shards, scaling, rows, count, options.seed), options.k, seeds)
