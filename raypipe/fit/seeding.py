"""Where k-means starts: k-means++ on a sample, k-means|| on all rows, or centres from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import kmeans_plusplus

from raypipe.errors import UsageError
from raypipe.fit.sums import Sharded
from raypipe.heads import Scaling

Array = npt.NDArray[Any]

#: Rows of the sample that k-means++ runs on: of each centre, and at least.
_SAMPLE_PER_CENTER = 100
_SAMPLE = 20_000
_SAMPLE_BYTES = 2**29

#: Rounds and rows drawn per round and centre that Bahmani et al. found to be enough.
_ROUNDS = 5
_OVERSAMPLING = 2.0


def sample_size(rows: int, width: int, k: int) -> int:
    """Return how many rows k-means++ looks at."""
    wanted = max(_SAMPLE, _SAMPLE_PER_CENTER * k)
    return min(rows, max(k, min(wanted, _SAMPLE_BYTES // (4 * width))))


def sample_rows(
    shards: Sharded, scaling: Scaling | None, rows: int, count: int, seed: int
) -> Array:
    """Return (count, D) rows drawn without replacement, in their own order."""
    return np.concatenate(shards.each("sample", scaling, sample_numbers(rows, count, seed)))


def sample_numbers(rows: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return (count,) numbers of rows drawn without replacement, sorted."""
    if count >= rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng([seed, 0]).choice(rows, count, replace=False))


def plus_plus(sample: Array, k: int, seeds: Sequence[int]) -> list[Array]:
    """Return (k, D) centres for each seed, by k-means++ (Arthur and Vassilvitskii, 2007)."""
    return [kmeans_plusplus(sample, k, random_state=seed)[0].astype(float) for seed in seeds]


def scalable_plus_plus(shards: Sharded, scaling: Scaling, first: Array, k: int, seed: int) -> Array:
    """Return (k, D) centres by k-means|| (Bahmani et al., 2012).

    Each round draws about 2·k rows over all shards, a row with probability proportional to its
    squared distance from what has been drawn. k-means++ then picks among them, each weighted by
    the rows it is nearest to.

    Args:
        shards: the rows.
        scaling: of the rows.
        first: (1, D) the row to begin with.
        k: number of centres.
        seed: of the drawing.

    Raises:
        UsageError: there are fewer than k different rows.
    """
    rounds = [first.astype(float)]
    for number in range(_ROUNDS):
        (cost,) = shards.total("potential", scaling, rounds)
        if not cost > 0:
            break
        rate = _OVERSAMPLING * k / float(cost)
        found = shards.each("draw", scaling, rounds, rate, (seed, number))
        rounds.append(np.concatenate(found).astype(float))
    drawn = np.concatenate(rounds)
    if len(drawn) < k:
        raise UsageError(f"--k: the store has only {len(drawn)} different rows; got {k}")
    _, weights = shards.total("lloyd", scaling, drawn[None])
    centers: Array = kmeans_plusplus(drawn, k, sample_weight=weights[0], random_state=seed)[0]
    return centers


def read_centers(path: Path, k: int, width: int) -> Array:
    """Return (k, D) centres from an .npy file.

    Raises:
        UsageError: there is no such array in it.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--init: cannot read {str(path)!r} as .npy: {error}") from None
    if not isinstance(found, np.ndarray):
        raise UsageError(f"--init: expected one array in an .npy file; {path} has several")
    if found.shape != (k, width) or found.dtype.kind not in "fiu":
        has = f"{found.shape} of {found.dtype}"
        raise UsageError(f"--init: expected {k} centres of {width} numbers; {path} has {has}")
    if not np.isfinite(found).all():
        raise UsageError(f"--init: {path} has NaN or infinite values")
    centers: Array = found.astype(float)
    return centers
