"""Files on a filesystem: how they are identified and read."""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from raypipe.errors import RejectedItem, RejectReason
from raypipe.schema import MISSING
from raypipe.sources.faults import changed, rejected
from raypipe.storage.paths import is_text, local_path

FILE_SCHEME = "file://"
_MARK = "\N{REPLACEMENT CHARACTER}"


def file_etag(path: str) -> str:
    """Return a value that changes when the file does: its modification time and size.

    A file that cannot be looked at is still an item (reading it will say why), so it has one too.
    """
    try:
        return etag_of(os.stat(path))  # noqa: PTH116 - strings, for speed over millions
    except (OSError, ValueError):  # the latter of a zero byte within
        return MISSING


def etag_of(status: os.stat_result) -> str:
    """Return the etag of a file of these attributes."""
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


def named_uri(place: str, option: str) -> str:
    """Return what an image is read by that somebody names: by a path, or by any URI.

    Raises:
        UsageError: it is on no machine. `option` is named in the message.
    """
    remote = "://" in place and not place.lower().startswith(FILE_SCHEME)
    return place if remote else as_uri(str(local_path(place, option, any_name=True)))


def path_of(uri: str) -> str:
    """Return the path that `as_uri` was given."""
    if uri.startswith(FILE_SCHEME):
        return os.fsdecode(unquote_to_bytes(uri.removeprefix(FILE_SCHEME)))
    return uri


def read_local(path: str, max_bytes: int, etag: str | None = None) -> bytes:
    """Return a file's bytes, if they are not more than `max_bytes`.

    Args:
        path: the file.
        max_bytes: as many it may have.
        etag: as listed; None where it is not known.

    Raises:
        RejectedItem: it cannot be read, or is not the version that was listed.
    """
    try:
        status = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe or a device could wait for ever.
            raise RejectedItem(RejectReason.UNREADABLE, f"not a regular file: {utf8(path)}")
        check_size(status.st_size, max_bytes)
        with Path(path).open("rb", buffering=0) as file:
            data = file.read()
            found = etag_of(os.fstat(file.fileno()))  # afterwards: it may be written meanwhile
    except OSError as error:
        raise rejected(utf8(path), error, etag) from None
    except ValueError:
        raise RejectedItem(RejectReason.UNREADABLE, f"no file has such a name: {path!r}") from None
    if found != (etag_of(status) if etag is None else etag):
        raise changed(utf8(path))
    return data


class OpenFile:
    """A file opened for reading at given offsets, by any number of threads."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, size: int, start: int) -> bytes:
        """Return `size` bytes from `start` on, or what there is of them."""
        data = os.pread(self._descriptor, size, start)
        while 0 < len(data) < size and (more := self._rest(size, start, len(data))):
            data += more
        return data

    def version(self) -> str:
        """Return the etag of the file by now; equal to an earlier one if it was not written."""
        return etag_of(os.fstat(self._descriptor))

    def _rest(self, size: int, start: int, done: int) -> bytes:
        return os.pread(self._descriptor, size - done, start + done)


def open_file(path: str) -> OpenFile:
    """Return a file; the last few are kept open. Raises OSError: it cannot be opened."""
    return _opened(path, file_etag(path))


@lru_cache(maxsize=32)
def _opened(path: str, _etag: str) -> OpenFile:
    return OpenFile(path)


def forget_files() -> None:
    """Close the files that are kept open."""
    _opened.cache_clear()


def check_size(size: int, max_bytes: int) -> None:
    """Reject an image of too many bytes before memory is taken for it."""
    if size > max_bytes:
        message = f"{size} bytes; no image within the cap on pixels has so many"
        raise RejectedItem(RejectReason.TOO_LARGE, message)
