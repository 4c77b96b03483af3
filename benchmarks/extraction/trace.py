"""When images were finished: the trace each contestant leaves, and the rates taken from it.

A trace is a list of pieces: `images` were finished together, `seconds` after the launch of the
process. A loop writes a line per batch; raypipe's is read from outside, from the partitions in its
store.

Several workers that finish large pieces in lockstep would mislead a rate taken between two
pieces: whether a twin's piece falls inside or outside is worth a piece, which is 8 % if there are
twelve. So a piece is spread evenly over the time its worker took for it: since the same worker's
last piece or, where the trace does not say whose it is, since as many pieces ago as there are
workers. The sum is a curve of progress without steps, whether workers are in step or not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = [
    "BEGIN",
    "END",
    "Piece",
    "Recorder",
    "begins",
    "read_partitions",
    "read_trace",
    "steady_rate",
]

#: Steady state is between these shares of all images …
BEGIN, END = 0.15, 0.92
#: … and is not told if less than this share lies between them (pieces too large for so few images).
_LEAST = 0.2

_Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Piece:
    """Images finished together: when, how many and, where it is known, by which worker."""

    seconds: float
    images: int
    worker: str = ""


class Recorder:
    """Appends a line per batch to a trace; several processes may write to the same file."""

    def __init__(self, path: str | Path, worker: str = "") -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._worker = worker

    def __call__(self, images: int) -> None:
        """Note that so many more images have their features, now."""
        os.write(self._file, f"{time.time()!r} {images} {self._worker}\n".encode())


def read_trace(path: Path, launched: float) -> list[Piece]:
    """Return what recorders have written, in order of time.

    Args:
        path: the file they wrote to.
        launched: `time.time()` when the process was started.
    """
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    pieces = [Piece(float(when) - launched, int(images), who) for when, images, who in lines]
    return sorted(pieces, key=lambda piece: piece.seconds)


def read_partitions(store: Path, launched: float) -> list[Piece]:
    """Return when a store's partitions were written and how many rows they have."""
    import pyarrow.parquet as pq

    found = [
        Piece(path.stat().st_mtime - launched, pq.read_metadata(path).num_rows)
        for path in (store / "data").glob("part-*.parquet")
    ]
    return sorted(found, key=lambda piece: piece.seconds)


def steady_rate(pieces: Sequence[Piece], workers: int) -> float | None:
    """Return images per second in the steady state; None where there are too few pieces.

    Args:
        pieces: the whole trace, in order of time.
        workers: how many pieces are in the making at a time.

    It lasts from when 15 % of the images (and at least as many pieces as there are workers) are
    finished, to when 92 % are (and before any worker can have run out of work).
    """
    if len(pieces) <= 2 * workers:
        return None
    total = sum(piece.images for piece in pieces)
    spans = _spans(pieces, workers)
    ends = np.unique([span[:2] for span in spans])
    curve = _progress(spans, ends)
    begin = max(float(np.interp(BEGIN * total, curve, ends)), pieces[workers - 1].seconds)
    end = min(float(np.interp(END * total, curve, ends)), pieces[-workers].seconds)
    first, last = _progress(spans, np.array([begin, end]))
    if end <= begin or last - first < _LEAST * total:
        return None
    return float((last - first) / (end - begin))


def begins(pieces: Sequence[Piece], workers: int, rate: float) -> float:
    """Return when work began: the first piece, less what its images take one worker.

    Args:
        pieces: the whole trace, in order of time.
        workers: how many pieces are in the making at a time.
        rate: images per second of all workers.
    """
    first = pieces[0]
    return max(0.0, first.seconds - first.images * workers / rate)


def _spans(pieces: Sequence[Piece], workers: int) -> list[tuple[float, float, int]]:
    """Return from when to when each piece was made; a worker's first piece is a step."""
    last: dict[str, float] = {}
    spans = []
    for number, piece in enumerate(pieces):
        worker = piece.worker or str(number % workers)
        spans.append((last.get(worker, piece.seconds), piece.seconds, piece.images))
        last[worker] = piece.seconds
    return spans


def _progress(spans: list[tuple[float, float, int]], times: _Times) -> _Times:
    """Return how many images are finished at each of some times."""
    done = np.zeros(len(times))
    for begin, end, images in spans:
        share = (times - begin) / (end - begin) if end > begin else np.where(times < end, 0.0, 1.0)
        done += images * share.clip(0, 1)
    return done
