"""Making results beside what they replace.

What is made lies in a folder of its own, which its writer locks. One that nobody holds was left by
a process that is gone, and is removed by the next one that writes to the same place.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from raypipe.errors import RaypipeError

_TEMPORARY = ".tmp-"
_READY = ".new-"
_LIST = ".files.json"
_STALE_SECONDS = 86400  # where the filesystem has no locks


@contextlib.contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield a new folder beside a file or folder, which is gone afterwards; remove left ones.

    Raises:
        OSError: it cannot be made.
    """
    with _locked(path.parent):  # who looks for left ones sees none that is not locked yet
        for left in path.parent.glob(f"{_TEMPORARY}{'?' * 32}-{glob.escape(path.name)}"):
            _remove_left(left)
        beside = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}-{path.name}")
        beside.mkdir()
        stack = contextlib.ExitStack()
        stack.enter_context(_locked(beside))
    with stack:
        try:
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def new_files(path: Path, stale: Iterable[str] = ()) -> Iterator[Path]:
    """Yield a folder whose files take their places beside `path`, together, once it is complete.

    A single file is renamed over the old one. Of several, the old ones are removed before the
    first new one is in its place: should the process be killed right then, some are missing, none
    are mixed, and the next one that writes there finishes it.

    Args:
        path: the one of them that is put in its place last, and that nothing can be read without.
        stale: names that go with the old ones, if the new ones have none of that name.

    Raises:
        OSError: they cannot be written; the old ones are what they were.
    """
    with folder_beside(path) as beside:
        with _locked(path.parent):
            finish_files(path)
        yield beside
        names = sorted(file.name for file in beside.iterdir())
        gone = sorted({name for name in stale if path.with_name(name).exists()} - {*names})
        together = len(names) > 1 or gone
        if together:
            (beside / _LIST).write_text(json.dumps({"files": names, "stale": gone}))
        all_to_disk(beside)
        with _locked(path.parent):
            if together:
                finish_files(path)  # of one who wrote at the same time
                beside.rename(_ready(path))
                to_disk(path.parent)
                finish_files(path)
            else:
                (beside / names[0]).replace(path.with_name(names[0]))
                to_disk(path.parent)


def finish_files(path: Path) -> None:
    """Put files in their places that a killed process had ready."""
    ready = _ready(path)
    try:
        listed = json.loads((ready / _LIST).read_text())
    except FileNotFoundError:
        shutil.rmtree(ready, ignore_errors=True)  # killed once all were in their places
        return
    names = [name for name in listed["files"] if (ready / name).exists()]
    names.sort(key=lambda name: name == path.name)
    if len(names) == len(listed["files"]):  # no new one is in its place yet
        for name in [*reversed(names), *listed["stale"]]:
            path.with_name(name).unlink(missing_ok=True)
        to_disk(path.parent)
    for name in names:
        (ready / name).replace(path.with_name(name))
    to_disk(path.parent)
    shutil.rmtree(ready, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: Path, option: str = "--out") -> Iterator[Path]:
    """Yield a file beside `path`, of the same name, that takes its place once it is complete.

    Raises:
        RaypipeError: it cannot be written; `path` is what it was. `option` is named.
    """
    with writing(path, option), new_files(path) as folder:
        yield folder / path.name


@contextlib.contextmanager
def writing(path: Path, option: str = "--out") -> Iterator[None]:
    """Say in one line that a file cannot be written.

    Raises:
        RaypipeError: it cannot. `option` is named.
    """
    try:
        yield
    except OSError as error:
        why = reason_of(error)
        raise RaypipeError(f"{option}: cannot write {str(path)!r}: {why}") from None


def reason_of(error: OSError) -> str:
    """Return why in one line; HDF5 gives the same number a text of several."""
    return os.strerror(error.errno) if error.errno else " ".join(str(error).split())


def all_to_disk(folder: Path) -> None:
    """Make sure that a folder and all in it survive a power cut."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            to_disk(path)
    to_disk(folder)


def to_disk(path: Path) -> None:
    """Make sure that a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which ends with the process; filesystems without locks do without."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ready(path: Path) -> Path:
    return path.with_name(f"{_READY}{path.name}")


def _remove_left(left: Path) -> None:
    """Remove a folder whose writer is gone."""
    try:
        lock = os.open(left, os.O_RDONLY)
    except OSError:
        return  # another has removed it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = True
    except BlockingIOError:
        gone = False
    except OSError:
        gone = time.time() - os.fstat(lock).st_mtime > _STALE_SECONDS
    if gone:
        shutil.rmtree(left, ignore_errors=True)
    os.close(lock)
