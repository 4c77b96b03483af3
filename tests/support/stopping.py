"""Commands that are stopped by a signal at some moment, and what they leave behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
import uuid
from dataclasses import dataclass
from functools import partial

import psutil

from tests.support.signals import usual_signals

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
#: What all processes of a command have in their environment, whoever their parent is by now.
_MARK = "RAYPIPE_TESTS_COMMAND"
_LEAVE_SECONDS = 10.0


@dataclass(frozen=True)
class Ended:
    """How a command has ended.

    Attributes:
        status: as a shell has it.
        said: on standard error.
        in_time: whether it was still running when it was to be stopped.
        left: command lines of the processes that were there after ten seconds.
    """

    status: int
    said: str
    in_time: bool
    left: list[str]


class Command:
    """`raypipe …`, run in a session of its own, as at a terminal.

    Args:
        words: of the command.
        terminal: the end of one that the command has, as its own and for all it says.
        program: Python that runs it, in the place of the usual.
    """

    def __init__(self, *words: str, terminal: int | None = None, program: str = "") -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, *(["-c", program] if program else ["-m", "raypipe.cli"]), *words],
            env=os.environ | {_MARK: self.mark},
            stdin=terminal,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if terminal is None else terminal,
            text=True,
            start_new_session=True,
            preexec_fn=usual_signals if terminal is None else partial(_at_terminal, terminal),
        )

    def stop(self, number: int, after: float, *, all_of_it: bool = True) -> Ended:
        """Send a signal after some seconds: to all processes, as a terminal does, or to the first.

        A process that has become the leader of another group is not sent what a terminal sends.
        """
        try:
            self.process.wait(after)
        except subprocess.TimeoutExpired:
            (os.killpg if all_of_it else os.kill)(self.process.pid, number)
            return self.end(in_time=True)
        return self.end(in_time=False)

    def end(self, *, in_time: bool = True) -> Ended:
        """Wait until it has ended, and for what it has started."""
        said = self.process.communicate(timeout=180)[1] or ""
        status = self.process.returncode
        until = time.monotonic() + _LEAVE_SECONDS
        while (left := self.family()) and time.monotonic() < until:
            time.sleep(0.1)
        lines = [" ".join(_words(one)) for one in left]
        for one in left:
            one.kill()
        return Ended(status if status >= 0 else 128 - status, said, in_time, lines)

    def family(self) -> list[psutil.Process]:
        """Return all of its processes that there are."""
        return [one for one in psutil.process_iter() if self._is_of_it(one)]

    def _is_of_it(self, process: psutil.Process) -> bool:
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            return alive and process.environ().get(_MARK) == self.mark
        except psutil.Error:
            return False


def _at_terminal(terminal: int) -> None:
    """Make a terminal the session's own, which is told of its end."""
    usual_signals()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return ["gone"]
