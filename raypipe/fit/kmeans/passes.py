"""Sums of a shard for k-means, in one pass over its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from raypipe.fit.kmeans.nearest import nearest, squared_distances, sum_by_nearest
from raypipe.fit.shards.shard_rows import ShardRows
from raypipe.fit.shards.sums import Arrays, add
from raypipe.heads import Scaling

Array = npt.NDArray[Any]


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


def inertia(shard: ShardRows, scaling: Scaling, centers: Array) -> tuple[Array]:
    """Return the sum of squared distances to the nearest of each run's (R, K, D) centres, (R,)."""
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
    """Return those of some rows, numbers (m,) over all shards, that are in this one, (n, D)."""
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
    """Return rows (n, D), each drawn with probability rate·d², d its distance as in `potential`.

    Bahmani et al., Scalable k-means++, 2012, algorithm 2, step 4; `drawn` as in `potential`.
    """
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
