"""A folder of images, at any depth, usually one sub-folder per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa

from raypipe.errors import RaypipeError
from raypipe.sources.batches import BATCH_ROWS, one_batch
from raypipe.sources.containers import HIDDEN
from raypipe.sources.local import file_etag, utf8


class FolderSource:
    """Every file below a folder is an item, whatever its extension: content decides.

    `id` is the path below the folder, with `/` between its parts. Names that start with a dot
    (`.DS_Store`, `.thumbnails/`) are not listed. Links are followed, also to folders, except to a
    folder that contains the link.

    Args:
        path: the folder.
        since: the first id to list.
    """

    auto_label: Literal["folder", "column"] = "folder"

    def __init__(self, path: Path, since: str = "") -> None:
        self.path, self.since = path, since
        self.uri = str(path)
        self.aside = Counter[str]()

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of their ids, in batches, holding one folder at a time."""
        self.aside.clear()
        names = _walk(self.uri, "", frozenset(), self.since, self.aside)
        while batch := list(islice(names, BATCH_ROWS)):
            ids = [utf8(name) for name in batch]
            uris = [utf8(f"{self.uri}/{name}") for name in batch]
            # Of what will be read: a name that is no text cannot be, and is as good as missing.
            yield one_batch(ids, uris, [file_etag(uri) for uri in uris])


def _walk(
    root: str, prefix: str, above: frozenset[tuple[int, int]], since: str, aside: Counter[str]
) -> Iterator[str]:
    """Yield file names below root/prefix from `since` on, sorted as whole paths."""
    folder = f"{root}/{prefix}"
    try:
        status = os.stat(folder)  # noqa: PTH116
        here = (status.st_dev, status.st_ino)
        if here in above:
            return  # a link to a folder that contains it
        with os.scandir(folder) as entries:
            # A folder sorts as `name/`, so that the paths below it fall into order among files.
            names = [entry.name + "/" if entry.is_dir() else entry.name for entry in entries]
    except OSError as error:
        # Going on without the folder would make its images look deleted.
        raise RaypipeError(f"SOURCE: cannot list {folder!r}: {error.strerror}") from None
    found = sorted(name for name in names if not name.startswith("."))
    if len(names) > len(found):
        aside[HIDDEN] += len(names) - len(found)
    for path in (prefix + name for name in found):
        if path < since and not since.startswith(path):
            continue  # with all that lies below it
        if path.endswith("/"):
            yield from _walk(root, path, above | {here}, since, aside)
        elif path >= since:
            yield path
