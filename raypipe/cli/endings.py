"""How a command ends that could not do its work: in one line, and with a status that says why.

Wrong use and what raypipe itself finds out have messages of their own. This is the one place for
everything else that a disk, a network or a file can do; `signals` is that of signals.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, TextIO

from raypipe.memory import is_out_of_memory

_REMEDIES = {
    errno.ENOSPC: "free some space, or give another place",
    errno.EDQUOT: "free some space, or give another place",
    errno.EROFS: "give another place",
    errno.EACCES: "give another place, or have the permission changed",
    errno.EPERM: "give another place, or have the permission changed",
    errno.EMFILE: "allow more open files: ulimit -n 65536",
    errno.ENFILE: "close other programs, or allow more open files",
    errno.ENOMEM: "close other programs, or give a smaller --size, --batch-size or --actors",
    errno.EIO: "see whether the drive is damaged",
    errno.ESTALE: "see whether the network drive is still there",
    errno.ENOTCONN: "see whether the network drive is still there",
    errno.ETIMEDOUT: "see whether the network drive is still there",
}


def explain(error: BaseException) -> str:
    """Return what happened, in one line.

    Args:
        error: what no part of raypipe has taken for a user's mistake.
    """
    error = _cause(error)
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, Exception) and is_out_of_memory(error):
        return f"memory does not suffice{f' ({said})' if said else ''}; {_REMEDIES[errno.ENOMEM]}"
    if isinstance(error, OSError) and error.errno:
        place = f" {error.filename!r}" if error.filename is not None else ""
        remedy = _REMEDIES.get(error.errno)
        what = f"{_verb(error)}{place}: {error.strerror or os.strerror(error.errno)}"
        return f"{what}; {remedy}" if remedy else what
    kind = type(error).__name__
    if _is_about_a_file(error):
        return f"a file cannot be read: {said or kind}; `--debug` shows where"
    if type(error).__module__.startswith("ray."):
        return f"Ray: {said or kind}; `--debug` shows more"
    return f"unexpected {kind}{f': {said}' if said else ''}; `--debug` shows where"


def quiet(stream: TextIO) -> None:
    """Give up an output whose reader has gone, or disk is full: Python's last flush would fail."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError):  # it is no file
        return


def flush_outputs() -> OSError | None:
    """Write what is held back; return why the result could not be, and give up what cannot be."""
    failed = None
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except OSError as error:
            quiet(stream)
            if stream is sys.stdout and not isinstance(error, BrokenPipeError):
                error.filename = "<stdout>"
                failed = error
    return failed


def _verb(error: OSError) -> str:
    return "connection" if isinstance(error, ConnectionError) else "cannot use"


def _cause(error: BaseException) -> BaseException:
    """Return what an actor's or task's error, or one that carries another, comes from."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner: Any = getattr(error, "cause", None)
        if not isinstance(inner, BaseException) and type(error).__module__.startswith("ray."):
            inner = error.__cause__
        if not isinstance(inner, BaseException):
            return error
        error = inner
    return error


def _is_about_a_file(error: BaseException) -> bool:
    """Whether an error is that of a library which has read a damaged file."""
    names = {f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    known = {"pyarrow.ArrowException", "zipfile.BadZipFile", "json.JSONDecodeError"}
    return bool(names & known) or isinstance(error, UnicodeDecodeError | EOFError)
