"""A store as a dataset for PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from raypipe import schema
from raypipe.rows.features import to_array
from raypipe.store.hdf5 import label_codes
from raypipe.store.reader import StoreReader


class StoreDataset(IterableDataset[dict[str, Any]]):
    """The rows of a snapshot, one by one, in the order they are stored.

    Each row is a dict of `id`, `features` (a tensor) and `label` (its position in `classes`, −1
    where unlabelled). Partitions are shared out over the workers of a DataLoader, so that each row
    comes exactly once; a worker holds about 64 MB of rows at a time.

    Args:
        reader: the store.
        column: the feature column.
        split: only rows of this split; None takes all.

    Attributes:
        classes: the store's labels, sorted; the same for every split.

    Raises:
        UsageError: there is no such split.
    """

    def __init__(self, reader: StoreReader, column: str, split: str | None = None) -> None:
        reader.check_split(split)
        self.reader = reader
        self.column = column
        self.split = split
        self.classes: list[str] = reader.classes

    def __len__(self) -> int:
        return len(self.reader) if self.split is None else self.reader.split_counts()[self.split]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for part in range(first, len(self.reader.snapshot.data), step):
            yield from self._rows(part)

    def _rows(self, part: int) -> Iterator[dict[str, Any]]:
        columns = [schema.ID, schema.LABEL, self.column]
        for table in self.reader.iter_part(part, columns, self.split):
            ids = table[schema.ID].to_pylist()
            codes, _ = label_codes(table[schema.LABEL].to_pylist(), self.classes)
            # A row that is kept must not keep the whole piece in memory, nor share it.
            values = torch.from_numpy(to_array(table[self.column]).copy())
            for identity, code, value in zip(ids, codes.tolist(), values, strict=True):
                yield {schema.ID: identity, "features": value.clone(), "label": code}
