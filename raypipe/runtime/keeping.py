"""Whether Ray stays between jobs: in a Python program, which may call several; no Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Keeping:
    """What becomes of Ray after a job that has started or joined it.

    Attributes:
        wanted: whether it stays, until `raypipe.shutdown` or the end of the program.
        address: where it is, if a job has started or joined it, and it has stayed.
    """

    wanted: bool = False
    address: str | None = None


KEEPING = Keeping()


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
