"""A process that reads and decodes images for another one, which survives it; without torch.

`apart.Decoder` starts it, and it ends with that. An image may end it, too.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import pyarrow as pa

from raypipe.errors import RaypipeError, RejectedItem
from raypipe.steps.batch import ReadOptions
from raypipe.steps.cost import Cost, Timer
from raypipe.steps.read import Fetch, images

#: What goes back for an item: width and height, after which its RGB pixels follow, or reason and
#: message of a reject. After the last one comes what all took, or the error that has ended it.
Answer = tuple[int, int] | tuple[str, str] | Cost | RaypipeError


@dataclass(frozen=True)
class Task:
    """What is to be decoded.

    Attributes:
        items: a unit's items, as an Arrow stream.
        start: the first row that is wanted.
        options: how they are read.
    """

    items: bytes
    start: int
    options: ReadOptions


def serve(descriptor: int) -> None:
    """Do the tasks that arrive at a socket, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; who started this one ends it
    with Connection(descriptor) as connection, contextlib.suppress(EOFError, ConnectionError):
        while True:
            task: Task = connection.recv()
            try:
                for answer, pixels in _answers(task):
                    connection.send(answer)
                    if pixels is not None:
                        connection.send_bytes(pixels)
            except RaypipeError as error:
                connection.send(error)


def _answers(task: Task) -> Iterator[tuple[Answer, bytes | None]]:
    items = pa.ipc.open_stream(task.items).read_all().slice(task.start)
    fetch, watch = Fetch(), Timer()
    for found in watch.watch(images(items, task.options, fetch)):
        if isinstance(found, RejectedItem):
            yield (found.reason.value, found.message), None
        else:
            yield found.size, found.tobytes()
    waited = fetch.watch.seconds
    took = Cost(read_seconds=waited, decode_seconds=watch.seconds - waited, bytes_read=fetch.bytes)
    yield took, None


if __name__ == "__main__":
    serve(int(sys.argv[1]))
