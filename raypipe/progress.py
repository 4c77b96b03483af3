"""Progress people can read: a live bar on a terminal, a line now and then in a log.

Everything here goes to standard error: standard output belongs to results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

__all__ = ["say", "track"]

_LOG_SECONDS = 5.0

T = TypeVar("T")


def say(message: str) -> None:
    """Print one line for people."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def track(
    stream: Iterable[T], *, total: int, count: Callable[[T], int], what: str = "images"
) -> Iterator[T]:
    """Pass a stream on, showing how far it is.

    Args:
        stream: results as they arrive.
        total: how many images there will be.
        count: how many images one result stands for.
        what: the word for what is counted.
    """
    if sys.stderr.isatty():
        yield from _with_bar(stream, total, count, what)
    else:
        yield from _with_lines(stream, total, count, what)


class _Rate:
    """Images per second since the first result arrived, and what that makes of the rest.

    The first result carries the start-up with it, so the rate is taken from there on.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.first: tuple[float, int] | None = None

    def __call__(self, done: int) -> float:
        now = time.monotonic()
        if self.first is None or done <= self.first[1] or now <= self.first[0]:
            if done and self.first is None:
                self.first = (now, done)
            return done / max(now - self.started, 1e-9)
        return (done - self.first[1]) / (now - self.first[0])


def _eta(total: int, done: int, rate: float) -> str:
    if not done or rate <= 0:
        return "-:--:--"
    return str(timedelta(seconds=round((total - done) / rate)))


def _with_lines(
    stream: Iterable[T], total: int, count: Callable[[T], int], what: str
) -> Iterator[T]:
    rate, done, last = _Rate(), 0, time.monotonic()
    for result in stream:
        done += count(result)
        speed = rate(done)
        if time.monotonic() - last >= _LOG_SECONDS or done >= total:
            last = time.monotonic()
            share = 100 * done / max(total, 1)
            eta = _eta(total, done, speed)
            say(f"{done}/{total} {what} ({share:.0f} %), {speed:.1f} {what}/s, ETA {eta}")
        yield result


def _with_bar(stream: Iterable[T], total: int, count: Callable[[T], int], what: str) -> Iterator[T]:
    columns = (
        BarColumn(bar_width=None),
        TextColumn("{task.completed:.0f}/{task.total:.0f} " + what),
        _RateColumn(what),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task("", total=total)
        for result in stream:
            bar.update(task, advance=count(result))
            yield result


class _RateColumn(ProgressColumn):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.rate = _Rate()

    def render(self, task: Task) -> Text:
        done, total = int(task.completed), int(task.total or 0)
        speed = self.rate(done)
        return Text(f"{speed:.1f} {self.what}/s, ETA {_eta(total, done, speed)}")
