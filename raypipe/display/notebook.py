"""A live bar for notebooks: a line of text that is replaced, which takes nothing but IPython."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from raypipe.display.counting import counted
from raypipe.display.pace import Rate, pace_text

_WIDTH = 30
_SECONDS = 0.2

T = TypeVar("T")


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None


def with_updates(stream: Iterable[T], total: int, count: Callable[[T], int]) -> Iterator[T]:
    """Pass a stream on under a line that is replaced; arguments as `track` has them."""
    rate, done, started = Rate(), 0, time.monotonic()
    line, last = _Line(_text(0, total, "starting")), started
    for result in stream:
        done += count(result)
        pace = pace_text(rate(done), total, done)
        if time.monotonic() - last >= _SECONDS and done < total:
            last = time.monotonic()
            line.replace(_text(done, total, pace))
        yield result
    line.replace(_text(done, total, f"in {time.monotonic() - started:.1f} s"))


def _text(done: int, total: int, pace: str) -> str:
    full = min(_WIDTH, _WIDTH * done // max(total, 1))
    return f"{'█' * full}{'░' * (_WIDTH - full)} {done}/{counted(total, 'image')}, {pace}"


class _Line:
    """A line of text in the cell's output."""

    def __init__(self, text: str) -> None:
        from IPython.display import display

        self._handle: Any = display({"text/plain": text}, raw=True, display_id=True)

    def replace(self, text: str) -> None:
        self._handle.update({"text/plain": text}, raw=True)
