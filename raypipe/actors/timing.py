"""Measures the steps of an extraction in one process: seconds per image, step by step."""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

from raypipe.diagnosis.findings import Reading
from raypipe.errors import RejectedItem
from raypipe.memory import is_out_of_memory
from raypipe.sources.ahead import read_items

__all__ = [
    "Lap",
    "Stopwatch",
    "alternate",
    "laps",
    "median",
    "most_memory",
    "pace",
    "sweep",
    "time_reading",
]

T = TypeVar("T")
K = TypeVar("K")

_ROUNDS = 3


@dataclass(frozen=True)
class Lap:
    """One unit's work: how many images, and the seconds of each step."""

    images: int
    seconds: dict[str, float]


class Stopwatch:
    """Adds up the seconds of named steps."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Time a block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[step] += time.perf_counter() - started

    def timing(self, step: str, function: Callable[..., T]) -> Callable[..., T]:
        """Return the function, timed."""

        @wraps(function, assigned=())
        def timed(*arguments: Any, **options: Any) -> T:
            with self(step):
                return function(*arguments, **options)

        return timed

    def add(self, step: str, seconds: float) -> None:
        """Count seconds for a step."""
        self._seconds[step] += seconds

    def so_far(self, *steps: str) -> float:
        """Return the seconds of some steps."""
        return sum(self._seconds.get(step, 0.0) for step in steps)

    def take(self) -> dict[str, float]:
        """Return the seconds so far, and start from zero."""
        seconds = dict(self._seconds)
        self._seconds.clear()
        return seconds


def laps(
    unit: Callable[[int], int], watch: Stopwatch, *, seconds: float, least: int = 2
) -> list[Lap]:
    """Work on one unit after the other until the time is over.

    Args:
        unit: works on the unit of that number, from 0 on, and times its steps; returns how many
            images it has.
        watch: what the steps are timed with.
        seconds: for how long.
        least: units at least.
    """
    watch.take()
    end, done = time.perf_counter() + seconds, list[Lap]()
    while len(done) < least or time.perf_counter() < end:
        images = unit(len(done))
        done.append(Lap(images, watch.take()))
    return done


def median(done: Iterable[Lap], step: str) -> float:
    """Return the median of a step's seconds per image; 0 for a step that nobody did."""
    return statistics.median(lap.seconds.get(step, 0.0) / lap.images for lap in done)


def pace(forward: Callable[[], object], seconds: float) -> float:
    """Return the median seconds of a call, made as often as time allows, and at least once."""
    taken, end = [], time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        forward()
        now = time.perf_counter()
        taken.append(now - started)
        if now + taken[-1] > end:
            return statistics.median(taken)


def alternate(contestants: Mapping[K, Callable[[], object]], seconds: float) -> dict[K, float]:
    """Return the median seconds of several calls.

    They are gone through several times: a machine that is slower for a while is so for all of them.
    """
    taken = {name: list[float]() for name in contestants}
    slot = seconds / (_ROUNDS * max(1, len(taken)))
    for _ in range(_ROUNDS):
        for name, found in taken.items():
            found.append(pace(contestants[name], slot))
    return {name: statistics.median(found) for name, found in taken.items()}


def sweep(
    forward: Callable[[int], object],
    sizes: Iterable[int],
    *,
    seconds: float,
    memory: float,
) -> dict[int, float]:
    """Return images per second by batch size, as far as time and memory reach.

    Args:
        forward: does a forward pass of a size.
        sizes: in growing order.
        seconds: for all of them.
        memory: bytes that this process may take.
    """
    end = time.perf_counter() + seconds
    reached = list(_reachable(forward, sizes, end, memory))
    passes = {size: partial(forward, size) for size in reached}
    taken = alternate(passes, end - time.perf_counter())
    return {size: size / one for size, one in taken.items()}


def _reachable(
    forward: Callable[[int], object], sizes: Iterable[int], end: float, memory: float
) -> Iterator[int]:
    """Yield the sizes that there are time and memory for, each after a first pass."""
    for size in sizes:
        before, started = most_memory(), time.perf_counter()
        try:
            forward(size)  # which also sets up what is done once per size
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                return
            raise
        yield size
        now, peak = time.perf_counter(), most_memory()
        # The next size takes about twice as long and as much, and is gone through several times.
        if now + 2 * (_ROUNDS + 1) * (now - started) > end or 3 * peak - 2 * before > memory:
            return


def time_reading(uris: list[str], max_pixels: int) -> Reading:
    """Read some items three times: as they are found, cached, and from the storage."""
    found, size = _read(uris, max_pixels)
    cached, _ = _read(uris, max_pixels)
    cold = _read(uris, max_pixels)[0] if _forget(uris) else None
    return Reading(len(uris), size, found, cached, cold)


def most_memory() -> int:
    """Return the most bytes of memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _read(uris: list[str], max_pixels: int) -> tuple[float, int]:
    """Return seconds per item, and the bytes of all."""
    started, size = time.perf_counter(), 0
    for data in read_items(uris, max_pixels):
        size += 0 if isinstance(data, RejectedItem) else len(data)
    return (time.perf_counter() - started) / len(uris), size


def _forget(uris: list[str]) -> bool:
    """Take plain files out of the system's cache; return whether that can be done."""
    if not hasattr(os, "posix_fadvise") or not all(uri.startswith("/") for uri in uris):
        return False
    for uri in uris:
        with contextlib.suppress(OSError), Path(uri).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True
