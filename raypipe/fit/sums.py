"""Sums over shards in an order that does not depend on who holds which shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Arrays = tuple[npt.NDArray[Any], ...]

#: Partial results by (level, index): what the shards index·2^level … (index+1)·2^level − 1 add up
#: to.
Partials = dict[tuple[int, int], Any]


class Sharded(Protocol):
    """Rows that lie in shards, wherever they are: what an estimator needs of them."""

    width: int
    """Values in a row."""

    def total(self, step: str, *arguments: Any) -> Any:
        """Run a step on every shard and add the results up in a fixed order."""

    def each(self, step: str, *arguments: Any) -> list[Any]:
        """Run a step on every shard; return the results in the order of the shards."""


def reduce_tree(
    partials: Mapping[tuple[int, int], Any], count: int, combine: Callable[[Any, Any], Any]
) -> Partials:
    """Combine neighbours pairwise as far as possible.

    Floating-point addition depends on its order. This is always the same binary tree over the
    shards 0 … count − 1, so whoever holds a run of them can reduce it and hand on a few partial
    results, and the total has the same bits for any distribution of the shards.

    Args:
        partials: results by (level, index).
        count: number of shards there are in all.
        combine: adds two results, the left one's shards preceding the right one's.

    Returns:
        What is left: at the end, with all shards, one result.
    """
    # Level by level from the leaves: a left child (of even index) becomes its parent, at half the
    # index one level up, together with its right neighbour, or alone if that would begin behind the
    # last shard. A node whose neighbour is in other hands stays for a later call, and so does the
    # root, which spans all shards.
    left = dict(partials)
    level = 0
    while any(at >= level for at, _ in left):
        for at, index in sorted(left):
            if at != level or (at, index) not in left or (count <= 1 << level):
                continue
            if index % 2 == 0 and (index + 1) << level >= count:  # there is no neighbour
                left[level + 1, index // 2] = left.pop((level, index))
            elif index % 2 == 0 and (level, index + 1) in left:
                pair = left.pop((level, index)), left.pop((level, index + 1))
                left[level + 1, index // 2] = combine(*pair)
        level += 1
    return left


def add(first: Arrays, second: Arrays) -> Arrays:
    """Add two results array by array."""
    return tuple(a + b for a, b in zip(first, second, strict=True))


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared differences from the mean, of each group of rows.

    Attributes:
        count: (G,)
        mean: (G, D)
        squares: (G, D)
    """

    count: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    def of(self, groups: Sequence[int]) -> tuple[Any, Any]:
        """Return mean and deviation, each (D,), of some groups together; constants deviate by 1."""
        total = Moments(self.count[:1] * 0, self.mean[:1] * 0, self.squares[:1] * 0)
        for group in groups:
            one = slice(group, group + 1)
            total = merge_moments(
                total, Moments(self.count[one], self.mean[one], self.squares[one])
            )
        mean, count = total.mean[0], max(1.0, float(total.count[0]))
        variance = total.squares[0] / count
        # What varies by rounding alone is constant (as in scikit-learn's StandardScaler).
        epsilon = np.finfo(float).eps
        constant = variance <= count * epsilon * variance + (count * mean * epsilon) ** 2
        return mean, np.where(constant, 1.0, np.sqrt(variance))


def merge_moments(first: Moments, second: Moments) -> Moments:
    """Combine the moments of two sets of rows (Chan, Golub and LeVeque, 1983)."""
    count = first.count + second.count
    share = np.divide(second.count, count, out=np.zeros_like(count), where=count > 0)[:, None]
    gap = second.mean - first.mean
    return Moments(
        count,
        first.mean + gap * share,
        first.squares + second.squares + gap**2 * first.count[:, None] * share,
    )


def combine_moments(first: Moments, second: Moments) -> Moments:
    """Merge two shards' moments; one without rows does not know the width."""
    if not first.mean.shape[1]:
        return second
    return merge_moments(first, second) if second.mean.shape[1] else first


#: How the results of those steps of a fit add up over shards that do.
COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "moments": combine_moments,
    **dict.fromkeys(("gradient", "hits", "lloyd", "inertia", "potential"), add),
}
