"""Images to validate on, out of those to train on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.errors import UsageError
from raypipe.fit.holdout import Holdout
from raypipe.rows.splits import stratified

Rows = npt.NDArray[np.int64]


def validation_rows(data: Any, parts: Holdout, size: float, seed: int) -> tuple[Rows, Rows]:
    """Return rows to fit on (n,), views included, and rows to validate on (m,), which are no views.

    Both are numbers of rows of `data`.

    These are the store's own validation images, where it has some beside those to test on;
    otherwise a stratified random part of the training images, with at least one of each class.

    Args:
        data: `store.features.Rows`; every row has a label.
        parts: what is trained on.
        size: share of the training images (not with the store's own).
        seed: of the random choice.

    Raises:
        UsageError: naming the classes and counts that cannot be split so.
    """
    train = parts.train
    if parts.how == "store" and len(parts.folds) == 1:
        fitted, validated = parts.folds[0]
        return train[fitted], train[validated]
    own = train[data.views[train] == 0]
    _check(Counter(data.labels[own]), size)
    shares = (1 - size, size)
    split = stratified(data.ids[own].tolist(), data.labels[own].tolist(), shares, seed)
    validated = own[split == "test"]
    image = np.cumsum(data.views == 0) - 1  # of each row; its views follow it
    left_out = np.zeros(int(image[-1]) + 1, bool)
    left_out[image[validated]] = True
    return train[~left_out[image[train]]], validated


def _check(counts: Counter[str], size: float) -> None:
    """Make sure that both parts can have an image of every class."""
    total = sum(counts.values())
    validated = round(size * total)
    if single := sorted(name for name, count in counts.items() if count < 2):
        raise UsageError(
            "--head mlp needs two training images or more of every class, one to validate on; "
            f"{single[0]!r} has {counts[single[0]]}; add images, or leave the class out"
        )
    if min(validated, total - validated) < len(counts):
        raise UsageError(
            f"--validation-size: {size:g} of {total} training images leaves {validated} to "
            f"validate on and {total - validated} to fit on; {len(counts)} classes need one each "
            "in both"
        )
