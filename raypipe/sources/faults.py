"""Faults of reading, told apart: those that last, and those that pass."""

from __future__ import annotations

import errno
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from raypipe.errors import RejectedItem, RejectReason
from raypipe.schema import MISSING
from raypipe.storage import ChangedError

T = TypeVar("T")

#: Faults that will be there the next time. Any other may pass, as EIO, ESTALE, EMFILE, ETIMEDOUT
#: and what else a drive, a network or a busy machine comes up with: what is not known is tried
#: again.
LASTING = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EACCES,
        errno.EPERM,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EINVAL,
        errno.EFBIG,
        errno.EOVERFLOW,
        errno.EILSEQ,
    }
)
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})

#: Seconds that are waited before a read is tried again.
WAITS = (0.1, 0.4, 1.6)
# After so many failures in a row, items are tried once each instead of waiting for the drive.
_PATIENCE = 8
# HDF5 says it in its text only.
_NUMBER = re.compile(r"errno\W+(\d+)", re.IGNORECASE)

_failures = 0
_failures_lock = threading.Lock()


def is_version(listed: str | None, found: str) -> bool:
    """Whether an item's etag, as listed, is of a file of the etag `found`; None is of any.

    The etag of an item in a container is the container's, or ends in it.
    """
    return listed is None or listed == found or listed.endswith(f"-{found}")


def rejected(shown: str, error: OSError, etag: str | None = None) -> RejectedItem:
    """Return the reject for an item whose file cannot be read.

    Args:
        shown: names the file.
        error: what was raised. Without a number, a library has found that bytes make no sense.
        etag: as listed; None where it is not known.
    """
    if isinstance(error, ChangedError):
        return changed(shown)
    number = _number(error)
    if number in _GONE and etag not in (None, MISSING):
        return RejectedItem(RejectReason.CHANGED, f"not there any more: {shown}")
    why = error.strerror or str(error) or type(error).__name__
    if number is None:
        return RejectedItem(RejectReason.CORRUPT, f"{why}: {shown}")
    lasts = number in LASTING
    return RejectedItem(
        RejectReason.UNREADABLE if lasts else RejectReason.UNAVAILABLE, f"{why}: {shown}"
    )


def changed(shown: str) -> RejectedItem:
    """Return the reject for an item that is not what was listed."""
    return RejectedItem(RejectReason.CHANGED, f"has changed since it was listed: {shown}")


def patiently(read: Callable[[], T], forget: Callable[[], None]) -> T:
    """Return what reading from a drive gives, which is tried again where the fault may pass.

    Args:
        read: raises RejectedItem, UNAVAILABLE where the fault may pass.
        forget: closes files, which may be stale, before the next try.
    """
    global _failures
    for wait in (*(WAITS if _failures < _PATIENCE else ()), None):
        try:
            found = read()
        except RejectedItem as reject:
            if reject.reason is not RejectReason.UNAVAILABLE:
                raise
            if wait is None:
                with _failures_lock:
                    _failures += 1
                raise
            time.sleep(wait)
            forget()
        else:
            _failures = 0
            return found
    raise AssertionError("the last try returns or raises")


def _number(error: OSError) -> int | None:
    if error.errno is not None:
        return error.errno
    if isinstance(error, FileNotFoundError):  # of a bucket
        return errno.ENOENT
    found = _NUMBER.search(str(error))
    return int(found[1]) if found else None
