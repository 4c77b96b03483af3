"""A single image file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from raypipe import schema
from raypipe.sources.local import file_etag, utf8

__all__ = ["FileSource"]


class FileSource:
    """One image; its id is its file name and it has no label."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = str(path)

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the one item."""
        row = [[utf8(self.path.name)], [utf8(self.uri)], [file_etag(self.uri)], [None]]
        columns = [pa.array(v, f.type) for v, f in zip(row, schema.ITEMS, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema.ITEMS)
