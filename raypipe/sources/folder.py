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
from raypipe.sources.hidden import why_hidden
from raypipe.sources.links import BEYOND, LINKED, Links, is_beyond, is_folder
from raypipe.sources.local import as_uri, file_etag, utf8


class FolderSource:
    """Every file below a folder is an item, whatever its extension: content decides.

    `id` is the path below the folder, with `/` between its parts. What is hidden
    (`.DS_Store`, `Thumbs.db`) is not listed. Links are followed, also to folders, but each
    folder is listed once: one inside at its own place, one outside by the first link to it.

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
        names = _Walk(self.uri, self.since, self.aside).below("", frozenset())
        while batch := list(islice(names, BATCH_ROWS)):
            paths = [f"{self.uri}/{name}" for name in batch]
            ids, uris = [utf8(name) for name in batch], [as_uri(path) for path in paths]
            yield one_batch(ids, uris, [file_etag(path) for path in paths])


class _Walk:
    """Names of files below a folder, from an id on, sorted as whole ids."""

    def __init__(self, root: str, since: str, aside: Counter[str]) -> None:
        self.root, self.since, self.aside = root, since, aside
        self.links = Links(root)

    def below(self, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
        """Yield the names below root/prefix; `above` are the folders that it is in."""
        listed = self._listed(f"{self.root}/{prefix}", above)
        if listed is None:
            return
        names, here = listed
        reasons = {name: why for name in names if (why := why_hidden(name))}
        self.aside.update(reasons.values())
        found = sorted((name for name in names if name not in reasons), key=utf8)
        for path in (prefix + name for name in found):
            shown = utf8(path)
            if shown < self.since and not self.since.startswith(shown):
                continue  # with all that lies below it
            if path.endswith("/"):
                yield from self.below(path, above | {here})
            elif shown >= self.since:
                yield path

    def _listed(
        self, folder: str, above: frozenset[tuple[int, int]]
    ) -> tuple[list[str], tuple[int, int]] | None:
        """Return a folder's names, those of folders with a `/`, and which one it is."""
        try:
            status = os.stat(folder)  # noqa: PTH116
            here = (status.st_dev, status.st_ino)
            if here in above:  # mounted within itself
                self.aside[LINKED] += 1
                return None
            return self._names(folder), here
        except OSError as error:
            if is_beyond(error):
                self.aside[BEYOND] += 1
                return None
            # Going on without the folder would make its images look deleted.
            raise RaypipeError(f"SOURCE: cannot list {folder!r}: {error.strerror}") from None

    def _names(self, folder: str) -> list[str]:
        """Return the names in a folder, without links that are not followed.

        A folder sorts as `name/`, so that the paths below it fall into order among files.
        """
        found, links = [], []
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_folder(entry):
                    found.append(entry.name)
                elif entry.is_symlink() and not why_hidden(entry.name):
                    links.append(entry.name)
                else:
                    found.append(entry.name + "/")
        followed = [f"{name}/" for name in sorted(links) if self.links.follows(folder + name)]
        if len(links) > len(followed):
            self.aside[LINKED] += len(links) - len(followed)
        return found + followed
