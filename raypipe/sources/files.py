"""The files that a source consists of, on a filesystem or in a bucket."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, cast

from raypipe.errors import UsageError
from raypipe.sources import buckets, local
from raypipe.storage import is_object
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


class _Reader(Protocol):
    def read(self, size: int, start: int) -> bytes: ...


def file_etag(path: str) -> str:
    """Return a value that changes when the file does.

    A file that cannot be looked at is still an item (reading it will say why), so it has one too.
    """
    if not is_object(path):
        return local.file_etag(path)
    try:
        return buckets.object_etag(path)
    except FileNotFoundError:
        return local.MISSING


def open_file(path: str) -> _Reader:
    """Return a file to be read at given offsets.

    Raises:
        RejectedItem: it cannot be opened.
    """
    return buckets.OpenObject(path) if is_object(path) else local.open_file(path)


def open_stream(path: str) -> IO[bytes]:
    """Return a file that one can seek in. Raises OSError, of an object also RaypipeError."""
    if is_object(path):
        return buckets.open_object(path)
    return cast(IO[bytes], Path(path).open("rb"))


def readable(path: str) -> Any:
    """Return what PyArrow reads a file from. Raises as `open_stream`."""
    return buckets.open_object(path) if is_object(path) else path


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
