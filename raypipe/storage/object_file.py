"""An object of a bucket as a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from raypipe.storage.keys import fetched
from raypipe.storage.objects import ObjectUri, Patience, connect

#: What makes of a failed request what its caller is to be told; FileNotFoundError stays.
Failures: TypeAlias = Callable[[], AbstractContextManager[None]]


class ChangedError(OSError):
    """An object has been replaced while it was read."""


def version_of(entry: Any) -> str:
    """Return the etag of an object, given its attributes."""
    changed = int(entry["last_modified"].timestamp() * 1e3)
    # A gateway that compresses makes a weak one of it (RFC 9110, 8.8.3).
    return (entry["e_tag"] or "").removeprefix("W/").strip('"') or f"{changed:x}-{entry['size']:x}"


class ObjectFile(io.RawIOBase):
    """An object as a file: each read is one request for that range, of one version of it.

    Args:
        place: where it is.
        patience: how long to wait for it.
        failures: in which requests are made.

    Raises:
        FileNotFoundError: there is none.
        Exception: of `failures`: the store did not answer, or refuses; so do reads.
        ChangedError: by reads: it has been replaced.
    """

    def __init__(self, place: ObjectUri, patience: Patience, failures: Failures) -> None:
        import obstore

        self._place, self._patience, self._failures = place, patience, failures
        self._position = 0
        with failures():
            self._store = connect(place, patience)
            found = obstore.head(self._store, place.key)
        self.length, self.version = int(found["size"]), version_of(found)

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def tell(self) -> int:
        """Return where the next read starts."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readall(self) -> bytes:
        """Read what is left, in one request: the base class takes 8 KiB at a time."""
        buffer = bytearray(max(0, self.length - self._position))
        self.readinto(buffer)
        return bytes(buffer)

    def readinto(self, buffer: Any) -> int:
        """Read as much as fits, or what there is."""
        view = memoryview(buffer).cast("B")
        stop = min(self._position + len(view), self.length)
        if stop <= self._position:
            return 0
        with self._failures():
            found = fetched(
                self._store, self._place.key, self._patience, range=(self._position, stop)
            )
            data, version = found.bytes(), version_of(found.meta)
        if version != self.version:
            raise ChangedError(f"{self._place.uri} has been replaced while it was read")
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
