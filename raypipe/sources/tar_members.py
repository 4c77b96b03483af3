"""The members of a tar file, in order, or a clear word about where it is damaged."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from tarfile import (  # type: ignore[attr-defined] # they are there, though not documented
    EmptyHeaderError,
    EOFHeaderError,
    TruncatedHeaderError,
)
from typing import IO, cast

from raypipe.errors import RaypipeError
from raypipe.sources.files import open_stream

_GZIP_MAGIC = b"\x1f\x8b"
# Names and attributes that do not fit into a header; a longer one is damage, or an attack.
_MAX_HEADER_BYTES = 2**20


def is_gzip(path: str) -> bool:
    """Whether a file is compressed, by its content."""
    try:
        with open_stream(path) as file:
            return file.read(2) == _GZIP_MAGIC
    except OSError:
        return False  # who reads it will say why it cannot be read


def tar_members(path: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Yield each member with the stream, which stands at the member's first byte.

    `tarfile` on its own takes a broken header for the end of the archive, and keeps all members in
    memory. Archives joined end to end are read as one.

    Raises:
        RaypipeError: the archive is damaged or cut short.
    """
    try:
        compressed = is_gzip(path)
        with open_stream(path) as file, gzip.open(file) if compressed else file as stream:
            yield from _walk(cast(IO[bytes], stream), path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RaypipeError(
            f"SOURCE: shard {path!r} is damaged: {error}; repair or remove it"
        ) from None
    except OSError as error:
        raise RaypipeError(f"SOURCE: cannot read {path!r}: {error.strerror or error}") from None


def _walk(stream: IO[bytes], path: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    headers = _Headers(fileobj=cast(IO[bytes], _Bounded(stream)), mode="r")
    position, ended = 0, False
    while True:
        headers.offset = position
        try:
            _go_to(stream, position)
            member = tarfile.TarInfo.fromtarfile(headers)
        except EOFHeaderError:  # a block of zeros: the end, unless an archive follows
            position, ended = position + tarfile.BLOCKSIZE, True
            continue
        except EmptyHeaderError:
            if ended:
                return
            raise _damage(path, position, "no end-of-archive mark: cut short") from None
        except (tarfile.HeaderError, EOFError, ValueError) as error:
            raise _damage(path, position, str(error)) from None
        if headers.offset <= position:
            raise _damage(path, position, "bad size")
        position, ended = headers.offset, False
        yield member, stream


def _go_to(stream: IO[bytes], position: int) -> None:
    if position > stream.tell():
        stream.seek(position - 1)  # beyond the end one can seek, but not read
        if not stream.read(1):
            raise TruncatedHeaderError("the last member is cut short")


def _damage(path: str, position: int, what: str) -> RaypipeError:
    return RaypipeError(
        f"SOURCE: shard {path!r} is damaged at byte {position}: {what}; repair or remove it"
    )


class _Headers(tarfile.TarFile):
    """Parses headers; `_walk` decides where they are."""

    def next(self) -> tarfile.TarInfo | None:
        """Return nothing: the base class would read the first header by itself."""
        return None


class _Bounded:
    """A stream that gives out no huge header."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.tell = stream.tell
        self.seek = stream.seek
        self._read = stream.read

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes."""
        if size > _MAX_HEADER_BYTES:
            raise tarfile.HeaderError(f"a header of {size} bytes")
        return self._read(size)
