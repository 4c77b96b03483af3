"""The one rule for the lifetime of files that other files name.

1. A file is named by snapshots, expiry notes and, for a rejects file, by its unit's partition.
   Names are below `data/` or `rejects/`; any other is refused before a file is opened or removed.
2. Only a snapshot keeps a file. A partition that no snapshot lists keeps neither itself nor the
   rejects file it names: a unit whose rejects file is noted or gone has its rows, and no rejects.
3. A file is noted before the snapshots that list it go. It is removed when no snapshot lists it and
   its newest note is older than the grace; so a call that was killed between the two starts anew.
   A note goes when no snapshot lists any of its files.
4. What is noted is not taken up again: neither adopted, nor written again under that name, by an
   extraction or a compaction. Damaged files are noted as well, while older snapshots list them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from raypipe.errors import RaypipeError
from raypipe.storage import Storage

NOTES = "expired"

_INSIDE = re.compile(r"(data|rejects)/[A-Za-z0-9_-][A-Za-z0-9._-]*")


def check_name(path: object, origin: str) -> str:
    """Return the name of a file within a store, as another file gives it.

    Raises:
        RaypipeError: it is not below `data/` or `rejects/`; `origin`, which names it, is told.
    """
    if isinstance(path, str) and _INSIDE.fullmatch(path):
        return path
    raise RaypipeError(
        f"{origin}: expected names of files in data/ or rejects/; got {path!r}; "
        "the file is damaged or was not written by raypipe: restore it or remove it"
    )


def notes(storage: Storage) -> Iterator[tuple[str, float, dict[str, int]]]:
    """Yield the expiry notes: name, time in seconds, and bytes of each noted file.

    Raises:
        RaypipeError: one is damaged, or names what is outside.
    """
    for name in storage.list(NOTES):
        origin = f"{storage.uri}/{name}"
        try:
            content = json.loads(storage.read(name))
            when, files = float(content["time"]), dict(content["files"])
        except FileNotFoundError:  # another call has just finished with it
            continue
        except (ValueError, KeyError, TypeError, RecursionError, IsADirectoryError):
            raise RaypipeError(
                f"{origin}: expected an expiry note; got something else; remove it"
            ) from None
        yield name, when, {check_name(path, origin): int(size) for path, size in files.items()}


def expired_files(storage: Storage) -> set[str]:
    """Return the files that are going to be removed unless a snapshot lists them."""
    return {path for _, _, files in notes(storage) for path in files}


def removable(
    found: Iterable[tuple[str, float, dict[str, int]]], used: set[str], before: float
) -> dict[str, int]:
    """Return the noted files that may go, with their bytes.

    Args:
        found: the notes, listed after `used` was read.
        used: files that snapshots list.
        before: time in seconds; a file with a newer note stays.
    """
    listed = list(found)
    young = {path for _, when, files in listed if when > before for path in files}
    return {
        path: size
        for _, when, files in listed
        if when <= before
        for path, size in files.items()
        if path not in used and path not in young
    }
