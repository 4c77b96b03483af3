"""Signals that ask a command to end: an exception in its main thread, which none of it may lose.

Python raises it wherever that thread is. Within the import of a module, a lock of the import
system's can stay behind, for which other threads would wait for ever; or the module takes it for a
failure of its own. In a destructor, Python drops it.
"""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

#: What is said of a command that has not begun.
INTERRUPTED = "raypipe: interrupted\n"
#: What signals add to their number as a status, as shells have it.
_BY_SIGNAL = 128
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_IMPORTING = "<frozen importlib"
#: How often, and for how long, it is seen whether an import has ended: one may never.
_STEP_SECONDS, _MOST_SECONDS = 0.05, 10.0


class Stopped(KeyboardInterrupt):
    """A signal asks the program to end; treated as Ctrl-C is."""


class _Requests:
    """The signals that have asked this program to end, each until it has been raised.

    Attributes:
        first: the number of the first of them, if there was one.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._is_over = False
        self._steps = itertools.count()

    def answer(self, number: int, frame: FrameType | None) -> None:
        """Raise what ends the program, or do so later."""
        if self.first is None:
            self.first = number
        if _imports(frame) and next(self._steps) * _STEP_SECONDS < _MOST_SECONDS:
            self.later()
            return
        raise Stopped

    def later(self) -> None:
        """Have the first signal come again soon, unless the program ends by itself now."""
        if self._is_over:
            return
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(self.first or signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, _STEP_SECONDS)

    def end(self) -> None:
        """Have none come again: Python gives up its answers as it ends; the alarm would kill it."""
        self._is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)

    def lost(self, what: sys.UnraisableHookArgs) -> None:
        """Take note of an exception that Python drops."""
        if issubclass(what.exc_type, Stopped):
            self.later()
        else:
            sys.__unraisablehook__(what)


_requests = _Requests()


def end_at_once() -> None:
    """Have signals that ask a program to end do so at once: nothing has begun.

    An exception would be made another by some modules while they are imported, as by pydantic.
    """
    _answer_with(_end)


def listen() -> None:
    """Have signals that ask a program to end stop it as Ctrl-C does: finished work is kept."""
    _answer_with(_requests.answer)
    sys.unraisablehook = _requests.lost
    atexit.register(_requests.end)


def have_come() -> bool:
    """Whether a signal has asked the program to end."""
    return _requests.first is not None


def status() -> int:
    """Return the exit status of a program that was interrupted: by the first signal, or Ctrl-C.

    The exception does not tell: Ray raises one of its own.
    """
    return _BY_SIGNAL + (_requests.first or signal.SIGINT)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTING):
            return True
        frame = frame.f_back
    return False


def _answer_with(handler: Callable[[int, FrameType | None], None]) -> None:
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as of nohup
            signal.signal(number, handler)


def _end(number: int, _: FrameType | None) -> None:
    os.write(2, INTERRUPTED.encode())
    os._exit(_BY_SIGNAL + number)
