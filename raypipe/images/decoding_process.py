"""Decoding in a process apart, for one that an image must not end; no Ray, no torch.

A replica decodes by itself, and Ray starts it again if it dies. Whoever has nobody to do that, as a
job's own process, hands images to a process that imports what decodes images and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.images.clock import RUNNING, Clock, too_large, too_slow
from raypipe.images.need import BUDGET

T = TypeVar("T")

#: How the process says that an image is to blame for its end.
_TOO_LARGE, _TOO_SLOW = 65, 66
_START = "import sys; sys.path[:] = {path!r}; from {module} import _serve; _serve({end}, {seconds})"


class DecodingProcess:
    """Calls functions in a process of its own, which may die of it.

    The process starts with the first call, or ahead of it with `begin`, and again after it died. It
    ends with `close`, or with the one that has started it. Not for several threads at once.

    Args:
        seconds: a call may take; what it may take of memory is `need.BUDGET`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._there: tuple[subprocess.Popen[bytes], Connection] | None = None

    def __enter__(self) -> DecodingProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> None:
        """Start the process, if there is none, without waiting for it: that takes half a second."""
        self._there = self._there or self._started()

    def __call__(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function of a module with arguments that can be pickled.

        Raises:
            RejectedItem: the function does, or the process died of it.
            RaypipeError: the process does not start.
        """
        process, connection = self._there = self._there or self._started()
        begun = False
        try:
            begun = connection.recv()
            connection.send((function, arguments))
            failed, found = connection.recv()
        except (EOFError, ConnectionError):
            code = process.wait()
            self.close()
            if not begun:
                message = f"a process that decodes images cannot start here: status {code}"
                raise RaypipeError(message) from None
            raise self._told(code) from None
        if failed:
            raise found
        return found  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        there, self._there = self._there, None
        if there is not None:
            process, connection = there
            process.kill()
            process.wait()
            connection.close()

    def _started(self) -> tuple[subprocess.Popen[bytes], Connection]:
        own, end = Pipe()
        text = _START.format(
            path=sys.path, module=__name__, end=end.fileno(), seconds=float(self.seconds)
        )
        with end:  # a group of its own: a Ctrl-C is for whoever waits for it
            process = subprocess.Popen(
                [sys.executable, "-c", text],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
                pass_fds=[end.fileno()],
                start_new_session=True,
            )
        return process, own

    def _told(self, code: int) -> RejectedItem:
        """Return what the process has died of."""
        if code == _TOO_LARGE:
            return too_large(BUDGET)
        if code in (_TOO_SLOW, -signal.SIGALRM):
            return too_slow(self.seconds)
        name = signal.Signals(-code).name if code < 0 else f"status {code}"
        return RejectedItem(RejectReason.CRASHED, f"decoding it ended its process ({name})")


def _has_file(stream: Any) -> bool:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return bool(stream.fileno() >= 0)
    return False


def _serve(end: int, seconds: float) -> None:
    """Answer calls until the other end is closed."""
    connection = Connection(end)
    clock = Clock(seconds, BUDGET, _over)
    RUNNING[:] = [clock]
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            connection.send(True)
            function, arguments = connection.recv()
            connection.send(_outcome(clock, function, arguments))


def _outcome(clock: Clock, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    clock.start()
    try:
        return False, function(*arguments)
    except Exception as error:  # whatever it is, it goes to whoever has called
        return True, error
    finally:
        clock.stop()


def _over(is_memory: bool, _grown: int) -> None:
    os._exit(_TOO_LARGE if is_memory else _TOO_SLOW)
