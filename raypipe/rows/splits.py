"""Splits into train, validation and test: by hash of the id, or stratified by label."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from raypipe.errors import UsageError

_NAMES = {2: ("train", "test"), 3: ("train", "validation", "test")}
_CANONICAL = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def canonical(name: str | None) -> str | None:
    """Return train, validation or test for the names they usually go by, and others as they are."""
    return _CANONICAL.get(name.lower(), name) if name is not None else None


def is_usual(name: str) -> bool:
    """Whether a name stands for train, validation or test."""
    return name.lower() in _CANONICAL


def names(shares: Sequence[float]) -> tuple[str, ...]:
    """Return the splits that the shares are of: train, validation and test, or train and test."""
    return _NAMES[len(shares)]


def by_hash(ids: Sequence[str], shares: Sequence[float]) -> list[str]:
    """Return the split of each id: the first 64 bits of its SHA-256 as a fraction, cut by shares.

    An id stays in its split whatever else is added or removed. The shares are met on average.
    """
    bounds = np.array(list(accumulate(shares))[:-1])
    fractions = np.array([_fraction(identity) for identity in ids], np.float64)
    return [names(shares)[i] for i in np.searchsorted(bounds, fractions, side="right")]


def stratified(
    ids: Sequence[str], labels: Sequence[str | None], shares: Sequence[float], seed: int
) -> npt.NDArray[np.object_]:
    """Return the split of each row (N,), each class shared out alike, at least one item in each.

    All rows of an id share a split. The result depends on ids, labels and seed alone, not on the
    order of the rows. Unlabelled items form a class of their own.

    Args:
        ids: (N,) item of each row.
        labels: (N,) its label, None where it has none.
        shares: two or three, which add up to 1.
        seed: of the random choice.

    Raises:
        UsageError: a class has fewer items than there are splits, or a split fewer than classes.
    """
    label_of = dict(zip(ids, labels, strict=True))
    items = sorted(label_of)
    classes = sorted({label for label in label_of.values() if label is not None})
    code: dict[str | None, int] = {label: index for index, label in enumerate(classes)}
    codes = np.array([-1 if label_of[i] is None else code[label_of[i]] for i in items], np.int64)
    sizes = _sizes(len(items), shares)
    _check(codes, classes, sizes, shares)
    chosen = _choose(codes, sizes, seed)
    split_of = {item: names(shares)[part] for item, part in zip(items, chosen, strict=True)}
    return np.array([split_of[identity] for identity in ids], dtype=object)


def _fraction(identity: str) -> float:
    sha = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(sha[:8], "big") / 2**64


def _sizes(count: int, shares: Sequence[float]) -> list[int]:
    rest = [round(count * share) for share in shares[1:]]
    return [count - sum(rest), *rest]


def _check(
    codes: npt.NDArray[np.int64], classes: list[str], sizes: list[int], shares: Sequence[float]
) -> None:
    parts = names(shares)
    counts = Counter(codes.tolist())
    small = {code: n for code, n in sorted(counts.items()) if n < len(parts)}
    if small:
        listed = ", ".join(f"{_class(classes, code)} ({n})" for code, n in small.items())
        raise UsageError(
            f"--split: stratified takes at least {len(parts)} items of each class, one for each of "
            f"{', '.join(parts)}; got {listed}; add items, leave rare classes out with "
            f"--min-per-class {len(parts)}, or use --split hash"
        )
    for part, size in zip(parts, sizes, strict=True):
        if size < len(counts):
            raise UsageError(
                f"--split-sizes: {part} would have {size} of {len(codes)} items, fewer than the "
                f"{len(counts)} classes; give it a larger share"
            )


def _class(classes: list[str], code: int) -> str:
    return "unlabelled" if code < 0 else repr(classes[code])


def _choose(codes: npt.NDArray[np.int64], sizes: list[int], seed: int) -> npt.NDArray[np.int64]:
    """Return the part (number) of each item: from the last part on, each drawn from the rest."""
    from sklearn.model_selection import train_test_split  # which takes longer than most of the rest

    chosen = np.zeros(len(codes), np.int64)
    rest = np.arange(len(codes))
    classes = len(np.unique(codes))
    for part in range(len(sizes) - 1, 0, -1):
        size = min(sizes[part], len(rest) - classes)
        drawn = train_test_split(rest, test_size=size, random_state=seed, stratify=codes[rest])[1]
        chosen[drawn] = part
        _bound(chosen, rest, codes, part)
        rest = rest[chosen[rest] != part]
    return chosen


def _bound(
    chosen: npt.NDArray[np.int64],
    rest: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
    part: int,
) -> None:
    """Make up for rounding in small classes: one item in this part, one left for each before it."""
    for code in np.unique(codes):
        items = rest[codes[rest] == code]
        is_drawn = chosen[items] == part
        drawn, left = items[is_drawn], items[~is_drawn]
        if not len(drawn):
            chosen[left[0]] = part
        chosen[drawn[: max(0, part - len(left))]] = 0
