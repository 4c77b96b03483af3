"""HDF5 files that would hang this process, or end it: found before it opens them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: What a file may take without getting on, of a disk that is slow and shared.
SECONDS = 50.0
_WALK = Path(__file__).with_name("hdf5_walk.py")


def stuck_in(paths: Sequence[str], seconds: float = SECONDS) -> tuple[str, str] | None:
    """Go through files in a process apart: on damaged ones, HDF5's library can loop for ever.

    What it raises is left to who opens the file. Read are structure and attributes, arrays of small
    rows, as ids, and one row of the others.

    Args:
        paths: of the files.
        seconds: one may take without getting on.

    Returns:
        The file that the process stopped at, and what it does to it; None if there is none.
    """
    # Not -m, nor with this folder on the path: its modules have names of their own.
    arguments = [sys.executable, "-P", str(_WALK)]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=nowhere) as process:
        try:
            begun, what = _follow(process, "\0".join(paths), seconds)
        finally:
            process.kill()
    return (paths[max(begun - 1, 0)], what) if what else None


def _follow(process: subprocess.Popen[bytes], told: str, seconds: float) -> tuple[int, str]:
    """Follow a process to its end; return how many files it has begun, and what is wrong."""
    said, begun = process.stdout, 0
    if said is None or process.stdin is None:
        return 0, ""
    process.stdin.write(told.encode("utf-8", "surrogateescape"))
    process.stdin.close()
    while select.select([said], [], [], seconds)[0]:
        if not (new := os.read(said.fileno(), 4096)):
            return begun, "it ends the process that reads it" if process.wait() < 0 else ""
        begun += new.count(b"\n")
    return begun, f"HDF5 does not get on with it in {seconds:g} s"
