"""A store as its readers see it: one snapshot, as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.heads import channel_axis
from raypipe.heads.head import Channels
from raypipe.rows.features import ROW_COLUMNS, Features, to_array
from raypipe.spec import Spec, digest
from raypipe.storage import open_storage
from raypipe.store.identity import read_identity
from raypipe.store.part_reader import PartReader
from raypipe.store.partition import Format
from raypipe.store.snapshot import Snapshot, newest, read_snapshot, same_features

if TYPE_CHECKING:  # importing it takes torch, which most readers do without
    from raypipe.store.torch_dataset import StoreDataset


class StoreReader:
    """One snapshot of a store. What is published later does not change it.

    Args:
        uri: the store's folder.
        snapshot: number of the snapshot; None opens the newest.
        option: the command line's name for `uri`, for messages.

    Raises:
        UsageError: there is no store, or no snapshot of that number.
    """

    def __init__(self, uri: str, snapshot: int | None = None, *, option: str = "STORE") -> None:
        self.storage = open_storage(uri, option)
        content = read_identity(self.storage, option)
        self.spec = Spec.model_validate(content["spec"])
        self.format: Format = content["partitions"]
        self.provenance: dict[str, Any] = content["provenance"]
        self.snapshot: Snapshot = (
            newest(self.storage, self.spec.fingerprint)
            if snapshot is None
            else same_features(
                self.storage, read_snapshot(self.storage, snapshot), self.spec.fingerprint
            )
        )
        self._parts = PartReader(self.storage)

    @property
    def uri(self) -> str:
        """Where the store is."""
        return self.storage.uri

    @property
    def columns(self) -> list[str]:
        """Names of the feature columns, which are `features` or what --layer calls them.

        In a store of predictions: `predicted`, `probability`, and what else was asked for.
        """
        return list(self.spec.columns)

    def column(self, layer: str | None = None) -> str:
        """Return the feature column of a layer; None means the only one with features.

        Raises:
            UsageError: there is no such layer, or there are several to choose from.
        """
        if self.spec.head:
            return self._probabilities(layer)
        outputs = self.spec.outputs
        named = (
            [o for o in outputs if layer in (o.column, o.layer)]
            if layer
            else [o for o in outputs if o.pool != "argmax"] or list(outputs)
        )
        exact = [o for o in named if o.column == layer]
        if len(exact or named) == 1:
            return (exact or named)[0].column
        known = ", ".join(self.columns)
        if layer and not named:
            raise UsageError(f"--layer: no {layer!r} in the store; it has {known}")
        raise UsageError(f"--layer: the store has several: {known}; name one")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one row's features by column; empty where the snapshot has no partitions."""
        if not self.snapshot.data:
            return {}
        return self._parts.shapes(self.snapshot.data[0].file, self.columns)

    def dtype(self, column: str) -> np.dtype[Any]:
        """Return the type of a feature column's values; of texts, `object`."""
        if self.spec.head and column in self.spec.head.columns:
            return np.dtype(
                schema.TEXT if column.startswith((schema.PREDICTED, schema.STATUS)) else "f4"
            )
        is_index = any(o.pool == "argmax" for o in self.spec.outputs if o.column == column)
        return np.dtype("int32" if is_index else self.spec.dtype)

    @property
    def content(self) -> str:
        """Checksum of the snapshot's rows: of its feature partitions, and of what is dropped."""
        return digest(repr([(part.file.sha256, part.dropped) for part in self.snapshot.data]))

    @property
    def state(self) -> dict[str, Any]:
        """What a result records of the snapshot that it is made of, for `reopen`."""
        return {
            "store": self.uri,
            "snapshot": self.snapshot.number,
            "fingerprint": self.spec.fingerprint,
            "content": self.content,
        }

    def channels(self, column: str) -> Channels:
        """Return which axis of a row's features is not a position."""
        pools = [output.pool for output in self.spec.outputs if output.column == column]
        return channel_axis(pools[0], self.shapes.get(column, ())) if pools else "last"

    def __len__(self) -> int:
        return self.snapshot.rows

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
        return (
            f"<Store {self.uri!r}: snapshot {self.snapshot.number}, {self.snapshot.rows} rows, "
            f"{self.snapshot.rejects} rejects, {shapes or 'no features'}>"
        )

    def iter_batches(
        self, columns: list[str] | None = None, split: str | None = None
    ) -> Iterator[pa.Table]:
        """Yield the rows in pieces of at most about 64 MB, partition by partition.

        Args:
            columns: the columns to read; None reads all.
            split: only rows of this split; None yields all.

        Raises:
            UsageError: there is no such split.
        """
        self.check_split(split)
        for index in range(len(self.snapshot.data)):
            yield from self.iter_part(index, columns, split)

    def iter_part(
        self, index: int, columns: list[str] | None = None, split: str | None = None
    ) -> Iterator[pa.Table]:
        """Yield the rows of one partition, by its position in the snapshot, piece by piece.

        The first time that features are read, the file's checksum is compared meanwhile.

        Raises:
            RaypipeError: the file is missing or damaged; none of it is yielded then.
        """
        of_features = columns is None or not set(columns).isdisjoint(self.columns)
        part = self.snapshot.data[index]
        yield from self._parts.pieces(part, columns, split, of_features=of_features)

    def to_arrow(self, columns: list[str] | None = None, split: str | None = None) -> pa.Table:
        """Return all rows, or those of a split, sorted by id and view.

        Raises:
            UsageError: there is no such split, or nothing in the store.
        """
        needed = None if columns is None else list({*columns, schema.ID, schema.VIEW})
        tables = list(self.iter_batches(needed, split))
        if not tables:
            raise UsageError(f"STORE: {self.uri} has no features yet; run `raypipe extract` first")
        table = pa.concat_tables(tables)
        keys = [(schema.ID, "ascending"), (schema.VIEW, "ascending")]
        order = pc.sort_indices(table.select([schema.ID, schema.VIEW]), sort_keys=keys)
        table = table.take(order)
        return table if columns is None else table.select(columns)

    def to_numpy(self, column: str | None = None, split: str | None = None) -> Features:
        """Return ids, labels and features as arrays, sorted by id and view.

        Args:
            column: the feature column; may be left out where there is one.
            split: only rows of this split.

        Raises:
            UsageError: no such column or split, or nothing in the store.
        """
        column = self.column(column)
        table = self.to_arrow([*ROW_COLUMNS, column], split)
        return Features.of(table, features=to_array(table[column]))

    def to_pandas(self, columns: list[str] | None = None, split: str | None = None) -> Any:
        """Return all rows, or those of a split, as a pandas DataFrame, sorted by id and view."""
        return self.to_arrow(columns, split).to_pandas()

    def to_torch(self, column: str | None = None, split: str | None = None) -> StoreDataset:
        """Return the rows as a dataset for `torch.utils.data.DataLoader`.

        Args:
            column: the feature column; may be left out where there is one.
            split: only rows of this split.

        Raises:
            UsageError: no such column or split.
        """
        from raypipe.store.torch_dataset import StoreDataset

        return StoreDataset(self, self.column(column), split)

    def rejects(self) -> pa.Table:
        """Return the rejected items, of `schema.REJECTS`."""
        tables = [self._parts.rejects(part) for part in self.snapshot.rejected]
        table = pa.concat_tables([schema.REJECTS.empty_table(), *tables])
        return table.sort_by(schema.ID)

    def reject_counts(self) -> dict[str, int]:
        """Return how many items were rejected, by reason."""
        counts: Counter[str] = Counter()
        for part in self.snapshot.rejected:
            counts.update(self._parts.rejects(part, [schema.REASON])[schema.REASON].to_pylist())
        return dict(sorted(counts.items()))

    def label_counts(self) -> dict[str | None, int]:
        """Return how many rows each label has, by label; None counts the unlabelled ones."""
        return _sorted_counts(self._counts[0])

    def split_counts(self) -> dict[str | None, int]:
        """Return how many rows each split has, by name; None counts the rows without one."""
        return _sorted_counts(self._counts[1])

    @property
    def classes(self) -> list[str]:
        """The labels there are, sorted."""
        return [label for label in self.label_counts() if label is not None]

    def check_split(self, split: str | None) -> None:
        """Make sure that there is such a split; None stands for all rows.

        Raises:
            UsageError: there is none of that name; the message says which there are.
        """
        if split is not None and split not in (counts := self.split_counts()):
            known = ", ".join(name for name in counts if name is not None)
            raise UsageError(
                f"split: no {split!r} in {self.uri}; "
                + (f"it has {known}" if known else "its source recorded none")
            )

    def _probabilities(self, layer: str | None) -> str:
        """In a store of predictions, the probabilities can be taken for features."""
        if layer in (None, schema.PROBABILITIES) and schema.PROBABILITIES in self.columns:
            return schema.PROBABILITIES
        raise UsageError(
            f"STORE: {self.uri} holds predictions, not features; its columns are "
            f"{', '.join(self.columns)}"
        )

    @cached_property
    def _counts(self) -> tuple[Counter[str | None], Counter[str | None]]:
        labels: Counter[str | None] = Counter()
        splits: Counter[str | None] = Counter()
        for batch in self.iter_batches([schema.LABEL, schema.SPLIT]):
            labels.update(batch[schema.LABEL].to_pylist())
            splits.update(batch[schema.SPLIT].to_pylist())
        return labels, splits


def _sorted_counts(counts: Counter[str | None]) -> dict[str | None, int]:
    return dict(sorted(counts.items(), key=lambda item: (item[0] is None, item[0] or "")))


def reopen(state: Mapping[str, Any]) -> StoreReader:
    """Open what a result was made of.

    Args:
        state: `StoreReader.state`, among others.

    Raises:
        UsageError: the store or the snapshot is gone, or another one is in its place.
    """
    store = StoreReader(state["store"], state["snapshot"])
    if {name: state.get(name) for name in store.state} != store.state:
        raise UsageError(
            f"STORE: {store.uri} is another one than this was made of: it has been made again since"
        )
    return store
