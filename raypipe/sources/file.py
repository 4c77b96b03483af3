"""A single image file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa

from raypipe.sources.batches import in_batches
from raypipe.sources.local import as_uri, file_etag, utf8


class FileSource:
    """One image; its id is its file name and it has no label."""

    auto_label: Literal["folder", "column"] = "column"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = str(path)
        self.aside = Counter[str]()

    def list(self) -> Iterator[pa.RecordBatch]:
        """Return the one item."""
        uri = as_uri(self.uri)
        return in_batches([(utf8(self.path.name), uri, file_etag(self.uri), None, None)])
