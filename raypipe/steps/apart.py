"""Decoding in processes apart, which an image may end without ending this one; no Ray.

Pixels are brought to the network's size here: that takes torch, and the other processes start in a
fifth of the time without.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import pyarrow as pa
from PIL import Image

from raypipe import schema
from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.images import Pixels
from raypipe.rows.unit import pack_items
from raypipe.steps.batch import ReadOptions
from raypipe.steps.cost import Cost
from raypipe.steps.decoder_process import Task
from raypipe.steps.guard import Limits, forget
from raypipe.steps.read import Fetch, views_of

#: How often a process may end at one item. `guard` blames an image sooner: if nothing is known by
#: then, it is something else.
_DEATHS = 8
#: Images that wait here for the network.
_AHEAD = 48
_POLL_SECONDS = 0.1

_Found = Pixels | RejectedItem


class Decoder:
    """A process that reads and decodes items, for one caller at a time.

    Attributes:
        is_idle: whether it has done all it was asked to do.
    """

    def __init__(self) -> None:
        here, there = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - what libraries say, which rejects say too
        with there:
            number = there.fileno()
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; "
                f"from raypipe.steps.decoder_process import serve; serve({number})"
            )
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
            )
        self._connection = Connection(here.detach())
        self.is_idle = True

    def results(self, task: Task) -> Iterator[Image.Image | RejectedItem | Cost]:
        """Yield what the process makes of each item, and at last what that took.

        Raises:
            EOFError, ConnectionError: the process has ended.
            RaypipeError: reading cannot go on.
        """
        self.is_idle = False
        self._connection.send(task)
        while not self.is_idle:
            answer = self._connection.recv()
            if isinstance(answer, RaypipeError):
                raise answer
            if isinstance(answer, Cost):
                self.is_idle = True
                yield answer
            elif isinstance(answer[0], str):
                yield RejectedItem(RejectReason(answer[0]), answer[1])
            else:
                yield Image.frombytes("RGB", answer, self._connection.recv_bytes())

    def ending(self) -> str:
        """Return what the process has ended with, once it has closed its end."""
        status = self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()
        return f"status {status}" + (f" ({said.splitlines()[-1]})" if said else "")

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._said.close()


class Decoders:
    """Processes that decode, kept for who needs one next."""

    def __init__(self) -> None:
        self._idle = queue.SimpleQueue[Decoder]()
        atexit.register(self.close)

    def start(self, count: int) -> None:
        """See that so many will be ready soon."""
        for _ in range(self._idle.qsize(), count):
            self._idle.put(Decoder())

    @contextlib.contextmanager
    def one(self) -> Iterator[Decoder]:
        """Have one for the length of a block, alone; it is kept if it has nothing left to do."""
        try:
            found = self._idle.get_nowait()
        except queue.Empty:
            found = Decoder()
        try:
            yield found
        except BaseException:
            found.close()
            raise
        if found.is_idle:
            self._idle.put(found)
        else:
            found.close()

    def close(self) -> None:
        """End those that nobody has."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()


DECODERS = Decoders()


@contextlib.contextmanager
def limited(options: ReadOptions) -> Iterator[ReadOptions]:
    """Give options limits for the length of a block: an image may not take everything."""
    limits = Limits(uuid.uuid4().hex, options.max_seconds)
    try:
        yield replace(options, limits=limits)
    finally:
        forget(limits.run)


@dataclass(frozen=True)
class _Failure:
    error: BaseException


def decoded_apart(
    items: pa.Table, options: ReadOptions, fetch: Fetch | None = None
) -> Iterator[_Found]:
    """Do what `read.decoded` does in a process apart, ahead of the caller.

    Args:
        items: what is to be read.
        options: how; with limits, which find the image that ends a process.
        fetch: told what reading and decoding took.

    Raises:
        RaypipeError: reading cannot go on, or processes die and no image is to blame.
    """
    ready = queue.Queue[_Found | _Failure | None](_AHEAD)
    stopped = threading.Event()

    def hand_on(value: _Found | _Failure | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(value, timeout=_POLL_SECONDS)
                return

    def work() -> None:
        try:
            with contextlib.closing(_all(items, options, fetch or Fetch())) as found:
                for one in found:
                    hand_on(one)
                    if stopped.is_set():
                        return
            hand_on(None)
        except BaseException as error:
            hand_on(_Failure(error))

    worker = threading.Thread(target=work, name="decoded", daemon=True)
    worker.start()
    try:
        while (found := ready.get()) is not None:
            if isinstance(found, _Failure):
                raise found.error
            yield found
    finally:
        stopped.set()
        worker.join()


def _all(items: pa.Table, options: ReadOptions, fetch: Fetch) -> Generator[_Found, None, None]:
    """Yield each item's pixels or reject, whatever some do to the process."""
    names, packed = items[schema.ID].to_pylist(), pack_items(items)
    done = deaths = 0
    while fetch.elsewhere is None:
        with DECODERS.one() as decoder:
            try:
                for found in decoder.results(Task(packed, done, options)):
                    if isinstance(found, Cost):
                        fetch.elsewhere = found
                        continue
                    if isinstance(found, RejectedItem):
                        yield found
                    else:
                        yield views_of(found, names[done], options)
                    done, deaths = done + 1, 0
            except (EOFError, ConnectionError) as error:
                deaths += 1
                if deaths == _DEATHS:
                    raise RaypipeError(
                        f"the process that decodes images ended {deaths} times, at last with "
                        f"{decoder.ending()}; finished partitions are kept, and the same command "
                        "goes on from them"
                    ) from error
