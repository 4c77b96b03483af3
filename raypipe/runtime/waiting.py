"""Telling what is waited for, where it may take long: a cluster may be busy with others' work."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import ray

from raypipe.display import say
from raypipe.runtime.keeping import KEEPING

_TELL_SECONDS = 10.0


@contextlib.contextmanager
def waiting_told(what: str) -> Iterator[threading.Event]:
    """Say every ten seconds what is waited for, and what the cluster has free.

    Args:
        what: is waited for.

    Yields:
        What ends it before the block does, once it is set.
    """
    ended, started = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(_TELL_SECONDS):
            free = _free()
            if not ended.is_set():
                say(f"waiting for {what}, {time.monotonic() - started:.0f} s so far{free}")

    threading.Thread(target=tell, name="waiting", daemon=True).start()
    try:
        yield ended
    finally:
        ended.set()


def _free() -> str:
    """Return how many cores and GPUs are free, in words; nothing if Ray does not answer."""
    try:
        there, free = ray.cluster_resources(), ray.available_resources()
    except Exception:  # Ray may be gone: whoever waits is told of that
        return ""
    names = {"CPU": "cores", "GPU": "GPUs"}
    found = [
        f"{free.get(kind, 0):g} of {there[kind]:g} {name}"
        for kind, name in names.items()
        if there.get(kind)
    ]
    place = "this machine" if KEEPING.here else "the cluster"
    return f": {' and '.join(found)} of {place} are free" if found else ""
