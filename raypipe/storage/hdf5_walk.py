"""Goes through HDF5 files in a process of its own, run by its path: HDF5's library can hang.

What it needs is imported here, not raypipe, whose import takes longer than all of this.
"""

from __future__ import annotations

import contextlib
import sys
from math import prod
from typing import Any

_ROWS = 65_536
#: Rows of no more bytes are ids, labels and the like, all of which a listing reads.
_SMALL_BYTES = 64


def walk(path: str) -> None:
    """Read what a listing reads of a file, and an image; say now and then that it goes on."""
    import h5py

    found: list[Any] = []
    with h5py.File(path, "r", locking=False) as file:
        file.visititems(lambda _, item: found.append(item))
        for item in [file, *found]:
            list(item.attrs.items())
            if isinstance(item, h5py.Dataset) and item.shape and is_written(item):
                _read(item)


def is_written(dataset: Any) -> bool:
    """Whether no part of an array was left out, for which HDF5 would give zeros."""
    if dataset.is_virtual or dataset.external or not dataset.size:
        return True
    if not dataset.chunks:
        return bool(dataset.id.get_storage_size())
    sizes = zip(dataset.shape, dataset.chunks, strict=True)
    return bool(dataset.id.get_num_chunks() >= prod(-(-size // chunk) for size, chunk in sizes))


def _read(dataset: Any) -> None:
    import h5py

    row_bytes = dataset.dtype.itemsize * prod(dataset.shape[1:])
    is_image = row_bytes > _SMALL_BYTES or h5py.check_vlen_dtype(dataset.dtype) is not None
    for start in range(0, 1 if is_image else len(dataset), _ROWS):
        dataset[start : start + (1 if is_image else _ROWS)]
        _say(".")


def _say(what: str) -> None:
    sys.stdout.write(what)
    sys.stdout.flush()


if __name__ == "__main__":
    for name in sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\0"):
        _say("\n")
        with contextlib.suppress(Exception):  # whoever reads the file next meets it, and tells
            walk(name)
