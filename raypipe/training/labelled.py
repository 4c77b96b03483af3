"""The labelled rows of a store, whose features are read where a fit wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.config import JobConfig, TrainConfig
from raypipe.config.values import Size
from raypipe.display import counted, say
from raypipe.heads import as_rows, row_width
from raypipe.heads.head import Channels, Spatial
from raypipe.rows.excluded import Excluded, read_excluded
from raypipe.rows.features import Rows
from raypipe.rows.rare import described, rare_classes
from raypipe.rows.several_labels import check_single
from raypipe.store.cache import flatten
from raypipe.store.index import RowIndex, read_index
from raypipe.store.pick import check_finite, pick
from raypipe.store.reader import StoreReader

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Labelled:
    """The labelled rows of a store, sorted by id and view, without their features.

    Attributes:
        store: where they are.
        column: the feature column.
        index: of all rows.
        known: numbers in the index of the labelled ones.
        rows: these.
        spatial: how features become rows, as in `Head`.
        channels: likewise.
        width: D, values of a row.
        unlabelled: how many rows have no label.
        rare: classes that are left out, with their images.
        excluded: images that are left out.
    """

    store: StoreReader
    column: str
    index: RowIndex
    known: Numbers
    rows: Rows
    spatial: Spatial
    channels: Channels
    width: int
    unlabelled: int
    rare: dict[str, int]
    excluded: Excluded

    def to_rows(self, features: npt.NDArray[Any]) -> Floats:
        """Return (n, D) of (n, …) features."""
        return as_rows(features, self.spatial, self.channels)

    @cached_property
    def features(self) -> npt.NDArray[np.float32]:
        """All of them in memory, as (n, D)."""
        return self.made(np.arange(len(self.known)), self.to_rows, self.width)

    def check_finite(self, rows: Numbers) -> None:
        """Make sure that the features of some of the rows, numbers (n,), are finite.

        Raises:
            UsageError: naming the ids.
        """
        check_finite(self.store, self.column, self.index, self.known[rows])

    def made(
        self, rows: Numbers, make: Callable[[npt.NDArray[Any]], Floats], width: int
    ) -> npt.NDArray[np.float32]:
        """Return (n, width) of what is made of the features of some of the rows, piece by piece."""
        found = np.empty((len(rows), width), np.float32)
        for places, features in pick(self.store, self.column, self.index, self.known[rows]):
            found[places] = make(features)
        return found

    def pieces(self, rows: Numbers) -> Iterator[tuple[Numbers, Floats]]:
        """Yield positions (n,) within `rows`, and the features there as (n, D)."""
        for places, features in pick(self.store, self.column, self.index, self.known[rows]):
            yield places, self.to_rows(features)

    def stored(self, values: npt.NDArray[Any], other: Any) -> npt.NDArray[Any]:
        """Return values of the rows as (N,) of all rows, in the order these are stored in.

        Args:
            values: (n,) of the labelled rows.
            other: the value of unlabelled ones.
        """
        return np.concatenate(self.index.by_partition(self.of_index(values, other)))

    def of_index(self, values: npt.NDArray[Any], other: Any) -> npt.NDArray[Any]:
        """Return (n,) values of the rows as (N,) of the whole index; `other` where unlabelled."""
        found = np.full(len(self.index), other, values.dtype)
        found[self.known] = values
        return found


def read_labelled(config: TrainConfig) -> Labelled:
    """Read which labelled rows there are.

    Raises:
        UsageError: there is no such store, snapshot or layer, it has no rows, or labels of them
            are several in one.
    """
    store = StoreReader(config.store, config.snapshot)
    column = store.column(config.layer)
    index = read_index(store)
    check_single(index.labels)
    excluded = read_excluded(config.exclude, [index.ids])
    stays = excluded.stays(index.ids)
    labels = index.labels[stays]
    rare = rare_classes(labels, index.views[stays], config.min_per_class)
    unlabelled = sum(label is None for label in labels)
    known = np.array([label is not None and label not in rare for label in index.labels], bool)
    known = np.flatnonzero(known & stays)
    if unlabelled:
        say(f"{counted(unlabelled, 'row has', 'rows have')} no label: left out")
    if rare:
        say(described(rare))
    channels = store.channels(column)
    width = row_width(store.shapes[column], config.spatial, channels)
    rows = index.rows(known)
    how = config.spatial, channels, width
    return Labelled(store, column, index, known, rows, *how, unlabelled, rare, excluded)


def identity(
    store: StoreReader, column: str, config: JobConfig, names: Iterable[str], **more: Any
) -> dict[str, Any]:
    """Return what has to be the same for a fit to go on: `Checkpoint` compares it.

    Args:
        store: the snapshot that is fitted on.
        column: its feature column.
        config: of the job.
        names: options that the result depends on, beside `--scale` and `--spatial`.
        more: whatever else it depends on; rows as a digest.
    """
    return {
        "fingerprint": store.spec.fingerprint,
        "snapshot": store.snapshot.number,
        "content": store.content,
        "column": column,
        **{name: getattr(config, name) for name in ("scale", "spatial", *names)},
        **more,
    }


def row_maker(spatial: Spatial, channels: Channels) -> Callable[[npt.NDArray[Any]], Floats]:
    """Return what makes (n, D) of (n, …) features in an actor; flat ones keep their type."""
    return flatten if spatial == "flatten" else partial(as_rows, spatial=spatial, channels=channels)


def actor_bytes(size: Size | None) -> int | None:
    """Return what --actor-memory means; None where it is not given."""
    return None if size is None else size.bytes
