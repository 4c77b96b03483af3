"""What goes on beside the start of a run, and what is known of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

import pyarrow as pa

from raypipe.flow.executor import MANY
from raypipe.flow.prepare import Extractor

T = TypeVar("T")


class Known:
    """What is known of a source while it is being listed, by another thread.

    Attributes:
        given_up: whether listing is to end.
    """

    def __init__(self) -> None:
        self.given_up = False
        self._images, self._enough = 0, threading.Event()

    def counted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches on, and count."""
        for batch in batches:
            self._images += len(batch)
            if self._images > MANY:
                self._enough.set()
            yield batch

    def listed(self, _: object) -> None:
        """Take note that listing has ended."""
        self._enough.set()

    def loaded(self, loading: Future[Extractor]) -> None:
        """Take note that the network has been loaded; without it, nobody waits for the listing."""
        if loading.exception():
            self._enough.set()

    def images(self) -> int:
        """Wait until all are listed, or more than `MANY`; return how many."""
        self._enough.wait()
        return self._images


def beside(call: Callable[[], T]) -> Future[T]:
    """Begin something in a thread that the program's end does not wait for.

    A pool's threads would be waited for, and one can wait for ever: an interrupt of Ray's start
    can leave the lock of logging behind, locked.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done
