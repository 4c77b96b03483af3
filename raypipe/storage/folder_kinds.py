"""What a folder is: not what an option asks for, or one that nothing else may be put into."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from raypipe.errors import UsageError
from raypipe.storage.bucket import BucketStorage
from raypipe.storage.disk import FolderStorage
from raypipe.storage.objects import is_object, parse
from raypipe.storage.paths import local_path

#: By the files that only such a folder has.
_KNOWN = {
    ("spec.json", "snapshots"): "a store of features or predictions",
    ("model.json", "arrays.safetensors"): "a model, written by `train`",
    ("clusters.parquet", "centers.npy"): "clusters, written by `cluster`",
}

#: By the file that a result has from its beginning, with a key that others' of that name lack.
_MARKED = {
    "spec.json": ("fingerprint", "a store"),
    ".raypipe.json": ("kind", "a model or clusters"),
    ".raypipe-pack.json": ("shards", "shards of `pack`"),
}


def result_at(place: str) -> str:
    """Return which result of a command a local folder is, in words; an empty text for others."""
    folder = Path(place).expanduser()
    found = (what for names, what in _KNOWN.items() if all((folder / n).exists() for n in names))
    return "" if is_object(place) else next(found, "")


def instead(place: str) -> str:
    """Return what there is at a place, to be put behind a message that misses something there."""
    if is_object(place):
        return ""
    path = Path(place).expanduser()
    what = result_at(place) or ("a file" if path.is_file() else "")
    what = what or ("a folder of other files" if path.is_dir() else "")
    return f" (it is {what})" if what else ""


def check_not_within(place: str) -> None:
    """Make sure that a result does not become a part of another one, at whatever depth.

    A store takes every file in its folders for its own, and a model is replaced as a whole.

    Args:
        place: where it is to be: a folder, or a bucket and prefix.

    Raises:
        UsageError: a folder above it is a result, or a link on the way there leads nowhere.
    """
    for above in _above(place):
        for name, (key, what) in _MARKED.items():
            if _has(above, name, key):
                raise UsageError(
                    f"--out: {place} lies inside {above.uri}, which is {what}; "
                    "give a place outside it"
                )


def _above(place: str) -> Iterator[FolderStorage | BucketStorage]:
    """Yield what a place lies in, the nearest first; links are followed."""
    if not is_object(place):
        path = local_path(place, "--out")
        for part in (path, *path.parents):
            if part.is_symlink() and not part.exists():
                raise UsageError(
                    f"--out: {str(part)!r} is a link that leads nowhere; make what it names, or "
                    "give another place"
                )
        yield from map(FolderStorage, path.resolve().parents)
        return
    there = parse(place)
    parts = there.key.split("/")
    for length in range(len(parts) - 1, 0, -1):
        yield BucketStorage(replace(there, key="/".join(parts[:length])).whole)


def _has(storage: FolderStorage | BucketStorage, name: str, key: str) -> bool:
    # What may not be read is not known: a bucket's policy may allow a prefix, and nothing above.
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return storage.exists(name) and key in json.loads(storage.read(name))
    return False
