"""Pace of something that goes on, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

_FEWEST_RESULTS = 4
#: Results of replicas that started together come within moments: no rate is to be taken from those.
_SHORTEST_SECONDS = 1.0

T = TypeVar("T")


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
        there are too few results to take one from, or all of them have come at once.
        """
        at_once = not self._times or self._times[-1] - self._times[0] < _SHORTEST_SECONDS
        return None if at_once else self.steady_from(0)

    def steady_from(self, first: int) -> float | None:
        """Return `steady` of what came after so many results."""
        times, done = self._times[first:], self._done[first:]
        if len(times) < _FEWEST_RESULTS or times[0] == times[-1]:
            return None
        import numpy as np  # takes a tenth of a second, which `--help` does without

        return float(np.polyfit(np.array(times) - times[0], done, 1)[0])


class Rate:
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
        at_once = now - started < _SHORTEST_SECONDS
        return None if at_once or done == before else (done - before) / (now - started)


def pace_text(rate: float | None, total: int, done: int) -> str:
    """Return how fast it goes, and how long it will take, in words."""
    if rate is None:
        return "measuring the rate"
    remaining = timedelta(seconds=round((total - done) / rate))
    return f"{rate:.1f} images/s, ETA {remaining}"
