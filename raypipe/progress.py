"""Progress people can read: a live bar on a terminal, a line now and then in a log.

Everything here goes to standard error: standard output belongs to results.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

__all__ = ["Pace", "is_progress", "say", "say_as_json", "says_json", "track"]

_LOG_SECONDS = 5.0
_PROGRESS = re.compile(r"\d+/\d+ \w+ \(\d+ %\), ")
_FEWEST_RESULTS = 4

T = TypeVar("T")


#: What each line has beside its message, if lines are JSON objects; None if they are plain text.
_fields: dict[str, Any] | None = None


def say(message: str, **fields: Any) -> None:
    """Print one line for people; or one for programs, with some further fields."""
    line = message
    if _fields is not None:
        about = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "message": message}
        line = json.dumps(about | _fields | fields, ensure_ascii=False)
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def say_as_json(**fields: Any) -> None:
    """From now on, print each line as a JSON object, with these fields."""
    global _fields
    _fields = (_fields or {}) | fields


def says_json() -> bool:
    """Whether lines are JSON objects."""
    return _fields is not None


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
    if sys.stderr.isatty() and not says_json():
        yield from _with_bar(stream, total, count, what)
    else:
        yield from _with_lines(stream, total, count, what)


class Pace:
    """When results arrived: how long the first one took, and how fast the others came.

    Args:
        count: how many images one result stands for.
    """

    def __init__(self, count: Callable[[Any], int]) -> None:
        self.count = count
        self.first_at: float | None = None
        self._times: list[float] = []
        self._done: list[int] = []

    def watch(self, stream: Iterable[T]) -> Iterator[T]:
        """Pass a stream on; times are those of `time.monotonic`."""
        for result in stream:
            now = time.monotonic()
            self.first_at = self.first_at or now
            self._times.append(now)
            self._done.append(self.count(result) + sum(self._done[-1:]))
            yield result

    @property
    def steady(self) -> float | None:
        """Images per second without start-up: the slope of what was done over time.

        A least-squares line, since replicas that started together finish together. None as long as
        there are too few results to take one from.
        """
        if len(self._times) < _FEWEST_RESULTS or self._times[0] == self._times[-1]:
            return None
        return float(np.polyfit(np.array(self._times) - self._times[0], self._done, 1)[0])


class _Rate:
    """Images per second since the first result, which carries the start-up with it."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None

    def __call__(self, done: int) -> float | None:
        """Return the rate, or None as long as there is nothing to take it from."""
        now = time.monotonic()
        if self.first is None:
            self.first = (now, done) if done else None
            return None
        started, before = self.first
        return (done - before) / (now - started) if done > before and now > started else None


def _pace(rate: float | None, total: int, done: int, what: str) -> str:
    if rate is None:
        return "measuring the rate"
    remaining = timedelta(seconds=round((total - done) / rate))
    return f"{rate:.1f} {what}/s, ETA {remaining}"


def _with_lines(
    stream: Iterable[T], total: int, count: Callable[[T], int], what: str
) -> Iterator[T]:
    rate, done, last = _Rate(), 0, time.monotonic()
    for result in stream:
        done += count(result)
        pace = _pace(rate(done), total, done, what)
        if time.monotonic() - last >= _LOG_SECONDS or done >= total:
            last = time.monotonic()
            share = 100 * done / max(total, 1)
            say(f"{done}/{total} {what} ({share:.0f} %), {pace}", done=done, total=total)
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


def is_progress(line: str) -> bool:
    """Whether a line of a log says how far something is, so that the next one replaces it."""
    return bool(_PROGRESS.match(line))


class _RateColumn(ProgressColumn):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.rate = _Rate()
        self.shown, self.pace = 0, "starting"

    def render(self, task: Task) -> Text:
        done, total = int(task.completed), int(task.total or 0)
        if done != self.shown:  # drawn many times per result: the rate changes with results
            self.shown, self.pace = done, _pace(self.rate(done), total, done, self.what)
        return Text(self.pace)
