"""One contestant's run, measured from outside: launch, trace and end."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.extraction.field import Contestant
from benchmarks.extraction.recipe import Job
from benchmarks.extraction.trace import begins, read_partitions, read_trace, steady_rate

__all__ = ["ROOT", "FailedRunError", "Run", "measure"]

ROOT = Path(__file__).parents[2]
_LIMIT_SECONDS = 3600.0


class FailedRunError(Exception):
    """A contestant did not do its work."""


@dataclass(frozen=True)
class Run:
    """What one run of one contestant took.

    Attributes:
        seconds: from launch to exit.
        images: how many got features.
        steady: images per second in the steady state; None if there are too few images.
        begins: seconds from launch until work began; None if `steady` is.
        first: seconds from launch until the first piece was finished.
        pieces: how many pieces the trace has.
        own: figures that the contestant itself tells.
    """

    seconds: float
    images: int
    steady: float | None
    begins: float | None
    first: float
    pieces: int
    own: dict[str, Any]


def measure(contestant: Contestant, job: Job, folder: Path) -> Run:
    """Run a contestant once, in an empty folder.

    Raises:
        FailedRunError: it failed, or took more than an hour.
    """
    out, log = folder / "out", folder / "log.txt"
    out.mkdir(parents=True)
    job = replace(job, out=str(out), trace=str(folder / "trace.txt"))
    with log.open("wb") as errors, (folder / "stdout.txt").open("wb") as output:
        launched = time.time()
        try:
            done = subprocess.run(
                contestant.start(job),
                stdout=output,
                stderr=errors,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": _python_path()},
                timeout=_LIMIT_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FailedRunError(f"{contestant.name}: {error}") from None
        seconds = time.time() - launched
    if done.returncode:
        raise FailedRunError(f"{contestant.name}: {log.read_text()[-2000:]}")
    is_store = contestant.kind == "raypipe"
    pieces = read_partitions(out, launched) if is_store else read_trace(Path(job.trace), launched)
    rate = steady_rate(pieces, contestant.workers)
    return Run(
        seconds=seconds,
        images=sum(piece.images for piece in pieces),
        steady=rate,
        begins=begins(pieces, contestant.workers, rate) if rate else None,
        first=pieces[0].seconds,
        pieces=len(pieces),
        own=_own(folder) if is_store else {},
    )


def _own(folder: Path) -> dict[str, Any]:
    """Return what raypipe tells of its run, and what its store keeps of how it was computed."""
    told: dict[str, Any] = json.loads((folder / "stdout.txt").read_text())
    told.pop("store", None)  # a folder that is gone when anyone reads this
    kept = json.loads((folder / "out" / "spec.json").read_text())
    return told | {"computed": kept["provenance"]["computed"]}


def _python_path() -> str:
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(ROOT), *([before] if before else [])])
