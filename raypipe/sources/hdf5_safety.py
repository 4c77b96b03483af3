"""HDF5 files that would hang this process, or end it: found before it opens them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

from raypipe.errors import RaypipeError

#: What a file may take without getting on, of a disk that is slow and shared.
SECONDS = 50.0
_WALK = Path(__file__).with_name("hdf5_walk.py")
_REMEDY = "replace it by a copy, or write it again (h5dump shows what can still be read)"


def check_hdf5(path: str, seconds: float = SECONDS) -> None:
    """Go through a file in a process apart: on damaged ones, HDF5's library can loop for ever.

    What it raises is left to who opens the file.

    Raises:
        RaypipeError: that takes longer than `seconds` without getting on, or the process dies.
    """
    # Not -m, nor with this folder on the path: its modules have names of their own.
    arguments = [sys.executable, "-P", str(_WALK), path]
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=nowhere) as process:
        try:
            problem = _problem(process, seconds)
        finally:
            process.kill()
    if problem:
        raise RaypipeError(f"SOURCE: {path!r} is damaged: {problem}; {_REMEDY}")


def _problem(process: subprocess.Popen[bytes], seconds: float) -> str:
    """Follow a process to its end; say what is wrong if it stalls or is killed."""
    said = process.stdout
    if said is None:
        return ""
    while select.select([said], [], [], seconds)[0]:
        if not os.read(said.fileno(), 4096):
            return "it ends the process that reads it" if process.wait() < 0 else ""
    return f"HDF5 does not get on with it in {seconds:g} s"
