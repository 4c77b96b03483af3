"""A store as a Ray data set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import ray.data

from raypipe.store.reader import StoreReader

__all__ = ["Store"]


class Store(StoreReader):
    """A store that can also be read as a Ray data set."""

    def to_ray(
        self, columns: list[str] | None = None, split: str | None = None
    ) -> ray.data.Dataset:
        """Return the snapshot's rows as a lazy data set.

        Features are arrays: `batch["features"]` is (N, …) in `map_batches`.

        Args:
            columns: the columns to read; None reads all.
            split: only rows of this split; None takes all.

        Raises:
            UsageError: there is no such split.
        """
        self.check_split(split)
        numbers = [{"partition": i} for i, part in enumerate(self.snapshot.data) if part.rows]
        read = partial(
            _read_partition,
            uri=self.uri,
            snapshot=self.snapshot.number,
            columns=columns,
            split=split,
        )
        blocks = ray.data.from_items(numbers, override_num_blocks=max(1, len(numbers)))
        return blocks.map_batches(read, batch_size=None)


def _read_partition(
    batch: dict[str, npt.NDArray[Any]],
    *,
    uri: str,
    snapshot: int,
    columns: list[str] | None,
    split: str | None,
) -> Iterator[pa.Table]:
    reader = StoreReader(uri, snapshot)
    for index in batch["partition"]:
        yield from reader.iter_part(index, columns, split)
