"""Plans of shards: rows of each, and what became of them; without PyTorch, for the driver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ShardPlan:
    """Which rows make a shard. It depends on the snapshot alone, not on who holds it.

    Attributes:
        number: its place in the order of reduction.
        first: rows in the shards before it.
        parts: positions of its partitions in the snapshot.
        groups: group of each row, per partition; −1 leaves a row out.
        group_count: how many groups there are in all.
        codes: class number of each row, per partition; None where there are no classes.
    """

    number: int
    first: int
    parts: tuple[int, ...]
    groups: tuple[npt.NDArray[np.int8], ...]
    group_count: int = 1
    codes: tuple[npt.NDArray[np.int32], ...] | None = None


@dataclass(frozen=True)
class Loaded:
    """What became of a shard's rows when they were read.

    Attributes:
        width: values in a row.
        in_memory: bytes held in memory.
        in_file: bytes held in a local file.
    """

    width: int
    in_memory: int
    in_file: int
