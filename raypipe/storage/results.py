"""Results of one command, as a folder: the old one whole or the new one whole.

A folder is made beside the one that is there, brought to disk, and exchanged with it in one call of
the filesystem. A marker in it says what it is and of which options.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raypipe.errors import RaypipeError, UsageError
from raypipe.storage.beside import all_to_disk, folder_beside, to_disk

MARKER = ".raypipe.json"
_OLD = ".old-"
_NOW, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
_KEPT = "checkpoint"  # what a fit goes on from; it ends with the result it was for
#: How folders written before there was a marker are known: file that makes it one, kind, files.
_BEFORE = {
    "model.json": (
        "model",
        "model.json arrays.safetensors metrics.json report.txt holdout.csv near_duplicates.csv "
        "reliability.csv confusion.png curves.csv curves.png report.html",
    ),
    "centers.npy": (
        "clusters",
        "clusters.csv clusters.parquet metrics.json centers.npy scaling.npy clusters.png "
        "joined.csv report.html",
    ),
    "spec.json": ("store", ""),
}
#: By these a result is known; those of them that are there are enough for `check_result`.
KNOWN_BY = (MARKER, *_BEFORE, "metrics.json")


def check_result(
    folder: Path, kind: str, origin: Mapping[str, Any], *, replace: bool, place: str = ""
) -> None:
    """Make sure that a folder may take a result: it is new, or has the same one, made again.

    Args:
        folder: where it is to be.
        kind: `model` or `clusters`.
        origin: what it is made of and with.
        replace: whether another one, of either kind, may go.
        place: where the folder's files are from, for messages.

    Raises:
        UsageError: something else is there.
    """
    restore_result(folder)
    place = place or str(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out: {place!r} is a file; give a folder for the {kind}")
    if os.path.ismount(folder):
        raise UsageError(
            f"--out: {place!r} is a mount point, which cannot be replaced as a whole; "
            "give a folder in it"
        )
    there, before, _ = found_result(folder)
    if there is None:
        return
    what = f"a {there}" if there in ("model", "store") else there
    if there not in ("model", "clusters"):
        raise UsageError(f"--out: {place!r} holds {what}; give another folder for {kind}")
    changed = sorted(n for n in origin if n in before and before[n] != _plain(origin[n]))
    if replace or (there == kind and not changed):
        return
    if there == kind:
        what += f" made with another {' and '.join(changed)}"
    raise UsageError(
        f"--out: {place!r} holds {what}; give another folder, or --replace to put the new "
        f"{kind} in its place"
    )


@contextlib.contextmanager
def new_folder(folder: Path, kind: str, origin: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a folder that takes the place of `folder` once it is complete.

    Files that no result put into the old one stay.

    Raises:
        UsageError: nothing can be written there.
        RaypipeError: the disk is full; the old one is what it was.
    """
    stack = contextlib.ExitStack()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = stack.enter_context(folder_beside(folder))
    except OSError as error:
        raise UsageError(f"--out: cannot write to {str(folder)!r}: {error.strerror}") from None
    try:
        yield beside
        files = sorted(path.name for path in beside.iterdir())
        mark = json.dumps(marker(kind, origin, files), indent=1)
        (beside / MARKER).write_text(mark + "\n")
        _take_along(folder, beside)
        all_to_disk(beside)
        _put_in_place(beside, folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        raise RaypipeError(f"--out: cannot write {str(folder)!r}: {error.strerror}") from None
    finally:
        stack.close()


def marker(kind: str, origin: Mapping[str, Any], files: list[str]) -> dict[str, Any]:
    """Return what the marker of a result says."""
    return {"kind": kind, "origin": _plain(dict(origin)), "files": [*files, MARKER]}


def restore_result(folder: Path) -> None:
    """Bring back the folder that was put aside by a process that was killed right then."""
    aside = folder.with_name(f"{_OLD}{folder.name}")
    if aside.is_dir():
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(folder)


def _put_in_place(new: Path, folder: Path) -> None:
    """Exchange two folders, or rename the new one where there is none; the old one ends as `new`.

    Network drives cannot exchange; there the old one is put aside, from where `restore_result`
    takes it should the process be killed between two renames.
    """
    if not folder.exists():
        new.rename(folder)
    elif not _exchanged(new, folder):
        aside = folder.with_name(f"{_OLD}{folder.name}")
        folder.rename(aside)
        new.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    to_disk(folder.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return False where system or filesystem cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if not call(_NOW, os.fsencode(one), _NOW, os.fsencode(other), _EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def found_result(folder: Path) -> tuple[str | None, dict[str, Any], list[str]]:
    """Return the kind of a folder's result, its origin and its files; None for nothing there."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        mark = json.loads((folder / MARKER).read_text())
        return str(mark["kind"]), dict(mark["origin"]), list(mark["files"])
    for name, (kind, files) in _BEFORE.items():
        if (folder / name).exists():
            origin = {}
            with contextlib.suppress(OSError, ValueError):
                origin = dict(json.loads((folder / "metrics.json").read_text()))
            heads = {n: origin[n] for n in ("head", "distance") if n in origin}
            return kind, heads, files.split()
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    foreign = [name for name in names if name != _KEPT and not name.startswith(".")]
    return ("other files" if foreign else None), {}, []


def _take_along(old: Path, new: Path) -> None:
    """Link what is not of the old result into the new one."""
    _, _, files = found_result(old)
    for path in old.iterdir() if old.is_dir() else ():
        if path.name in files or path.name == _KEPT or (new / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True, copy_function=_link)
        else:
            _link(path, new / path.name)


def _link(file: str | Path, new: str | Path) -> None:
    """Give a file a second name, or copy it where that cannot be done."""
    try:
        os.link(file, new, follow_symlinks=False)
    except OSError:
        shutil.copy2(file, new, follow_symlinks=False)


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back."""
    return json.loads(json.dumps(value, default=str))
