"""The columns in which a unit travels, from the first step to the last.

A unit travels as a batch of columns: `unit`, `unit_rows`, the texts of its items, why an item is a
reject, its pixels (or its JPEG) or its features, and what it has taken so far.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from raypipe.spec import Spec
from raypipe.steps.cost import Cost
from raypipe.steps.guard import Limits

Batch = dict[str, npt.NDArray[Any]]
Column = npt.NDArray[Any]

UNIT = "unit"
ITEMS = "items"
COST = "cost"
UNIT_ROWS = "unit_rows"
IMAGE = "image"
ENCODED = "encoded"


@dataclass(frozen=True)
class ReadOptions:
    """What the steps of a flow are told of how to read.

    Attributes:
        spec: what the features are.
        max_pixels: cap on an image's pixels.
        max_seconds: an image may take to decode.
        limits: what decoding an image may take, where a process may be ended for it: in those of
            the flow, not in the driver.
        one_server: whether all items come from the same server, so that its failure concerns all.
        server_etags: whether etags of objects are their servers' own, and not a table's.
        run: another one for each run of the flow, also of the same process.
    """

    spec: Spec
    max_pixels: int
    max_seconds: float = 60.0
    limits: Limits | None = None
    one_server: bool = False
    server_etags: bool = False
    run: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False)


def items_of(batch: Batch) -> pa.Table:
    """Return a unit's items."""
    return pa.ipc.open_stream(batch[ITEMS][0]).read_all()


def cost_of(batch: Batch) -> Cost:
    """Return what a unit has taken so far."""
    return Cost.from_text(batch[COST][0])


def feature_column(column: str) -> str:
    """Return the name of a column of features in a batch: apart from those of the items."""
    return f"feature:{column}"
