"""Images that end the process that decodes them: found by the notes that it leaves, no Ray.

Before a process decodes an image it notes which, in a file of its own in the node's temporary
folder, and holds a lock on that as long as it lives. A file without a lock is what a dead process
has left: it says which image was being decoded. Whoever is given the image again looks there first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from raypipe.errors import RejectedItem, RejectReason
from raypipe.images.clock import RUNNING, Clock, too_large, too_slow
from raypipe.images.need import BUDGET

T = TypeVar("T")

#: How often a process has to die of an image that nothing else is known of.
TIMES = 3
_IDLE, _DECODING, _TOO_SLOW, _TOO_LARGE = range(4)
_DEAD = "dead-"
_OLD_SECONDS = 30 * 86400.0


@dataclass(frozen=True)
class Limits:
    """What one image may take.

    Attributes:
        run: name of the run, whose processes share their notes.
        seconds: an image may take to decode.
    """

    run: str
    seconds: float


class Guard:
    """Decodes images of a run in this process, and remembers what earlier processes died of.

    Args:
        limits: what an image may take.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.folder = notes_folder(limits.run)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_old(self.folder.parent)
        self._file = os.open(self.folder / uuid.uuid4().hex, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._note(_IDLE)
        self._read = set[str]()
        self._deaths = defaultdict[str, list[tuple[int, int]]](list)
        self.clock = Clock(limits.seconds, BUDGET, self._over)
        RUNNING[:] = [self.clock]

    def look(self) -> None:
        """Find out what has been left since the last time."""
        for path in self.folder.iterdir():
            dead = path if path.name.startswith(_DEAD) else self._buried(path)
            if dead is not None and dead.name not in self._read:
                self._read.add(dead.name)
                state, grown, uri = _parsed(dead.read_bytes())
                if state != _IDLE:
                    self._deaths[uri].append((state, grown))

    def __call__(self, uri: str, decode: Callable[[], T]) -> T | RejectedItem:
        """Decode an image, or say why that is not tried again."""
        if reject := self.blame(uri):
            return reject
        self._note(_DECODING, uri=uri)
        self.clock.start()
        try:
            return decode()
        finally:
            self.clock.stop()
            os.pwrite(self._file, b"\0", 0)

    def blame(self, uri: str) -> RejectedItem | None:
        """Return why an image is not decoded again, if it is to blame for a death."""
        deaths = self._deaths.get(uri, [])
        states = {state for state, _ in deaths}
        grown = max((grown for _, grown in deaths), default=0)
        if _TOO_LARGE in states:
            return too_large(BUDGET, grown)
        if _TOO_SLOW in states:
            return too_slow(self.limits.seconds)
        if len(deaths) >= TIMES:
            message = f"its process died {len(deaths)} times decoding {uri}"
            return RejectedItem(RejectReason.CRASHED, message)
        return None

    def _over(self, is_memory: bool, grown: int) -> None:
        """Leave a note and end the process: nothing else stops a decoder."""
        state = _TOO_LARGE if is_memory else _TOO_SLOW
        os.pwrite(self._file, bytes([state]) + grown.to_bytes(8, "little"), 0)
        os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, state: int, uri: str = "") -> None:
        text = uri.encode("utf-8", "surrogatepass")
        head = bytes([state]) + bytes(8) + len(text).to_bytes(4, "little")
        os.pwrite(self._file, head + text, 0)

    def _buried(self, path: Path) -> Path | None:
        """Give a dead process's note a name that says so; None if its process lives."""
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # another one has
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return path.rename(path.with_name(_DEAD + path.name))
        except (BlockingIOError, FileNotFoundError):
            return None
        finally:
            os.close(file)


def notes_folder(run: str) -> Path:
    """Return where processes of a run leave their notes, on this node."""
    return Path(tempfile.gettempdir()) / f"raypipe-{os.getuid()}-notes" / run


def forget(run: str) -> None:
    """Remove the notes of a run that is over, on this node."""
    shutil.rmtree(notes_folder(run), ignore_errors=True)


def _forget_old(folder: Path) -> None:
    """Remove what runs have left that were not over when they ended, or were on another node."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _OLD_SECONDS:
                forget(path.name)


@lru_cache(maxsize=1)
def guard_of(limits: Limits) -> Guard:
    """Return this process's guard for a run."""
    return Guard(limits)


def _parsed(note: bytes) -> tuple[int, int, str]:
    state, grown = note[0], int.from_bytes(note[1:9], "little")
    length = int.from_bytes(note[9:13], "little")
    return state, grown, note[13 : 13 + length].decode("utf-8", "surrogatepass")
