"""What decoding one image may take of time and memory, watched from beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from raypipe.errors import RejectedItem, RejectReason
from raypipe.memory import readable

#: Seconds between two looks, and after which a process is ended that could not even be looked at:
#: a decoder that never gives up Python's lock.
_EVERY, _GRACE = 0.1, 2.0
_STATUS = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Clock:
    """Calls a function once an image takes longer, or more memory, than it may; from a thread.

    One image is watched at a time. The process is ended by a signal if the thread cannot run.

    Args:
        seconds: an image may take.
        most_bytes: a process may grow by meanwhile.
        over: called with whether it is memory that was exceeded, and the bytes it has grown by.
    """

    def __init__(self, seconds: float, most_bytes: int, over: Callable[[bool, int], None]) -> None:
        self.seconds, self.most_bytes, self.over = seconds, most_bytes, over
        self._deadline: float | None = None
        self._before: int | None = None
        threading.Thread(target=self._watch, name="decoding", daemon=True).start()

    def start(self, seconds: float | None = None) -> None:
        """Begin with an image."""
        left = self.seconds if seconds is None else seconds
        self._before = None
        self._deadline = time.monotonic() + left
        signal.setitimer(signal.ITIMER_REAL, left + _GRACE)

    def stop(self) -> float:
        """End with it; return the seconds that were left."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        left = (self._deadline or 0) - time.monotonic()
        self._deadline = None
        return left

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave time out that is spent waiting for others."""
        if self._deadline is None:
            yield
            return
        left = self.stop()
        yield
        self.start(left)

    def _watch(self) -> None:
        while True:
            time.sleep(_EVERY)
            deadline = self._deadline
            if deadline is None:
                continue
            now = _resident()
            if self._before is None:
                self._before = now
            grown = now - self._before
            if self._deadline == deadline and grown > self.most_bytes:
                self.over(True, grown)
            elif self._deadline == deadline and time.monotonic() > deadline:
                self.over(False, grown)


def too_large(most_bytes: int, grown: int = 0) -> RejectedItem:
    """Return the reject for an image that took more memory than it may, and how much if known."""
    message = f"decoding it took more than {readable(most_bytes)} of memory"
    return RejectedItem(
        RejectReason.TOO_LARGE, f"{message}: {readable(grown)}" if grown else message
    )


def too_slow(seconds: float) -> RejectedItem:
    """Return the reject for an image that took longer than it may."""
    return RejectedItem(RejectReason.TOO_SLOW, f"decoding it took more than {seconds:g} seconds")


def _resident() -> int:
    """Return the bytes of memory this process has; 0 where the system does not say."""
    try:
        return int(_STATUS.read_bytes().split()[1]) * _PAGE
    except OSError:
        return 0


#: The clock of this process, where it has one.
RUNNING: list[Clock] = []


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Stop the clock of this process, if there is one, for the length of a block."""
    with RUNNING[0].paused() if RUNNING else contextlib.nullcontext():
        yield
