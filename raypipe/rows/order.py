"""Orders of rows: by id as text, natural, or shuffled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Order = Literal["id", "natural", "shuffle"]

_DIGITS = re.compile(r"([0-9]+)")


def natural_key(text: str) -> tuple[tuple[str | int, ...], str]:
    """Return a sort key in which runs of digits count as numbers: `2.jpg` before `10.jpg`.

    Texts with equal numbers (`1.jpg`, `01.jpg`) keep their order as texts.
    """
    parts = _DIGITS.split(text)  # text and digits alternate, starting with text
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), text


def permutation(
    ids: Sequence[str], views: npt.NDArray[np.int32], order: Order, seed: int
) -> npt.NDArray[np.int64]:
    """Return the rows (N,) in a wanted order, views of an item by number.

    It depends on ids, views and seed alone, not on the order the rows come in.

    Args:
        ids: (N,) item of each row.
        views: (N,) which of its views.
        order: by id as text, `natural`, or a `shuffle` of single rows.
        seed: of the shuffle.
    """
    keys = [natural_key(text) for text in ids] if order == "natural" else ids
    numbers = views.tolist()
    rows = np.array(sorted(range(len(ids)), key=lambda i: (keys[i], numbers[i])), np.int64)
    return np.random.default_rng(seed).permutation(rows) if order == "shuffle" else rows
