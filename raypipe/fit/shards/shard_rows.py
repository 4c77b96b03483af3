"""A shard's rows as the steps of a fit see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from raypipe.heads import Scaling

Array = npt.NDArray[Any]


class ShardRows(Protocol):
    """Rows of a shard, sorted by group, as a step sees them.

    Attributes:
        number: the shard's number.
        starts: (groups + 1,) where each group's rows start.
        first: number of the shard's first row among those of all shards.
        device: torch device of the blocks.
        memo: what a step may remember for the next one; it may be lost at any time.
    """

    number: int
    starts: npt.NDArray[np.int64]
    first: int
    device: torch.device
    memo: dict[str, Any]

    def __len__(self) -> int: ...

    def blocks(
        self, scaling: Scaling | None, group: int | None = None
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield places and (n, D) float32 scaled rows, of one group or of all, in order."""

    def codes(self, rows: slice) -> torch.Tensor:
        """Return the class numbers (n,) of the n rows at some places, as int64 on the device."""

    def take(self, rows: Array, scaling: Scaling | None) -> torch.Tensor:
        """Return rows by their numbers (n,) within the shard: (n, D) float32, scaled."""
