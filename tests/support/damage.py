"""Damage as disks, networks and programs do it, from a seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def _flip(data: bytearray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 4))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def _cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(len(data))) :]


def _range(data: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    length = min(len(data), int(rng.choice([1, 4, 16, 64, 512])))
    start = int(rng.integers(len(data) - length + 1))
    return start, start + length


def _zero(data: bytearray, rng: np.random.Generator) -> None:
    start, stop = _range(data, rng)
    data[start:stop] = bytes(stop - start)


def _swap(data: bytearray, rng: np.random.Generator) -> None:
    length = min(len(data) // 2, int(rng.choice([1, 4, 16, 64, 512])))
    one = int(rng.integers(len(data) - 2 * length + 1))
    other = int(rng.integers(one + length, len(data) - length + 1))
    data[one : one + length], data[other : other + length] = (
        data[other : other + length],
        data[one : one + length],
    )


def _noise(data: bytearray, rng: np.random.Generator) -> None:
    start, stop = _range(data, rng)
    data[start:stop] = rng.bytes(stop - start)


def _remove(data: bytearray, rng: np.random.Generator) -> None:
    start, stop = _range(data, rng)
    del data[start:stop]


def _huge(data: bytearray, rng: np.random.Generator) -> None:
    """Write a number as large as 10¹² rows where there may be one."""
    number = int(rng.choice([10**12, 2**31 - 1, 2**32 - 1, 2**63 - 1]))
    size = 4 if number < 2**32 else 8
    if len(data) < size:
        return
    at = int(rng.integers(len(data) - size + 1))
    data[at : at + size] = number.to_bytes(size, "little")


_DAMAGES: dict[str, Callable[[bytearray, np.random.Generator], None]] = {
    "flipped": _flip,
    "cut": _cut,
    "zeroed": _zero,
    "swapped": _swap,
    "noise": _noise,
    "removed": _remove,
    "huge": _huge,
}
_OFTEN = tuple(_DAMAGES)


def damaged(data: bytes, seed: int) -> tuple[str, bytes]:
    """Return the name of a damage, and data that it was done to; the same for the same seed."""
    rng = np.random.default_rng(seed)
    if not data or rng.random() < 0.01:
        return "emptied", b""
    name = _OFTEN[int(rng.integers(len(_OFTEN)))]
    changed = bytearray(data)
    _DAMAGES[name](changed, rng)
    return name, bytes(changed)
