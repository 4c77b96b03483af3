"""A replica without a GPU: it reads, decodes, embeds and writes."""

from __future__ import annotations

from functools import partial

import pyarrow as pa

from raypipe.actors.trials import Lap, laps
from raypipe.rehearsal.core import Core
from raypipe.rehearsal.device import Device, Replica
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
        self.replica = Replica(flow, self.watch, (self.start, self.finish))

    def check(self) -> Check:
        """Decode each item once; their pixels are used for what takes pixels alone."""
        found = super().check()
        self.blocks = [self.checked]
        return found

    def laps(self, length: int, seconds: float) -> list[Lap]:
        """Do units of a length from images to partitions."""
        return laps(partial(self._unit, length), self.watch, seconds=seconds)

    def _unit(self, length: int, number: int) -> int:
        self.replica(self.row(length, number))
        self.clear()
        return length
