"""Held-out rows whose picture is a training row's, too: they make an accuracy look too good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.fit.likeness import Likeness

Floats = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.int64]

#: Cosine of standardised features above which two photographs are taken for the same picture. In
#: the Oxford 17 flowers, which hold some pictures twice, pairs that are equal but for rounding lie
#: above 0.999, those compressed differently above 0.99, and different pictures below 0.98
#: (MobileNet v1, average of its last layer).
DUPLICATE_COSINE = 0.99
_BLOCK = 4096

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
        """(N,) whether the two are near-duplicates."""
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
