"""Cut items into train, validation and test by a hash of their ids."""

from __future__ import annotations

import hashlib
from itertools import accumulate

__all__ = ["by_hash"]

_NAMES = {2: ("train", "test"), 3: ("train", "validation", "test")}


def by_hash(ids: list[str], shares: str) -> list[str]:
    """Return the split of each id; it depends on nothing else.

    Args:
        ids: of the items.
        shares: of train, validation and test, as `0.8,0.1,0.1`; two numbers: train and test.
    """
    bounds = list(accumulate(float(share) for share in shares.split(",")))
    names = _NAMES[len(bounds)]
    return [_split(name, bounds, names) for name in ids]


def _split(name: str, bounds: list[float], names: tuple[str, ...]) -> str:
    fraction = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    found = (split for bound, split in zip(bounds, names, strict=True) if fraction < bound)
    return next(found, names[-1])
