"""What a shard computes in one pass over its rows: the steps of the iterative fits.

Each takes a `ShardRows` and plain arrays, and returns arrays; none changes anything. Results of
those in `COMBINE` add up over shards; the others belong to their shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from raypipe.fit.linear_models import LinearModels
from raypipe.fit.nearest import nearest, squared_distances, sum_by_nearest
from raypipe.fit.softmax import hits as count_hits
from raypipe.fit.softmax import loss_and_gradient
from raypipe.fit.sums import Arrays, Moments, add, merge_moments
from raypipe.heads import Scaling

__all__ = ["COMBINE", "STEPS", "ShardRows"]

Array = npt.NDArray[Any]


class ShardRows(Protocol):
    """Rows of a shard, sorted by group, as a step sees them.

    Attributes:
        number: the shard's number.
        starts: (groups + 1,) where each group's rows start.
        first: number of the shard's first row among those of all shards.
        device: torch device of the blocks.
        memo: what a step may remember for the next one; it may be lost at any time.
    """

    number: int
    starts: npt.NDArray[np.int64]
    first: int
    device: torch.device
    memo: dict[str, Any]

    def __len__(self) -> int: ...

    def blocks(
        self, scaling: Scaling | None, group: int | None = None
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield places and (n, D) float32 scaled rows, of one group or of all, in order."""

    def codes(self, rows: slice) -> torch.Tensor:
        """Return the class numbers of some rows."""

    def take(self, rows: Array, scaling: Scaling | None) -> torch.Tensor:
        """Return some rows by number within the shard, scaled."""


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


def combine_moments(first: Moments, second: Moments) -> Moments:
    """Merge two shards' moments; one without rows does not know the width."""
    if not first.mean.shape[1]:
        return second
    return merge_moments(first, second) if second.mean.shape[1] else first


def gradient(
    shard: ShardRows, scaling: Scaling, models: LinearModels, members: Sequence[Array]
) -> Arrays:
    """Return loss (M,), gradient (M, K, D) and that of the intercepts (M, K).

    Args:
        shard: the rows.
        scaling: of the features.
        models: M of them.
        members: for each group the numbers of the models that are fitted on it.
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


def lloyd(shard: ShardRows, scaling: Scaling, centers: Array) -> Arrays:
    """Return the sums (R, K, D) and numbers (R, K) of the rows nearest to each of R·K centres."""
    on_device = torch.from_numpy(centers).to(shard.device, torch.float32)
    total: Arrays | None = None
    for _, x in shard.blocks(scaling):
        found = [sum_by_nearest(x, run_centers) for run_centers in on_device]
        block: Arrays = tuple(map(_stacked, zip(*found, strict=True)))
        total = block if total is None else add(total, block)
    return total or (np.zeros(centers.shape), np.zeros(centers.shape[:2]))


def _stacked(arrays: Sequence[Array]) -> Array:
    """Return arrays as one with a further axis in front; without a copy if there is one."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def lloyd_sample(shard: ShardRows, scaling: Scaling, centers: Array, rows: Array) -> Arrays:
    """Return sums (K, D), numbers (K,) and inertia () of some rows, by number over all shards."""
    on_device = torch.from_numpy(centers).to(shard.device, torch.float32)
    x = shard.take(_own(shard, rows), scaling)
    sums, counts = sum_by_nearest(x, on_device)
    # ‖x − c‖² summed over each centre's rows, from what there is: Σ‖x‖² − 2·c·Σx + n·‖c‖².
    squares = float((x * x).sum(dtype=torch.float64))
    cross = float((centers * sums).sum())
    far = squares - 2 * cross + float(counts @ (centers**2).sum(axis=1))
    return sums, counts, np.array(max(0.0, far))


def inertia(shard: ShardRows, scaling: Scaling, centers: Array) -> tuple[Array]:
    """Return the sum of squared distances to the nearest of each run's centres, (R,)."""
    total = np.zeros(len(centers))
    on_device = torch.from_numpy(centers).to(shard.device, torch.float32)
    for _, x in shard.blocks(scaling):
        for run, run_centers in enumerate(on_device):
            labels, _ = nearest(x, run_centers)
            far = squared_distances(x, run_centers, labels)
            total[run] += float(far.sum(dtype=torch.float64))
    return (total,)


def farthest(
    shard: ShardRows, scaling: Scaling, centers: Array, count: int
) -> tuple[Array, Array, Array, Array]:
    """Return the rows farthest from their centres, farthest first.

    Returns:
        Squared distances (n,), numbers over all shards (n,), centres' numbers (n,), rows (n, D).
    """
    on_device = torch.from_numpy(centers).to(shard.device, torch.float32)
    best = (
        np.empty(0),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        np.empty((0, centers.shape[1])),
    )
    for here, x in shard.blocks(scaling):
        labels, _ = nearest(x, on_device)
        far, places = squared_distances(x, on_device, labels).topk(min(count, len(x)))
        found = (
            far.double().cpu().numpy(),
            shard.first + here.start + places.cpu().numpy(),
            labels[places].cpu().numpy(),
            x[places].double().cpu().numpy(),
        )
        merged = [np.concatenate(pair) for pair in zip(best, found, strict=True)]
        order = np.lexsort((merged[1], -merged[0]))[:count]
        best = merged[0][order], merged[1][order], merged[2][order], merged[3][order]
    return best


def assign(shard: ShardRows, scaling: Scaling, centers: Array) -> tuple[Array, Array, Array]:
    """Return each row's centre (N,), its distance from it (N,), and the inertia ()."""
    labels = np.empty(len(shard), np.int32)
    distances = np.empty(len(shard), np.float32)
    total = 0.0
    on_device = torch.from_numpy(centers).to(shard.device, torch.float32)
    for here, x in shard.blocks(scaling):
        found, _ = nearest(x, on_device)
        far = squared_distances(x, on_device, found)
        labels[here] = found.cpu().numpy()
        distances[here] = far.sqrt().cpu().numpy()
        total += float(far.sum(dtype=torch.float64))
    return labels, distances, np.array(total)


def sample(shard: ShardRows, scaling: Scaling | None, rows: Array) -> Array:
    """Return those of some rows, by number over all shards, that are in this shard, (n, D)."""
    found: Array = shard.take(_own(shard, rows), scaling).cpu().numpy()
    return found


def potential(shard: ShardRows, scaling: Scaling, drawn: Sequence[Array]) -> tuple[Array]:
    """Return the sum of squared distances to the nearest of the centres drawn so far, as ().

    Args:
        shard: the rows.
        scaling: of the rows.
        drawn: (n, D) centres of each round.
    """
    return (_distances_so_far(shard, scaling, drawn).sum(dtype=np.float64),)


def draw(
    shard: ShardRows, scaling: Scaling, drawn: Sequence[Array], rate: float, seed: Sequence[int]
) -> Array:
    """Return rows (n, D), each drawn with probability rate·d², d its distance as in `potential`."""
    luck = np.random.default_rng([*seed, shard.number]).random(len(shard), dtype=np.float32)
    chosen = np.flatnonzero(luck < rate * _distances_so_far(shard, scaling, drawn))
    found: Array = shard.take(chosen, scaling).cpu().numpy()
    return found


def _distances_so_far(shard: ShardRows, scaling: Scaling, drawn: Sequence[Array]) -> Array:
    """Return (N,) squared distances; those to earlier rounds are remembered.

    If they are not, they are computed round by round as well, so that they have the same bits.
    """
    rounds, distances = shard.memo.get("distances", (0, np.full(len(shard), np.inf, np.float32)))
    if rounds > len(drawn):
        rounds, distances = 0, np.full(len(shard), np.inf, np.float32)
    for centers in drawn[rounds:]:
        new = torch.from_numpy(centers).to(shard.device, torch.float32)
        for here, x in shard.blocks(scaling):
            labels, _ = nearest(x, new)
            far = squared_distances(x, new, labels).cpu().numpy()
            distances[here] = np.minimum(distances[here], far)
    shard.memo["distances"] = len(drawn), distances
    found: Array = distances
    return found


def _own(shard: ShardRows, rows: Array) -> Array:
    own: Array = rows[(rows >= shard.first) & (rows < shard.first + len(shard))] - shard.first
    return own


STEPS: dict[str, Callable[..., Any]] = {
    step.__name__: step
    for step in (
        moments,
        gradient,
        hits,
        scores,
        lloyd,
        lloyd_sample,
        inertia,
        farthest,
        assign,
        sample,
        potential,
        draw,
    )
}

#: How the results of a step add up over shards.
COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "moments": combine_moments,
    **dict.fromkeys(("gradient", "hits", "lloyd", "lloyd_sample", "inertia", "potential"), add),
}
