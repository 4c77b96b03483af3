"""The part of the flow that cores do: read, decode, write."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
from ray.data.block import BlockAccessor

from raypipe import schema
from raypipe.actors.timing import Lap, Stopwatch, laps, time_reading
from raypipe.diagnosis.findings import Reading
from raypipe.diagnosis.machine import look
from raypipe.reading import ITEMS, UNIT, Batch
from raypipe.rehearsal.flow import Check, Flow, Place
from raypipe.rehearsal.sample import unit_of, write_pictures
from raypipe.steps import IMAGE, read_and_decode, write_partition

__all__ = ["Core"]


class Core:
    """A core that reads, decodes and writes.

    Args:
        flow: the steps.
        number: of this process.
        items: what it reads, of `schema.ITEMS`, or pictures that it is to write and read.
    """

    def __init__(self, flow: Flow, number: int, items: pa.Table | list[bytes]) -> None:
        self.flow, self.number, self.watch = flow, number, Stopwatch()
        self.root = Path(flow.folder) / f"{number}"
        self.items = write_pictures(items, self.root / "in") if isinstance(items, list) else items
        start = partial(read_and_decode, **vars(flow.reading))
        write = partial(
            write_partition,
            root=str(self.root / "out"),
            spec=flow.spec,
            form=flow.form,
            predictor=None,
        )
        self.start = self.watch.timing("decode", start)
        self.finish = self.watch.timing("write", write)
        self.checked: Batch = {}
        self.features: Batch = {}

    def place(self) -> Place:
        """Return where this is."""
        return Place(ray.get_runtime_context().get_node_id(), look())

    def read(self) -> Reading:
        """Read the items; to be called first, so that they are as they were found."""
        return time_reading(self.items[schema.URI].to_pylist(), self.flow.max_pixels)

    def check(self) -> Check:
        """Decode each item once."""
        count, row = len(self.items), self.row(len(self.items), "check")
        self.watch.take()
        started = time.thread_time()
        self.checked = self.start(row)
        busy, seconds = time.thread_time() - started, self.watch.take()["decode"]
        reasons, messages = self.checked[schema.REASON], self.checked[schema.MESSAGE]
        bad = np.flatnonzero(reasons != "")
        message = f"{reasons[bad[0]]}: {messages[bad[0]]}" if len(bad) else ""
        return Check(count, len(bad), message, seconds / count, busy / count)

    def hand_over(self, length: int) -> list[ray.ObjectRef]:
        """Decode a unit for a GPU; return its reference."""
        return [self._put(self.start(self.row(length, "first")))]

    def learn(self, features: Batch) -> None:
        """Take some rows' features, to be written with what is decoded here."""
        self.features = features

    def laps(self, length: int, seconds: float) -> list[Lap]:
        """Decode units of a length, hand their pixels over and write features for them."""
        return laps(partial(self._lap, length), self.watch, seconds=seconds)

    def row(self, length: int, name: object) -> Batch:
        """Return the row of a unit, as the flow begins with."""
        unit = unit_of(self.items, length, f"{self.number}-{time.monotonic_ns()}-{name}")
        return {
            UNIT: np.array([unit.id], object),
            ITEMS: np.array([unit.data], object),
        }

    def clear(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.root / "out", ignore_errors=True)

    def _lap(self, length: int, number: int) -> int:
        block = self.start(self.row(length, number))
        with self.watch("put"):
            self._put(block)
        rows = np.arange(length)
        block.pop(IMAGE)
        self.finish(block | {name: some[rows % len(some)] for name, some in self.features.items()})
        self.clear()
        return length

    def _put(self, batch: Batch) -> ray.ObjectRef:
        """Do what Ray Data does with a task's result."""
        return ray.put(BlockAccessor.batch_to_block(batch))
