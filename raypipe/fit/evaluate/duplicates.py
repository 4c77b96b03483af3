"""Held-out rows with a training row's features: they make an accuracy look too good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.fit.shards.sums import moments_of
from raypipe.heads import Scaling

Floats = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.int64]

#: Cosine of standardised features above which two photographs are taken for the same picture. In
#: the Oxford 17 flowers, which hold some pictures twice, pairs that are equal but for rounding lie
#: above 0.999, those compressed differently above 0.99, and different pictures below 0.98
#: (MobileNet v1, average of its last layer). Other networks keep copies further apart.
DUPLICATE_COSINE = 0.99
#: Said wherever their number is.
BY_FEATURES = (
    "Only features were compared: resized, mirrored or re-encoded copies may be there all the "
    "same; `raypipe dedupe` compares pictures, and --exclude takes its list"
)
_BLOCK = 2048

#: Multiplications above which near-duplicates are not looked for: about a minute on a few cores.
MOST_DUPLICATES_WORK = 2 * 10**12


@dataclass(frozen=True)
class Copies:
    """The training row that is most like each held-out row.

    Attributes:
        of: (N,) its number.
        cosine: (N,) of their standardised features.
    """

    of: Rows
    cosine: npt.NDArray[np.float32]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the two are near-duplicates: practically the same features."""
        return self.cosine > DUPLICATE_COSINE


def near_duplicates(test: Floats, train: Floats) -> Copies | None:
    """Return what each row of (N, D) is most like among (M, D); None if it is too much work.

    Rows are compared by cosine after standardisation: raw features share a large common part, so
    that even unrelated images can have a cosine close to one.
    """

    def pieces() -> Iterator[tuple[Rows, Floats]]:
        for start in range(0, len(train), _BLOCK):
            piece = train[start : start + _BLOCK]
            yield np.arange(start, start + len(piece)), piece

    return near_duplicates_in_pieces(test, pieces, len(train))


def near_duplicates_in_pieces(
    test: Floats, pieces: Callable[[], Iterable[tuple[Rows, Floats]]], rows: int
) -> Copies | None:
    """Return the same where training rows come in pieces.

    Args:
        test: (N, D).
        pieces: gives numbers (m,) of training rows and their features (m, D); it is called twice.
        rows: how many training rows there are.
    """
    width = test.shape[1]
    if len(test) * rows * width > MOST_DUPLICATES_WORK:
        return None
    likeness = Likeness(lambda: (piece for _, piece in pieces()), width)
    unit = likeness.unit(test)
    found = Copies(np.zeros(len(test), np.int64), np.full(len(test), -2, np.float32))
    for numbers, piece in pieces():
        other = likeness.unit(piece)
        for start in range(0, len(unit), _BLOCK):
            _keep_better(found, slice(start, start + _BLOCK), unit, other, numbers)
    return found


def _keep_better(found: Copies, block: slice, unit: Floats, other: Floats, numbers: Rows) -> None:
    cosines = unit[block] @ other.T
    best = cosines.argmax(axis=1)
    most = cosines[np.arange(len(best)), best]
    better = most > found.cosine[block]
    found.cosine[block][better] = most[better]
    found.of[block][better] = numbers[best[better]]


class Likeness:
    """Cosine of features that are standardised over a set of images.

    Raw features share a large common part, so that even unrelated images have a cosine close to
    one. In the Oxford 17 flowers the nearest other photograph is of the same class for 0.84 of the
    images by raw features, and for 0.89 by standardised ones (MobileNet v1, average of pw12).

    Args:
        pieces: gives the features of the set, (n, D) at a time.
        width: D.
    """

    def __init__(self, pieces: Callable[[], Iterable[Floats]], width: int) -> None:
        self.scaling = Scaling("standard", *moments_of(pieces(), width).of([0]))

    def unit(self, features: Floats) -> npt.NDArray[np.float32]:
        """Return (N, D) standardised rows of unit length, whose products are the cosines."""
        rows = self.scaling.apply(features.astype(np.float32))
        found: npt.NDArray[np.float32] = Scaling.without("l2").apply(rows)
        return found


def alike_pairs(rows: npt.NDArray[np.float32], least: float) -> Iterator[tuple[Rows, Floats]]:
    """Yield (M, 2) pairs of (N, D) unit rows with a cosine of at least `least`, and (M,) cosines.

    All pairs are compared, a block of rows with a block of rows at a time: N² · D / 2
    multiplications.
    """
    for first in range(0, len(rows), _BLOCK):
        for second in range(first, len(rows), _BLOCK):
            cosines = rows[first : first + _BLOCK] @ rows[second : second + _BLOCK].T
            alike = cosines >= least
            here = np.argwhere(np.triu(alike, 1) if first == second else alike)
            yield here + np.array([first, second]), cosines[here[:, 0], here[:, 1]]


def groups_of(count: int, pairs: Rows) -> list[Rows]:
    """Return the rows that pairs connect, group by group, the largest group first.

    Args:
        count: rows there are.
        pairs: (M, 2) numbers of rows.

    Returns:
        For each group the numbers of its rows (n,), n at least 2, in rising order.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    _, labels = connected_components(links, directed=False)
    members = np.unique(pairs)
    order = members[np.argsort(labels[members], kind="stable")]
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    found = np.split(order, cuts) if len(order) else []
    return sorted(found, key=lambda group: (-len(group), int(group[0])))


def complete_groups(
    group: Rows, similarity: Callable[[int, int], float], least: float
) -> list[Rows]:
    """Return parts of a group in which each row is alike each other, by complete linkage.

    Args:
        group: (n,) numbers of rows, rising.
        similarity: of two of them, the smaller number first.
        least: from which on they are alike.

    Returns:
        The parts of two rows or more.
    """
    from scipy.cluster.hierarchy import complete, fcluster  # a quarter of a second

    apart = np.array([1 - similarity(int(a), int(b)) for a, b in combinations(group, 2)])
    labels = fcluster(complete(np.maximum(apart, 0)), 1 - least, "distance")
    parts = [group[labels == label] for label in np.unique(labels)]
    return [part for part in parts if len(part) > 1]
