"""A live progress bar for terminals."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TypeVar, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from raypipe.display.pace import Rate, pace_text

T = TypeVar("T")


def with_bar(stream: Iterable[T], total: int, count: Callable[[T], int]) -> Iterator[T]:
    """Pass a stream on under a bar; arguments as `progress.track` has them."""
    columns = (
        BarColumn(bar_width=None),
        TextColumn("{task.completed:.0f}/{task.total:.0f} images"),
        RateColumn(),
        TimeElapsedColumn(),
    )
    console = Console(file=cast(IO[str], _Lenient(sys.stderr)))
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task("", total=total)
        for result in stream:
            bar.update(task, advance=count(result))
            yield result


class _Lenient:
    """A stream to a terminal that may be closed: work goes on, or ends as it is asked to."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class RateColumn(ProgressColumn):
    """The pace, and the time that is left."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = Rate()
        self.shown, self.pace = 0, "starting"

    def render(self, task: Task) -> Text:
        """Return the pace since the last result."""
        done, total = int(task.completed), int(task.total or 0)
        if done != self.shown:  # drawn many times per result: the rate changes with results
            self.shown, self.pace = done, pace_text(self.rate(done), total, done)
        return Text(self.pace)
