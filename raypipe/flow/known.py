"""What is known of a source while it is being listed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

import pyarrow as pa

from raypipe.flow.executor import MANY
from raypipe.flow.prepare import Extractor


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
