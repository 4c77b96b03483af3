"""The files that a source consists of, on a filesystem or in a bucket."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, cast

from raypipe.errors import UsageError
from raypipe.schema import MISSING
from raypipe.sources import buckets, local
from raypipe.sources.faults import is_version
from raypipe.storage import ChangedError, is_object
from raypipe.storage.objects import ObjectUri


class ObjectPath:
    """The URI of an object, with what sources want of a path."""

    def __init__(self, place: ObjectUri) -> None:
        self.place = place

    @property
    def name(self) -> str:
        """The last part."""
        return self.place.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The last part's extension, with its dot."""
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        """The last part without its extension."""
        return Path(self.name).stem

    @property
    def parent(self) -> ObjectPath:
        """All but the last part."""
        return ObjectPath(replace(self.place, key=self.place.key.rpartition("/")[0]))

    def open(
        self,
        mode: str = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open the object for reading."""
        stream = buckets.open_object(str(self))
        if "b" in mode:
            return stream
        return io.TextIOWrapper(stream, encoding=encoding, errors=errors, newline=newline)

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(replace(self.place, key=f"{self.place.key}/{name}".lstrip("/")))

    def __str__(self) -> str:
        return self.place.whole


AnyPath: TypeAlias = Path | ObjectPath


class Reader(Protocol):
    """A file to be read at given offsets."""

    def read(self, size: int, start: int) -> bytes:
        """Return `size` bytes from `start` on, or what there is of them."""

    def version(self) -> str:
        """Return the etag of what has been read."""


def file_etag(path: str) -> str:
    """Return a value that changes when the file does.

    A file that cannot be looked at is still an item (reading it will say why), so it has one too.
    """
    if not is_object(path):
        return local.file_etag(path)
    try:
        return buckets.object_etag(path)
    except FileNotFoundError:
        return MISSING


def check_version(path: str, listed: str | None) -> None:
    """Make sure that a file is what was listed; an object is asked for in that version anyway.

    Raises:
        OSError: it is gone, or cannot be looked at.
        ChangedError: it is another version.
    """
    if listed is None or is_object(path):
        return
    if not is_version(listed, local.etag_of(os.stat(path))):  # noqa: PTH116
        raise ChangedError(path)


def open_file(path: str) -> Reader:
    """Return a file to be read at given offsets. Raises OSError: it cannot be opened."""
    return buckets.OpenObject(path) if is_object(path) else local.open_file(path)


def open_stream(path: str, etag: str | None = None) -> IO[bytes]:
    """Return a file that one can seek in; an object has to be of `etag`, if that is given.

    Raises:
        OSError: it cannot be opened.
        ChangedError: the object is another version.
        RaypipeError: its store did not answer, or refuses.
    """
    if is_object(path):
        return buckets.open_object(path, etag)
    return cast(IO[bytes], Path(path).open("rb"))


def readable(path: str, etag: str | None = None) -> Any:
    """Return what PyArrow reads a file from. Raises as `open_stream`."""
    return buckets.open_object(path, etag) if is_object(path) else path


def only_local(path: AnyPath) -> Path:
    """Return the path of a file that has to be on a filesystem.

    Raises:
        UsageError: it is in a bucket.
    """
    if isinstance(path, ObjectPath):
        raise UsageError(
            f"SOURCE: {path.name!r} is read in small pieces, each of which would be a request to "
            "its bucket; copy it to a disk, or `raypipe pack` the images into tar shards"
        )
    return path


def needs_requests(uri: str) -> bool:
    """Whether an image inside a file is in a bucket, by its reference."""
    return uri.partition(":")[2].startswith(("s3%3A//", "gs%3A//"))
