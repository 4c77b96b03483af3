"""Links to folders, each followed once, and folders that cannot be listed."""

from __future__ import annotations

import errno
import os

from raypipe.sources.hidden import why_hidden

#: Why something in a folder is left aside, by rule.
LINKED = "link to a folder that is listed already"
BEYOND = "folder whose path is longer than the system allows, or a link to itself"

_BEYOND = (errno.ENAMETOOLONG, errno.ELOOP)


class Links:
    """Says which links to folders are followed below a folder.

    A folder inside is listed at its own place, so no link to it is followed; one outside, or that
    is hidden, by the first link, in order of names.

    Args:
        root: the folder.
    """

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        self._seen = set[tuple[int, int]]()

    def follows(self, link: str) -> bool:
        """Whether a link to a folder is followed; True once for each that is outside."""
        place = os.path.realpath(link)
        inside = f"{place}/".startswith(f"{self._root.rstrip('/')}/")
        if inside and why_hidden(place.removeprefix(self._root).lstrip("/")) is None:
            return False  # it is listed at its own place; hidden folders are not
        status = os.stat(place)  # noqa: PTH116
        here = (status.st_dev, status.st_ino)
        is_new = here not in self._seen
        self._seen.add(here)
        return is_new


def is_beyond(error: OSError) -> bool:
    """Whether a folder cannot be listed whatever is done about it, so that no image is in it."""
    return error.errno in _BEYOND


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; a link to itself is a file of no content."""
    try:
        return entry.is_dir()
    except OSError as error:
        if is_beyond(error):
            return False
        raise
