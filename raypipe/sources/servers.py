"""Servers: how they are named where people read it, and which of them give no answers now."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from raypipe.errors import RejectedItem, RejectReason

T = TypeVar("T")

# After so many failures of a server in a row, items are tried once each instead of waiting for it.
_PATIENCE = 8

_failures: Counter[str] = Counter()
_lock = threading.Lock()
# What could not be had, by file: until when nobody asks again, and why.
_paused: dict[str, tuple[float, str]] = {}


def public(uri: str) -> str:
    """Return a URI that can be shown: without credentials and values of its query."""
    scheme, host, path, query = _parts(uri)
    names = [pair.partition("=")[0] for pair in query.split("&") if pair]
    shown = f"{scheme}://{host}{path}"
    return shown + "?" + "&".join(f"{name}=…" for name in names) if names else shown


def server(uri: str) -> str:
    """Return which server a URI is on, without credentials; the same for all paths."""
    scheme, host, _, _ = _parts(uri)
    return f"{scheme}://{host}"


def is_failing(uri: str) -> bool:
    """Whether the server of a URI has given no answer many times in a row."""
    return _failures[server(uri)] >= _PATIENCE


@contextmanager
def counted(uri: str) -> Iterator[None]:
    """Count whether what the body reads from the server of a URI was no answer."""
    host = server(uri)
    try:
        yield
    except RejectedItem as reject:
        with _lock:
            _failures[host] = _failures[host] + 1 if is_down(reject) else 0
        raise
    _failures.pop(host, None)


def after_a_pause(uri: str, read: Callable[[], T]) -> T:
    """Return what `read` gives of a file whose items are read one after the other.

    When no answer came for some time, nobody asks again for as long: else each of its items would
    be waited for, and none of them beside another.

    Raises:
        RejectedItem: by `read`, or in its place.
    """
    until, why = _paused.get(uri, (0.0, ""))
    began = time.monotonic()
    if began < until:
        raise RejectedItem(RejectReason.UNAVAILABLE, why)
    try:
        return read()
    except RejectedItem as reject:
        if is_down(reject):
            now = time.monotonic()
            _paused.clear()
            _paused[uri] = 2 * now - began, reject.message
        raise


def forget_failures() -> None:
    """Take all servers for ones that answer."""
    _failures.clear()
    _paused.clear()


def is_down(reject: RejectedItem) -> bool:
    """Whether a reject says that no answer came."""
    return reject.reason is RejectReason.UNAVAILABLE


def _parts(uri: str) -> tuple[str, str, str, str]:
    """Return scheme, host, path and query of a URI, however it is written."""
    scheme, _, rest = uri.partition("://")
    place, _, query = rest.partition("#")[0].partition("?")
    host, slash, path = place.partition("/")
    if "@" not in host and ":" in host and scheme in ("s3", "gs"):
        # No port, but a secret that holds a slash.
        host, slash, path = place.rpartition("@")[2].partition("/")
    return scheme, host.rpartition("@")[2], slash + path, query
