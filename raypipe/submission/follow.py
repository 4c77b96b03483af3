"""A job's log as it comes, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import aiohttp

from raypipe.display import is_progress, printable, say
from raypipe.errors import RaypipeError
from raypipe.submission.client import Cluster

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

#: What asks a program to end.
_REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PAUSE = 1.0
_PATIENCE = 300.0
_TELL_SECONDS = 10.0
_CLEAR_LINE = "\r\x1b[2K"


class Log:
    """Shows a job's log on standard error: on a terminal, progress stays on one line.

    Attributes:
        result: the last line, if it is a JSON object: what a command says with `--json`.
    """

    def __init__(self) -> None:
        self.result: dict[str, Any] | None = None
        self._received = 0
        self._rest = self._held = ""
        self._on_terminal = sys.stderr.isatty()
        self._progress_shown = False

    def feed(self, text: str, start: int) -> None:
        """Show what is new in a piece of the log that begins after `start` characters."""
        new = text[max(0, self._received - start) :]
        self._received += len(new)
        *lines, self._rest = (self._rest + new).split("\n")
        for line in lines:
            self._take(line)

    def close(self) -> None:
        """Show a last line that does not end."""
        if self._rest:
            self._take(self._rest)
        if self._progress_shown:
            sys.stderr.write("\n")
        self._rest, self._progress_shown = "", False

    def _take(self, line: str) -> None:
        if self.result is not None:  # it was not the last
            self._show(self._held)
            self.result = None
        if line.startswith("{"):
            with contextlib.suppress(ValueError, RecursionError):
                self.result, self._held = dict(json.loads(line)), line
                return
        self._show(line)

    def _show(self, line: str) -> None:
        before = _CLEAR_LINE if self._progress_shown else ""
        self._progress_shown = self._on_terminal and is_progress(line)
        shown = printable(line, keep="\t")
        sys.stderr.write(f"{before}{shown}{'' if self._progress_shown else chr(10)}")
        sys.stderr.flush()


def follow(cluster: Cluster, submission_id: str, log: Log) -> JobDetails:
    """Show a job's log until its end; return what the cluster then knows of it.

    A cluster that stops answering is asked again for some minutes: a head may be starting anew.

    Raises:
        KeyboardInterrupt: someone wants to see no more of it.
        UsageError: there is no such job.
        RaypipeError: the cluster does not answer any more.
    """
    with _interrupts() as check, _waiting_told(cluster, submission_id):
        return _follow(cluster, submission_id, log, check)


@contextlib.contextmanager
def _waiting_told(cluster: Cluster, submission_id: str) -> Iterator[None]:
    """Say what a job waits for that has not begun, and has no log that does.

    In a thread, which nobody waits for: a cluster that does not answer must not hold up Ctrl-C.
    """
    from ray.job_submission import JobStatus

    ended, started = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(_TELL_SECONDS):
            with contextlib.suppress(OSError, RaypipeError):
                job = cluster.job(submission_id)
                if job.status != JobStatus.PENDING:
                    return
                waited = time.monotonic() - started
                reason = " ".join((job.message or "no reason is given").split())
                say(f"job {submission_id} has not begun, {waited:.0f} s so far: {reason}")

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], None]]:
    """Make sure that no interrupt is lost; yields what raises one that was.

    asyncio turns Ctrl-C into a cancellation, which a library may take for its own and swallow.
    With a handler of ours it does not, and what else may swallow the exception is found out.
    """
    seen: list[KeyboardInterrupt] = []

    def note(number: int, frame: FrameType | None) -> None:
        try:
            before[number](number, frame)
        except KeyboardInterrupt as interrupt:
            seen.append(interrupt)
            raise

    def check() -> None:
        if seen:
            raise seen[0]

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # only that is interrupted
        found = {number: signal.getsignal(number) for number in _REQUESTS}
        before = {number: handler for number, handler in found.items() if callable(handler)}
    for number in before:
        signal.signal(number, note)
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow(
    cluster: Cluster, submission_id: str, log: Log, check: Callable[[], None]
) -> JobDetails:
    answered, silent = time.monotonic(), False
    while True:
        try:
            asyncio.run(_tail(cluster, submission_id, log))
            check()
            job = cluster.job(submission_id)
            answered, silent = time.monotonic(), False
            if job.status.is_terminal():
                log.feed(cluster.client.get_job_logs(submission_id), 0)
                log.close()
                return job
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            if time.monotonic() - answered > _PATIENCE:
                raise RaypipeError(
                    f"the cluster at {cluster.address} has not answered for "
                    f"{_PATIENCE / 60:.0f} minutes ({error}); once it does, "
                    f"--attach {submission_id} goes on"
                ) from None
            if not silent:
                say("the cluster does not answer; trying again")
            silent = True
        time.sleep(_PAUSE)


async def _tail(cluster: Cluster, submission_id: str, log: Log) -> None:
    """Show the log from where it was left, for as long as the connection lasts."""
    start = 0
    async for text in cluster.client.tail_job_logs(submission_id):
        log.feed(text, start)
        start += len(text)
