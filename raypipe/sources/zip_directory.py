"""Completeness of a zip archive's directory."""

from __future__ import annotations

import zipfile
from zipfile import _EndRecData  # type: ignore[attr-defined] # it is there, though not documented

_TOTAL = 4
_WRAPS = 2**16  # without the Zip64 extension, a writer's count of more members begins anew


def check_directory(archive: zipfile.ZipFile) -> None:
    """Make sure that an archive's directory has as many members as its last record says.

    `zipfile` reads as many bytes as that says, and whatever members these happen to hold.

    Raises:
        zipfile.BadZipFile: it has not.
    """
    end = _EndRecData(archive.fp)
    found = len(archive.infolist())
    if end is None or (found - end[_TOTAL]) % _WRAPS:
        named = "no number" if end is None else end[_TOTAL]
        raise zipfile.BadZipFile(f"its directory has {found} members, its last record says {named}")
