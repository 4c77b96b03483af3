"""Rows by what a search with cross-validation uses them for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.errors import UsageError
from raypipe.fit.holdout import Holdout

_MOST_FOLDS = 63  # groups are numbered in one byte


@dataclass(frozen=True)
class RowGroups:
    """Groups of training rows: of F folds there are 1 + 2·F.

    Group 0 belongs to every fit. Group 1 + f holds the images that fold f is scored on, and group
    1 + F + f their augmented views; neither is fitted on in that fold.

    Attributes:
        of_row: (N,) group of each row; −1 for rows that are not trained on.
        folds: number of folds.
        classes: number of classes.
        class_counts: (groups, classes) rows of each class.
    """

    of_row: npt.NDArray[np.int8]
    folds: int
    classes: int
    class_counts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return 1 + 2 * self.folds

    def scored(self, fold: int) -> int:
        """Return the group that a fold is scored on."""
        return 1 + fold

    def training(self, fold: int | None) -> tuple[int, ...]:
        """Return the groups that are fitted on in a fold, or, with None, in the end."""
        left_out = () if fold is None else (1 + fold, 1 + self.folds + fold)
        return tuple(group for group in range(len(self)) if group not in left_out)


def group_rows(parts: Holdout, codes: npt.NDArray[Any], classes: int) -> RowGroups:
    """Return the groups of (N,) rows with these class numbers.

    Raises:
        UsageError: there are too many folds.
    """
    folds = len(parts.folds)
    if folds > _MOST_FOLDS:
        raise UsageError(f"--cv: at most {_MOST_FOLDS} with --engine ray; got {folds}")
    of_row = np.full(len(codes), -1, np.int8)
    of_row[parts.train] = 0
    for fold, (fitted, scored) in enumerate(parts.folds):
        left_out = np.ones(len(parts.train), bool)
        left_out[fitted] = False
        of_row[parts.train[left_out]] = 1 + folds + fold
        of_row[parts.train[scored]] = 1 + fold
    counts = np.zeros((1 + 2 * folds, classes), np.int64)
    np.add.at(counts, (of_row[parts.train], codes[parts.train]), 1)
    return RowGroups(of_row, folds, classes, counts)
