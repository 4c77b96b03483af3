"""A store as a Ray data set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import pyarrow as pa

from raypipe.display.html import table
from raypipe.errors import RaypipeError
from raypipe.reports.inline import pictures, some_of_each_label
from raypipe.store.reader import StoreReader

if TYPE_CHECKING:
    import ray.data

_LABELS = 8
_COUNTED = 10**6  # rows whose labels are counted for a look at a store


class Store(StoreReader):
    """A snapshot of a store. What is published later does not change it.

    Examples:
        >>> store = raypipe.open("features")
        >>> len(store), store.columns, store.shapes
        (61, ['features'], {'features': (2048,)})
        >>> store.label_counts()
        {'daisy': 20, 'rose': 20, 'tulip': 21}
        >>> store.rejects().select(["id", "reason"]).to_pylist()
        [{'id': 'rose/broken.jpg', 'reason': 'empty'}]

        All rows as arrays, sorted by id:

        >>> data = store.to_numpy()
        >>> data.features.shape, data.features.dtype.name
        ((61, 2048), 'float32')
        >>> data.ids[0], data.labels[0]
        ('daisy/0001.jpg', 'daisy')
        >>> store.to_pandas(["id", "label"]).iloc[0].tolist()
        ['daisy/0001.jpg', 'daisy']

        Piece by piece:

        >>> sum(len(table) for table in store.iter_batches(["id", "features"]))
        61
        >>> from torch.utils.data import DataLoader
        >>> batch = next(iter(DataLoader(store.to_torch(), batch_size=32)))
        >>> batch["features"].shape
        torch.Size([32, 2048])
        >>> store.to_ray(["id"]).count()
        61
    """

    def _repr_html_(self) -> str:
        facts = [
            ("snapshot", f"{self.snapshot.number}, made {self.snapshot.created or 'never'}"),
            ("rows", self.snapshot.rows),
            ("rejects", self.snapshot.rejects),
            ("columns", ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())),
            ("backbone", self.provenance.get("backbone", self.spec.backbone)),
        ]
        if self.snapshot.rows <= _COUNTED:
            labels = self.classes
            facts.append(("labels", f"{len(labels)}: {', '.join(labels[:_LABELS])}"))
        try:
            shown = pictures(some_of_each_label(self))
        except (RaypipeError, OSError):  # a look at a store is no reason to fail
            shown = ""
        return table(f"Store {self.uri}", facts) + shown

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
        import ray.data  # takes a second, which those do without who only look

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
