"""Partition files compared with the checksums that their snapshot has."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from raypipe.errors import RaypipeError
from raypipe.storage import FileInput, Storage
from raypipe.store import hdf5
from raypipe.store.partition import File, describe

Piece = TypeVar("Piece")

#: Larger files of a bucket are read twice instead of being held in memory.
_HELD_BYTES = 2**28

_DIFFERS = "is damaged: its SHA-256 is not the one in the snapshot"
_REMEDY = (
    "`raypipe repair` takes it out of the snapshot, and the next extract makes its items again"
)


def is_whole(storage: Storage, file: File) -> bool:
    """Whether a listed file has the size and SHA-256 that its snapshot says."""
    found = describe(storage, file.path, file.unit, file.rows)
    return (found.bytes, found.sha256) == (file.bytes, file.sha256)


class DamagedFileError(RaypipeError):
    """A listed file is not what its snapshot says; `what` is wrong with it."""

    def __init__(self, storage: Storage, file: File, what: str = _DIFFERS) -> None:
        super().__init__(f"{storage.uri}/{file.path} {what}; restore it from a copy, or {_REMEDY}")
        self.what = what

    def __reduce__(self) -> Any:  # it may come back from another process
        return RaypipeError, (str(self),)


def verified(
    storage: Storage, file: File, read: Callable[[FileInput], Iterator[Piece]]
) -> Iterator[Piece]:
    """Yield what `read` does of a listed file, once its checksum is known to be right.

    The first piece is read meanwhile; of HDF5 only then, since its library may never come to an end
    with a damaged file. Of a bucket, a file of up to 256 MiB is fetched once for both.

    Raises:
        RaypipeError: the file differs, is missing, or cannot be read now.
    """
    with ThreadPoolExecutor(1) as pool, reading(storage, file):
        if storage.folder is None and file.bytes <= _HELD_BYTES:
            data = storage.read(file.path)
            whole = pool.submit(lambda: hashlib.sha256(data).hexdigest() == file.sha256)
            source: FileInput = io.BytesIO(data)
        else:
            source = storage.open(file.path)
            whole = pool.submit(is_whole, storage, file)
        if file.path.endswith(hdf5.SUFFIX) and not whole.result():
            raise DamagedFileError(storage, file)
        try:
            pieces = read(source)
            first = list(islice(pieces, 1))
        except Exception:
            if not whole.result():
                raise DamagedFileError(storage, file) from None
            raise
        if not whole.result():
            raise DamagedFileError(storage, file)
    yield from first
    with reading(storage, file):
        yield from pieces


@contextmanager
def reading(storage: Storage, file: File) -> Iterator[None]:
    """Tell in one line what goes wrong while the body reads some of a listed file.

    Raises:
        RaypipeError: the file is missing, damaged, or cannot be read now.
    """
    try:
        yield
    except FileNotFoundError:
        raise DamagedFileError(storage, file, "is missing") from None
    except Exception as error:
        if isinstance(error, RaypipeError):
            raise
        if isinstance(error, OSError) and error.errno:
            reason = os.strerror(error.errno)
            raise RaypipeError(f"{storage.uri}/{file.path} cannot be read: {reason}") from error
        if not is_whole(storage, file):
            raise DamagedFileError(storage, file) from None
        raise
