"""The folder in which Ray keeps its logs and sockets: it has to have room before Ray starts."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from raypipe import memory
from raypipe.errors import UsageError

#: Ray that starts without them waits for its own processes for many minutes, without a word.
_LEAST_BYTES = 64 * 2**20
_REMEDY = "free some space there, or set RAY_TMPDIR to a folder on another disk"


def check_ray_folder() -> None:
    """Make sure that a Ray that is started here can write.

    Raises:
        UsageError: its folder cannot be written to, or its disk is full.
    """
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UsageError(
            f"RAY_TMPDIR: Ray cannot keep its logs in {str(folder)!r} ({error.strerror}); {_REMEDY}"
        ) from None
    if free < _LEAST_BYTES:
        raise UsageError(
            f"RAY_TMPDIR: Ray keeps its logs in {str(folder)!r}, where {memory.readable(free)} are "
            f"free of the {memory.readable(_LEAST_BYTES)} it needs to start; {_REMEDY}"
        )
