"""Partition files compared with the checksums that their snapshot has."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from raypipe.errors import RaypipeError
from raypipe.storage import Storage
from raypipe.store.partition import File, describe


def is_whole(storage: Storage, file: File) -> bool:
    """Whether a listed file has the size and SHA-256 that its snapshot says."""
    found = describe(storage, file.path, file.unit, file.rows)
    return (found.bytes, found.sha256) == (file.bytes, file.sha256)


@contextmanager
def verifying(storage: Storage, file: File) -> Iterator[None]:
    """Compare a file's checksum while the body reads it.

    The body has its rows before they are known to be right: what it makes of them must not be
    visible before the end. An error of the body's is told as damage if it is that.

    Raises:
        RaypipeError: the file differs.
    """
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(is_whole, storage, file)
        try:
            yield
        except Exception:
            if not whole.result():
                raise _damaged(storage, file) from None
            raise
        if not whole.result():
            raise _damaged(storage, file)


def _damaged(storage: Storage, file: File) -> RaypipeError:
    return RaypipeError(
        f"{storage.uri}/{file.path} is damaged: its SHA-256 is not the one in the snapshot; "
        "restore the file from a copy"
    )
