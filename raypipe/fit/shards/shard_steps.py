"""Steps of the iterative fits: a shard's work in one pass over its rows.

Each takes a `ShardRows` and plain arrays, and returns arrays; none changes anything. Results of
those in `sums.COMBINE` add up over shards; the others belong to their shard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from raypipe.fit.kmeans import passes
from raypipe.fit.logistic.loss import LinearModels, loss_and_gradient
from raypipe.fit.logistic.loss import hits as count_hits
from raypipe.fit.shards.shard_rows import ShardRows
from raypipe.fit.shards.sums import Arrays, Moments, combine_moments
from raypipe.heads import Scaling

Array = npt.NDArray[Any]


def moments(shard: ShardRows, scaling: Scaling | None) -> Moments:
    """Return count, mean and squares of each group of rows."""
    groups = len(shard.starts) - 1
    total = None
    for group in range(groups):
        for _, x in shard.blocks(scaling, group):
            total = _added(total, _moments_of(x.double(), group, groups))
    if total is None:
        return _no_moments(groups, 0)
    return total


def _moments_of(x: torch.Tensor, group: int, groups: int) -> Moments:
    found = _no_moments(groups, x.shape[1])
    mean = x.mean(0)
    found.count[group] = len(x)
    found.mean[group] = mean.cpu().numpy()
    found.squares[group] = (x - mean).square_().sum(0).cpu().numpy()
    return found


def _no_moments(groups: int, width: int) -> Moments:
    return Moments(np.zeros(groups), np.zeros((groups, width)), np.zeros((groups, width)))


def _added(total: Moments | None, more: Moments) -> Moments:
    return more if total is None else combine_moments(total, more)


def gradient(
    shard: ShardRows, scaling: Scaling, models: LinearModels, members: Sequence[Array]
) -> Arrays:
    """Return loss (M,), gradient (M, K, D) and that of the intercepts (M, K).

    Args:
        shard: the rows.
        scaling: of the features.
        models: M of them.
        members: for each group the numbers (m,) of the models that are fitted on it.
    """
    loss = np.zeros(len(models))
    by_coef, by_intercept = np.zeros(models.coef.shape), np.zeros(models.intercept.shape)
    for group, rows in enumerate(members):
        if not len(rows):
            continue
        part = models.take(rows)
        for here, x in shard.blocks(scaling, group):
            losses, slopes, shifts = loss_and_gradient(x, shard.codes(here), part)
            loss[rows] += losses
            by_coef[rows] += slopes
            by_intercept[rows] += shifts
    return loss, by_coef, by_intercept


def hits(
    shard: ShardRows, scaling: Scaling, models: LinearModels, members: Sequence[Array]
) -> tuple[Array]:
    """Return how many rows each model gets right (M,); `members` as in `gradient`."""
    right = np.zeros(len(models), np.int64)
    for group, rows in enumerate(members):
        if len(rows):
            for here, x in shard.blocks(scaling, group):
                right[rows] += count_hits(x, shard.codes(here), models.take(rows))
    return (right,)


def scores(
    shard: ShardRows, scaling: Scaling, models: LinearModels, members: Sequence[Array]
) -> tuple[Array, Array]:
    """Return places in the shard (n,) and the scores (n, K) there, of one model per group."""
    places, found = [], []
    for group, rows in enumerate(members):
        if len(rows):
            coef = torch.from_numpy(models.coef[rows[0]]).to(shard.device, torch.float32)
            shift = torch.from_numpy(models.intercept[rows[0]]).to(coef)
            for here, x in shard.blocks(scaling, group):
                places.append(np.arange(here.start, here.stop))
                found.append((x @ coef.T + shift).cpu().numpy())
    if not found:
        return np.empty(0, np.int64), np.empty((0, models.coef.shape[1]), np.float32)
    return np.concatenate(places), np.concatenate(found)


STEPS: dict[str, Callable[..., Any]] = {
    step.__name__: step
    for step in (
        moments,
        gradient,
        hits,
        scores,
        passes.assign,
        passes.draw,
        passes.farthest,
        passes.inertia,
        passes.lloyd,
        passes.potential,
        passes.sample,
    )
}
