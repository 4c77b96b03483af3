"""What a killed fit goes on from."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.errors import UsageError
from raypipe.spec import digest

#: Where a job keeps it, below its --out.
FOLDER = "checkpoint"

Arrays = dict[str, npt.NDArray[Any]]

_PROBLEM_FILE = "fit.json"
_STATE_FILE = "state.npz"
_LOG_FILE = "log.bin"
#: Below it, for states that are files: the newest, the one before, and one that is not yet whole.
FILES_FOLDER = "run"
_LAST, _BEFORE, _NEW = "last", "before", ".new"
_HEADER = 12  # length and checksum
_NAME = "_question"


class Checkpoint:
    """The state of a fit, and what has been computed since.

    An estimator on the driver is a deterministic program that now and then asks the shards for
    something expensive. So it is enough to keep its state of some moment and the answers since:
    run again from that state, it asks the same questions, gets the recorded answers, and comes to
    where it was, with the same bits.

    Args:
        folder: where it is kept; None keeps nothing.
        problem: what is fitted on what: text and numbers by name.
        resume: go on from what is in the folder, if there is something; otherwise it is removed.

    Raises:
        UsageError: what is in the folder is of another problem.
    """

    def __init__(self, folder: Path | None, problem: dict[str, Any], *, resume: bool) -> None:
        self.folder = folder
        self.state: Arrays | None = None
        self._answers: list[tuple[str, Arrays, int]] = []
        self._followed = 0  # bytes of the log that this run has come by
        self.resumed = False
        if folder is None:
            return
        if resume and is_checkpoint(folder):
            _check_same(json.loads((folder / _PROBLEM_FILE).read_text()), problem)
            self._load(folder)
            return
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--out: {folder} is in the way of a folder; remove it")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        temporary = folder / f".{_PROBLEM_FILE}"
        temporary.write_text(json.dumps(problem, indent=1) + "\n")
        temporary.replace(folder / _PROBLEM_FILE)

    def save(self, state: Arrays) -> None:
        """Keep a state, and forget the answers before it."""
        self.state = state
        self._answers, self._followed = [], 0
        if self.folder is None:
            return
        temporary = self.folder / f".{_STATE_FILE}"
        with temporary.open("wb") as file:
            np.savez(file, **state)  # type: ignore[arg-type]
        # The log goes first: answers from before a state do not belong behind it.
        (self.folder / _LOG_FILE).unlink(missing_ok=True)
        temporary.replace(self.folder / _STATE_FILE)

    @property
    def files(self) -> Path | None:
        """The folder that `save_files` filled last; None if there is none."""
        kept = [self.folder / FILES_FOLDER / name for name in (_LAST, _BEFORE) if self.folder]
        return next(filter(Path.exists, kept), None)

    def save_files(self, write: Callable[[Path], None]) -> None:
        """Keep what `write` puts into a folder; at any moment there is a whole one."""
        if self.folder is None:
            return
        new, last, before = (self.folder / FILES_FOLDER / name for name in (_NEW, _LAST, _BEFORE))
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        write(new)
        if last.exists():
            shutil.rmtree(before, ignore_errors=True)
            last.rename(before)
        new.rename(last)

    def answer(self, question: bytes, compute: Callable[[], Arrays]) -> Arrays:
        """Return the recorded answer to a question, or compute and record it."""
        name = digest(question)
        if self._answers:
            recorded, answer, end = self._answers.pop(0)
            if recorded == name:
                self._followed = end
                return answer
            # Another machine's rounding: the rest does not belong to this run.
            self._answers = []
            if self.folder is not None:
                os.truncate(self.folder / _LOG_FILE, self._followed)
        answer = compute()
        if self.folder is not None:
            with (self.folder / _LOG_FILE).open("ab") as file:
                file.write(_pack(name, answer))
        return answer

    def remove(self) -> None:
        """Remove everything: the fit is finished."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self, folder: Path) -> None:
        with contextlib.suppress(FileNotFoundError), np.load(folder / _STATE_FILE) as state:
            self.state = dict(state)
        log = folder / _LOG_FILE
        if log.exists():
            self._answers = _unpack(log.read_bytes())
            os.truncate(log, self._answers[-1][2] if self._answers else 0)
        self.resumed = self.state is not None or bool(self._answers)


def is_checkpoint(folder: Path) -> bool:
    """Whether a fit was stopped that kept its state there."""
    return (folder / _PROBLEM_FILE).is_file()


def _pack(name: str, answer: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{_NAME: np.array(name)}, **answer)  # type: ignore[arg-type]
    content = buffer.getvalue()
    return len(content).to_bytes(8, "little") + zlib.crc32(content).to_bytes(4, "little") + content


def _unpack(data: bytes) -> list[tuple[str, Arrays, int]]:
    """Return the whole records, and where each ends: the last one may have been cut off."""
    found, start = [], 0
    while start + _HEADER <= len(data):
        length = int.from_bytes(data[start : start + 8], "little")
        check = int.from_bytes(data[start + 8 : start + _HEADER], "little")
        content = data[start + _HEADER : start + _HEADER + length]
        if len(content) < length or zlib.crc32(content) != check:
            break
        with np.load(io.BytesIO(content)) as record:
            answer = dict(record)
        start += _HEADER + length
        found.append((str(answer.pop(_NAME)), answer, start))
    return found


def _check_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    other = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if other:
        changes = "; ".join(f"{n}: {before.get(n)} → {now.get(n)}" for n in other)
        raise UsageError(
            f"--resume: the unfinished fit in --out is another one ({changes}); "
            "leave out --resume to start anew"
        )
