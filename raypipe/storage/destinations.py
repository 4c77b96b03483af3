"""Places of results, checked before the work for them is done."""

from __future__ import annotations

import tempfile
from pathlib import Path

from raypipe.errors import UsageError
from raypipe.storage.folder_kinds import check_not_within
from raypipe.storage.paths import local_path


def output_folder(path: str) -> Path:
    """Create a folder for results.

    Raises:
        UsageError: it cannot be written to, or lies inside another result.
    """
    folder = local_path(path, "--out")
    check_not_within(str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _probe(folder)
    except OSError as error:
        raise UsageError(f"--out: cannot write to {str(folder)!r}: {error.strerror}") from None
    return folder


def output_file(path: str, *suffixes: str) -> Path:
    """Make sure that a file can be written. It may lie in a result's folder, beside its files.

    Args:
        path: of the file.
        suffixes: one of which its name has to have; any will do if there are none.

    Raises:
        UsageError: it cannot, lies in a folder inside a result, or has another suffix.
    """
    if suffixes and Path(path).suffix not in suffixes:
        raise UsageError(f"--out must end in {' or '.join(suffixes)}; got {path!r}")
    file = local_path(path, "--out")
    folder = file.parent
    if file.is_dir():
        raise UsageError(f"--out: {str(file)!r} is a folder; give a file")
    if not folder.is_dir():
        raise UsageError(f"--out: no folder {str(folder)!r}; make it, or give another --out")
    check_not_within(str(folder))
    try:
        _probe(folder)
    except OSError as error:
        raise UsageError(f"--out: cannot write to {str(folder)!r}: {error.strerror}") from None
    return file


def _probe(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder):
        pass
