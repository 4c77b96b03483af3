"""One file per kind of source: listing to items, items to bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config import LabelConfig, SourceConfig
from raypipe.schema import ID
from raypipe.sources.content import local_file, read_item
from raypipe.sources.globs import from_on, matching
from raypipe.sources.kinds import find_source
from raypipe.sources.labels import Labels
from raypipe.sources.limit import limited
from raypipe.sources.tar import TarSource

__all__ = ["Source", "from_on", "local_file", "open_source", "read_item"]


class Source(Protocol):
    """Where images come from."""

    uri: str
    auto_label: Literal["folder", "column"]

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
    """The items of a source that the options select, with their labels and splits."""

    def __init__(self, source: Source, config: SourceConfig) -> None:
        self.source, self.config = source, config
        self.uri, self.auto_label = source.uri, source.auto_label
        self.limit, self.labels = None, None
        if isinstance(config, LabelConfig):
            shards = source.names if isinstance(source, TarSource) else ()
            self.limit = config.label_limit
            self.labels = Labels(config, source.auto_label, shards)

    @property
    def counts(self) -> dict[str, int]:
        """What a label file and the items listed so far do not have of each other."""
        return self.labels.file.counts if self.labels and self.labels.file else {}

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items."""
        return limited(self._labelled, self.limit) if self.limit else self._labelled()

    def _labelled(self) -> Iterator[pa.RecordBatch]:
        batches, since = self.source.list(), self.config.since
        if since is not None:
            batches = (batch.filter(pc.greater_equal(batch[ID], since)) for batch in batches)
        if self.config.glob:
            batches = matching(batches, self.config.glob)
        return self.labels.apply(batches) if self.labels else batches
