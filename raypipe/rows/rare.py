"""Classes with few images, to be left out by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from raypipe.display import counted

_SHOWN = 5


def rare_classes(
    labels: Sequence[str | None] | npt.NDArray[np.object_],
    views: npt.NDArray[np.int32],
    least: int,
) -> dict[str, int]:
    """Return the classes that have fewer than `least` images, sorted by name, with how many.

    Args:
        labels: (N,) of the rows, None where there is none.
        views: (N,) 0 for the image itself; its augmented views do not count.
        least: images a class needs.
    """
    counts = Counter(np.asarray(labels, dtype=object)[views == 0].tolist())
    return {
        name: count
        for name, count in sorted(counts.items(), key=lambda pair: pair[0] or "")
        if name is not None and count < least
    }


def described(rare: Mapping[str, int]) -> str:
    """Return a line on classes that are left out, with names and numbers of images."""
    some = ", ".join(f"{name!r} ({count})" for name, count in list(rare.items())[:_SHOWN])
    more = f" and {len(rare) - _SHOWN} more" if len(rare) > _SHOWN else ""
    return f"left out by --min-per-class, {counted(sum(rare.values()), 'image')}: {some}{more}"
