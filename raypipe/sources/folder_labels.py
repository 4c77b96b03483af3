"""Labels from the folders in an id."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection

from raypipe.errors import UsageError
from raypipe.rows import splits


class FolderLabels:
    """Takes an item's label from the folders in its id.

    What names no class is left out where other folders follow: a shard's name, and a split's
    (train, valid, test, …) on top. `train/cat/1.jpg` and `val/cat/2.jpg` are of one class.

    Args:
        depth: `first`, `last` or `path`; empty takes the last one too, but refuses two folders of
            one last name, as `church/outdoor` and `market/outdoor`.
        shards: names of shards, which ids begin with.
        automatic: nobody asked for folders, so that dates (`2026/11/21`) are no labels.
    """

    def __init__(self, depth: str, shards: Collection[str] = (), *, automatic: bool) -> None:
        self.depth, self.shards, self.automatic = depth, frozenset(shards), automatic
        self.path_of: dict[str, str] = {}

    def label(self, item: str) -> str | None:
        """Return an item's label, None if it is in no folder.

        Raises:
            UsageError: two folders have one last name.
        """
        folders = self._folders(item)
        if not folders or (self.automatic and len(folders) > 1 and all(map(str.isdigit, folders))):
            return None
        path = "/".join(folders)
        if self.depth == "first":
            return folders[0]
        if self.depth == "path":
            return path
        last = folders[-1]
        if not self.depth:
            named = "/".join(name for name in folders if not name.isdigit()) or path  # no dates
            if (other := self.path_of.setdefault(last, named)) != named:
                raise UsageError(_two_of_one_name(other, named, last))
        return last

    def _folders(self, item: str) -> list[str]:
        names = unicodedata.normalize("NFC", item).split("/")[:-1]
        folders = [name for name in names if name]
        if len(folders) > 1 and folders[0] in self.shards:
            del folders[0]
        if len(folders) > 1 and splits.is_usual(folders[0]):
            del folders[0]
        return folders


def _two_of_one_name(one: str, other: str, last: str) -> str:
    first = [path.partition("/")[0] for path in (one, other)]
    return (
        f"--label: the folders {one!r} and {other!r} would both be the class {last!r}; give "
        f"--label folder:path (class {one!r}), folder:first ({first[0]!r} and {first[1]!r}), "
        "folder:last if they are one class, or none"
    )
