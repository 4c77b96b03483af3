"""One file per kind of source: listing to items, items to bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from raypipe.errors import UsageError
from raypipe.sources.file import FileSource
from raypipe.sources.folder import FolderSource
from raypipe.sources.local import read_local
from raypipe.storage import local_path

__all__ = ["Source", "open_source", "read_item"]

_BYTES_PER_PIXEL = 8  # four channels of 16 bits
_METADATA_BYTES = 64 * 2**20


class Source(Protocol):
    """Where images come from."""

    uri: str

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of their ids, as batches of `schema.ITEMS`."""
        ...


def open_source(uri: str, *, label_from_folder: bool = True) -> Source:
    """Return the source that a path names.

    Raises:
        UsageError: there is nothing there, or it is of no kind that can be read.
    """
    path = local_path(uri, "SOURCE")
    if path.is_dir():
        return FolderSource(path, label_from_folder=label_from_folder)
    if path.is_file():
        return FileSource(path)
    raise UsageError(f"SOURCE: no file or folder at {str(path)!r}; give a folder of images")


def read_item(uri: str, max_pixels: int) -> bytes:
    """Return the bytes of one item.

    Args:
        uri: as listed.
        max_pixels: a file that is larger than so many pixels are without compression is rejected
            instead of read: it is a video or an archive among the images.

    Raises:
        RejectedItem: they could not be fetched.
    """
    return read_local(uri, _BYTES_PER_PIXEL * max_pixels + _METADATA_BYTES)
