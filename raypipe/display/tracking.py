"""Showing how far a stream of results is."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from raypipe.display.counting import counted
from raypipe.display.notebook import is_notebook, with_updates
from raypipe.display.pace import Rate, pace_text
from raypipe.display.saying import say, says_json

_LOG_SECONDS = 5.0
_PROGRESS = re.compile(r"\d+/\d+ \w+ \(\d+ %\), ")

T = TypeVar("T")


def track(stream: Iterable[T], *, total: int, count: Callable[[T], int]) -> Iterator[T]:
    """Pass a stream on, showing how far it is.

    Args:
        stream: results as they arrive.
        total: how many images there will be.
        count: how many images one result stands for.
    """
    if sys.stderr.isatty() and not says_json():
        from raypipe.display.bar import with_bar  # takes a tenth of a second

        yield from with_bar(stream, total, count)
    elif is_notebook() and not says_json():
        yield from with_updates(stream, total, count)
    else:
        yield from _with_lines(stream, total, count)


def _with_lines(stream: Iterable[T], total: int, count: Callable[[T], int]) -> Iterator[T]:
    rate, done, started = Rate(), 0, time.monotonic()
    last = started
    for result in stream:
        done += count(result)
        pace = pace_text(rate(done), total, done)
        if done >= total:
            pace = f"in {time.monotonic() - started:.1f} s"
        if time.monotonic() - last >= _LOG_SECONDS or done >= total:
            last = time.monotonic()
            share = 100 * done / max(total, 1)
            say(f"{done}/{counted(total, 'image')} ({share:.0f} %), {pace}", done=done, total=total)
        yield result


def is_progress(line: str) -> bool:
    """Whether a line of a log says how far something is, so that the next one replaces it."""
    return bool(_PROGRESS.match(line))
