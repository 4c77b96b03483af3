"""One file per kind of source: listing to items, items to bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config import LabelConfig, SourceConfig
from raypipe.schema import ID
from raypipe.sources.buckets import BucketSource
from raypipe.sources.content import local_file, read_item
from raypipe.sources.globs import from_on, matching
from raypipe.sources.kinds import find_source
from raypipe.sources.labels import Labels
from raypipe.sources.limit import limited
from raypipe.sources.parquet_files import ParquetSource
from raypipe.sources.tar import TarSource

__all__ = ["SelectedSource", "Source", "from_on", "local_file", "open_source", "read_item"]


class Source(Protocol):
    """Where images come from.

    Attributes:
        uri: what it is.
        auto_label: what `--label auto` means for it.
        aside: how much of it is no item, by rule; complete once everything is listed.
    """

    uri: str
    auto_label: Literal["folder", "column"]

    @property
    def aside(self) -> Counter[str]:
        """What is left aside."""

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items as batches of `schema.ITEMS`, in an order that the source alone sets."""


def open_source(config: SourceConfig) -> SelectedSource:
    """Return the source that the options name; its listing has labels and splits as they say.

    Raises:
        UsageError: there is nothing there, it is of no kind that can be read, or it has not what
            an option asks for.
    """
    return SelectedSource(find_source(config), config)


class SelectedSource:
    """The items of a source that the options select, with their labels and splits.

    Attributes:
        server_etags: whether etags of objects are their servers' own, and not a table's.
    """

    def __init__(self, source: Source, config: SourceConfig) -> None:
        self.source, self.config = source, config
        self.uri, self.auto_label = source.uri, source.auto_label
        self.server_etags = isinstance(source, BucketSource)
        self.limit, self.labels = None, None
        if isinstance(config, LabelConfig):
            shards = source.names if isinstance(source, TarSource) else ()
            self.limit = config.label_limit
            self.labels = Labels(config, source.auto_label, shards)
        self.unselected, self.seen = Counter[str](), 0

    @property
    def aside(self) -> Counter[str]:
        """What is left aside, by the source's rules or by the options."""
        return self.source.aside + self.unselected

    @property
    def labels_not_found(self) -> dict[str, int]:
        """What has no label of those listed so far that should have one, and the reverse."""
        if self.labels is None:
            return {}
        if self.labels.file:
            return self.labels.file.counts
        if self.labels.rule is None and isinstance(self.source, TarSource | ParquetSource):
            return {why: n for why, n in self.source.labels_not_found.items() if n}
        return {}

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items."""
        if self.limit is None:
            yield from self._labelled()
            return
        taken = 0
        for batch in limited(self._labelled, self.limit):
            taken += len(batch)
            yield batch
        self.unselected["beyond --label-limit"] = self.seen - taken

    def _labelled(self) -> Iterator[pa.RecordBatch]:
        batches, since = self.source.list(), self.config.since
        if since is not None:
            batches = (batch.filter(pc.greater_equal(batch[ID], since)) for batch in batches)
        if self.config.glob:
            batches = self._matching(batches)
        self.seen = 0
        for batch in self.labels.apply(batches) if self.labels else batches:
            self.seen += len(batch)
            yield batch

    def _matching(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        listed = kept = 0
        for batch in batches:
            found = matching(batch, self.config.glob)
            listed, kept = listed + len(batch), kept + len(found)
            yield found
        self.unselected["not matched by --glob"] = listed - kept
