"""Content of the members of tar shards."""

from __future__ import annotations

import tarfile
import threading
import zlib
from functools import lru_cache
from gzip import BadGzipFile, GzipFile

from raypipe.errors import RejectedItem, RejectReason
from raypipe.sources.faults import changed, is_version
from raypipe.sources.files import check_version, file_etag, open_file, open_stream
from raypipe.sources.local import check_size, utf8
from raypipe.sources.members import Member

_HEADER = tarfile.BLOCKSIZE
_CHECKSUM = slice(148, 156)


def read_tar(member: Member, max_bytes: int, etag: str | None = None) -> bytes:
    """Return a member's bytes; `etag` is that of the listing, or None.

    Raises:
        RejectedItem: they are not there any more, or too many.
        OSError: they cannot be read.
    """
    where = member.numbers
    check_size(where["size"], max_bytes)
    file = open_file(member.path)
    data = file.read(_HEADER + where["size"], where["at"] - _HEADER)
    if not is_version(etag, file.version()):
        raise changed(utf8(str(member)))
    return _checked(member, data)


def read_tar_gz(member: Member, max_bytes: int, etag: str | None = None) -> bytes:
    """Return a member's bytes, going on from where the last one ended if that is before it.

    Raises:
        RejectedItem: they are not there any more, or too many.
        OSError: they cannot be read.
    """
    where = member.numbers
    check_size(where["size"], max_bytes)
    try:
        stream, lock = _decompressing(member.path, _version(member, etag))
        with lock:
            stream.seek(where["at"] - _HEADER)
            data = stream.read(_HEADER + where["size"])
    except (EOFError, zlib.error, BadGzipFile):
        check_version(member.path, etag)
        raise _damaged(member) from None
    check_version(member.path, etag)
    return _checked(member, data)


def forget_streams() -> None:
    """Close the stream that is kept open."""
    _decompressing.cache_clear()


def _version(member: Member, etag: str | None) -> str:
    """Return the archive's etag: a member's begins with its own time and size."""
    return file_etag(member.path) if etag is None else etag.split("-", 2)[2]


@lru_cache(maxsize=1)
def _decompressing(path: str, etag: str) -> tuple[GzipFile, threading.Lock]:
    return GzipFile(fileobj=open_stream(path, etag)), threading.Lock()


def _checked(member: Member, data: bytes) -> bytes:
    """Cut the header off after a look at its checksum, which also covers name and size."""
    where = member.numbers
    digits = data[_CHECKSUM].strip(b" \0")
    if len(data) != _HEADER + where["size"] or digits.lstrip(b"0") != b"%o" % where["sum"]:
        raise _damaged(member)
    return data[_HEADER:]


def _damaged(member: Member) -> RejectedItem:
    message = f"{member} is not there: the archive is damaged, or has changed since it was listed"
    return RejectedItem(RejectReason.DAMAGED, utf8(message))
