"""What jobs of a Python program have in common: Ray may stay between them; they take turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Keeping:
    """What becomes of Ray after a job that has started or joined it.

    Attributes:
        wanted: whether it stays, until `raypipe.shutdown` or the end of the program.
        address: where it is, if a job has started or joined it, and it has stayed.
        here: whether a job has started it, on this machine alone.
    """

    wanted: bool = False
    address: str | None = None
    here: bool = False


KEEPING = Keeping()
#: Held by who loads networks and computes, if a program calls from several threads: while torch.fx
#: cuts one, or builds it anew, the calls of all modules of the process go through it.
ONE_AT_A_TIME = threading.RLock()


@contextmanager
def kept() -> Iterator[None]:
    """Keep a Ray that a job of the block starts for the others, until the block ends."""
    before, KEEPING.wanted = KEEPING.wanted, True
    try:
        yield
    finally:
        KEEPING.wanted = before
        if not before and KEEPING.address is not None:
            from raypipe.runtime.connection import end  # takes Ray, which is there

            end()
