"""What a process keeps between calls, so that only the first of them takes its start.

It is of one network at a time, and goes with the program or `clear`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_ALL: list[Kept[Any]] = []


class Kept(Generic[T]):
    """Things that are as good as new ones, of the last key that was asked for."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._things: list[T] = []
        self._lock = threading.Lock()
        _ALL.append(self)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return one for many to use; it is made if there is none."""
        with self.one(key, make) as found:
            return found

    def known(self, key: Hashable) -> T | None:
        """Return one, if there is one."""
        with self._lock:
            return self._things[-1] if self._key == key and self._things else None

    @contextmanager
    def one(self, key: Hashable, make: Callable[[], T]) -> Iterator[T]:
        """Have one for the length of a block, alone; it is kept unless the block fails."""
        with self._lock:
            if self._key != key:
                self._key, self._things = key, []
            found = [self._things.pop()] if self._things else []
        thing = found[0] if found else make()
        yield thing
        with self._lock:
            if self._key == key:
                self._things.append(thing)

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._key, self._things = None, []


def clear() -> None:
    """Keep nothing of anything."""
    for kept in _ALL:
        kept.clear()
