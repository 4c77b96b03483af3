"""A replica without a GPU: it reads, decodes, embeds and writes."""

from __future__ import annotations

import time
from functools import partial

import pyarrow as pa

from raypipe.actors.timing import Lap, laps
from raypipe.pipeline import EmbedderReplica
from raypipe.rehearsal.core import Core
from raypipe.rehearsal.device import Device
from raypipe.rehearsal.flow import Check, Flow

__all__ = ["Whole"]


class Whole(Core, Device):
    """A replica that does the whole flow on a core.

    Args:
        flow: the steps.
        number: of this process.
        items: as for `Core`.
    """

    def __init__(self, flow: Flow, number: int, items: pa.Table | list[bytes]) -> None:
        Core.__init__(self, flow, number, items)
        whole = (flow.reading, self.finish)
        self.replica = EmbedderReplica(flow.backbone, flow.spec, flow.replicas, whole)

    def check(self) -> Check:
        """Decode each item once; their pixels are used for what takes pixels alone."""
        found = super().check()
        self.blocks = [self.checked]
        return found

    def laps(self, length: int, seconds: float) -> list[Lap]:
        """Do units of a length from images to partitions."""
        embedder = self.replica.embedder
        plain = embedder.embed
        embedder.embed = self.watch.timing("forward", plain)  # type: ignore[method-assign]
        try:
            return laps(partial(self._unit, length), self.watch, seconds=seconds)
        finally:
            embedder.embed = plain  # type: ignore[method-assign]

    def _unit(self, length: int, number: int) -> int:
        """Do a unit; what is neither a forward pass nor writing is counted as decoding."""
        row = self.row(length, number)
        started = time.perf_counter()
        self.replica(row)
        taken = time.perf_counter() - started
        self.watch.add("decode", taken - self.watch.so_far("forward", "write"))
        self.clear()
        return length
