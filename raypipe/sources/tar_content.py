"""Content of the members of tar shards."""

from __future__ import annotations

import tarfile
import threading
import zlib
from functools import lru_cache
from gzip import GzipFile

from raypipe.errors import RejectedItem, RejectReason
from raypipe.sources.files import file_etag, open_file, open_stream
from raypipe.sources.local import check_size, unreadable, utf8
from raypipe.sources.members import Member

_HEADER = tarfile.BLOCKSIZE
_CHECKSUM = slice(148, 156)


def read_tar(member: Member, max_bytes: int) -> bytes:
    """Return a member's bytes.

    Raises:
        RejectedItem: they are not there any more, or too many.
    """
    where = member.numbers
    check_size(where["size"], max_bytes)
    file = open_file(member.path)
    try:
        data = file.read(_HEADER + where["size"], where["at"] - _HEADER)
    except OSError as error:
        raise unreadable(member.path, error) from None
    return _checked(member, data)


def read_tar_gz(member: Member, max_bytes: int) -> bytes:
    """Return a member's bytes, going on from where the last one ended if that is before it.

    Raises:
        RejectedItem: they are not there any more, or too many.
    """
    where = member.numbers
    check_size(where["size"], max_bytes)
    try:
        stream, lock = _decompressing(member.path, file_etag(member.path))
        with lock:
            stream.seek(where["at"] - _HEADER)
            data = stream.read(_HEADER + where["size"])
    except OSError as error:
        raise unreadable(member.path, error) from None
    except (EOFError, zlib.error):
        raise _changed(member) from None
    return _checked(member, data)


@lru_cache(maxsize=1)
def _decompressing(path: str, _etag: str) -> tuple[GzipFile, threading.Lock]:
    return GzipFile(fileobj=open_stream(path)), threading.Lock()


def _checked(member: Member, data: bytes) -> bytes:
    """Cut the header off after a look at its checksum, which also covers name and size."""
    where = member.numbers
    digits = data[_CHECKSUM].strip(b" \0")
    if len(data) != _HEADER + where["size"] or digits.lstrip(b"0") != b"%o" % where["sum"]:
        raise _changed(member)
    return data[_HEADER:]


def _changed(member: Member) -> RejectedItem:
    message = f"{member} is not there any more: the archive has changed since it was listed"
    return RejectedItem(RejectReason.UNREADABLE, utf8(message))
