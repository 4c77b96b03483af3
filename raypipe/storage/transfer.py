"""Results that are made as files of a folder, and kept in a bucket.

A bucket cannot rename several objects at once. So a result's files are written beside, by their
checksums; then the marker, which has the checksum of each name: from then on it is the new result.
At last they are written under their names, and those beside go. Who finds another file under a name
than the marker says, takes the one beside: whenever that is cut short, the result is old or new.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from raypipe.errors import RaypipeError
from raypipe.storage.bucket import BucketStorage
from raypipe.storage.objects import is_object
from raypipe.storage.paths import local_path
from raypipe.storage.results import KNOWN_BY, MARKER, check_result, found_result, marker

_RETRY_SECONDS = 2.0
_BESIDE = ".beside"


@contextlib.contextmanager
def local_copy(place: str, names: Iterable[str], option: str) -> Iterator[Path]:
    """Yield a folder with some files of a folder or of a bucket's prefix, those that are there.

    Args:
        place: the folder, which is yielded itself, or the prefix.
        names: of the files.
        option: the command line's name for it, for messages.

    Raises:
        UsageError: it is neither, or the bucket refuses.
        RaypipeError: the bucket did not answer, or its files are not of one result.
    """
    if not is_object(place):
        yield local_path(place, option, or_bucket=True)
        return
    storage, wanted = BucketStorage(place, option), list(names)
    found = _of_one_result(storage, wanted)
    if found is None:
        time.sleep(_RETRY_SECONDS)  # it is being replaced
        found = _of_one_result(storage, wanted)
    if found is None:
        raise RaypipeError(
            f"{option}: {storage.uri} holds files of several results, which commands have written "
            "there at the same time; run one of them again"
        )
    with _folder_of(found) as folder:
        yield folder


def check_uploaded(
    storage: BucketStorage, kind: str, origin: Mapping[str, Any], *, replace: bool
) -> None:
    """Make sure that a prefix may take a result, as `check_result` does of a folder.

    Raises:
        UsageError: something else is there.
    """
    with _folder_of(_read(storage, KNOWN_BY)) as there:
        check_result(there, kind, origin, replace=replace, place=storage.uri)


def upload(folder: Path, storage: BucketStorage, kind: str, origin: Mapping[str, Any]) -> None:
    """Write all files of a folder to a bucket, in the place of an older result.

    Args:
        folder: with the files.
        storage: the prefix.
        kind: of the result, `model` or `clusters`.
        origin: what it is made of and with.
    """
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    with _folder_of(_read(storage, KNOWN_BY)) as there:
        _, _, old = found_result(there)
    sums = {name: _checksum(_placed(folder, name, storage)) for name in names}
    for name in names:
        storage.put(f"{_BESIDE}/{sums[name]}", _placed(folder, name, storage))
    mark = marker(kind, origin, names) | {"sha256": sums}
    storage.put(MARKER, json.dumps(mark, indent=1).encode())
    for name in names:
        storage.put(name, _placed(folder, name, storage))
    for name in sorted({*old} - {*names, MARKER}):
        if ".." not in Path(name).parts:
            storage.delete(name)
    for name in storage.list(_BESIDE):
        storage.delete(name)


def _placed(folder: Path, name: str, storage: BucketStorage) -> bytes:
    """Return a file's content; JSON may say where it is."""
    data = (folder / name).read_bytes()
    is_json = name.endswith(".json")
    return data.replace(str(folder).encode(), storage.uri.encode()) if is_json else data


def _of_one_result(storage: BucketStorage, names: Iterable[str]) -> dict[str, bytes] | None:
    """Return the files that are there, or None where they are not those of the marker."""
    sums: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        sums = dict(json.loads(storage.read(MARKER))["sha256"])
    found = _read(storage, names)
    if not sums:  # copied there, or written before there was a marker
        return found
    wanted = {name: sums[name] for name in names if name in sums}
    kept: dict[str, bytes] = {}
    for name, checksum in wanted.items():
        if _checksum(found.get(name, b"")) != checksum:
            beside = f"{_BESIDE}/{checksum}"
            found[name] = _read(storage, [beside]).get(beside, b"")
        kept[name] = found[name]
    return kept if {name: _checksum(data) for name, data in kept.items()} == wanted else None


def _read(storage: BucketStorage, names: Iterable[str]) -> dict[str, bytes]:
    found = {}
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            found[name] = storage.read(name)
    return found


@contextlib.contextmanager
def _folder_of(files: Mapping[str, bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        for name, data in files.items():
            Path(folder, name).write_bytes(data)
        yield Path(folder)


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
