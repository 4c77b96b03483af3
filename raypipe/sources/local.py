"""Files on a filesystem: how they are identified and read."""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from raypipe.errors import RejectedItem, RejectReason

FILE_SCHEME = "file://"
_MARK = "\N{REPLACEMENT CHARACTER}"
#: The etag of a file that is not there.
MISSING = "missing"


def file_etag(path: str) -> str:
    """Return a value that changes when the file does: its modification time and size.

    A file that cannot be looked at is still an item (reading it will say why), so it has one too.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - paths here are strings, for speed over millions
    except (OSError, ValueError):  # of a name with a zero in it
        return MISSING
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def utf8(name: str) -> str:
    """Return a file name as text that can be stored; two names never give one text.

    A byte that is not UTF-8 becomes `�` and its two hexadecimal digits, as
    in `caf�E9.jpg`; that character, which hardly any name has, is doubled.
    """
    if name.isascii():
        return name
    name = name.replace(_MARK, 2 * _MARK)
    if is_text(name):
        return name
    return "".join(char if is_text(char) else f"{_MARK}{_byte(char):02X}" for char in name)


def _byte(char: str) -> int:
    """Return the byte that stands in a name for itself (`os.fsdecode`)."""
    return ord(char) & 0xFF


def as_uri(path: str) -> str:
    """Return what a path is stored as: itself, or a `file://` URI if it is not UTF-8."""
    return path if is_text(path) else f"{FILE_SCHEME}{quote(os.fsencode(path))}"


def path_of(uri: str) -> str:
    """Return the path that `as_uri` was given."""
    if uri.startswith(FILE_SCHEME):
        return os.fsdecode(unquote_to_bytes(uri.removeprefix(FILE_SCHEME)))
    return uri


def is_text(value: str) -> bool:
    """Whether a text can be stored: JSON can hold half a character, a lone surrogate."""
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def read_local(path: str, max_bytes: int) -> bytes:
    """Return a file's bytes, if they are not more than `max_bytes`.

    Raises:
        RejectedItem: it cannot be read.
    """
    try:
        status = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe or a device could wait for ever.
            raise RejectedItem(RejectReason.UNREADABLE, f"not a regular file: {utf8(path)}")
        check_size(status.st_size, max_bytes)
        return Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError as error:
        raise RejectedItem(
            RejectReason.UNREADABLE, f"no name of a file ({error}): {path!r}"
        ) from None


class OpenFile:
    """A file opened for reading at given offsets, by any number of threads."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, size: int, start: int) -> bytes:
        """Return `size` bytes from `start` on, or what there is of them."""
        return os.pread(self._descriptor, size, start)


def open_file(path: str) -> OpenFile:
    """Return a file; the last few are kept open.

    Raises:
        RejectedItem: it cannot be opened.
    """
    try:
        return _opened(path, file_etag(path))
    except OSError as error:
        raise unreadable(path, error) from None


@lru_cache(maxsize=32)
def _opened(path: str, _etag: str) -> OpenFile:
    return OpenFile(path)


def check_size(size: int, max_bytes: int) -> None:
    """Reject an image of too many bytes before memory is taken for it."""
    if size > max_bytes:
        message = f"{size} bytes; no image within the cap on pixels has so many"
        raise RejectedItem(RejectReason.TOO_LARGE, message)


def unreadable(path: str, error: OSError) -> RejectedItem:
    """Return the reject for an item whose file cannot be read."""
    reason = error.strerror or type(error).__name__
    return RejectedItem(RejectReason.UNREADABLE, f"{reason}: {utf8(path)}")
