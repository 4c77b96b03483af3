"""What Ray says on its own account, of nodes and processes: in a line, and not again and again."""

from __future__ import annotations

import contextlib
import textwrap
import time
from collections.abc import Iterator
from typing import Any

import ray._private.worker

from raypipe.display import say

_OF_MEMORY = "low on memory"
_SHORT_OF_MEMORY = (
    "a node is short of memory: Ray has ended a process, and its work is done again; if that goes "
    "on, give fewer --actors or a smaller --batch-size"
)
_LONGEST = 300
_AGAIN_SECONDS = 10.0


class Messages:
    """Says each of Ray's messages in a line; it takes the place of the function that prints them.

    Ray calls that in a thread of its own, with some lines or 45 of them.
    """

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def __call__(self, data: dict[str, Any], ignore_prefix: bool = False) -> None:  # noqa: ARG002 - Ray's
        """Say it, unless that was done a moment ago."""
        text = "\n".join(data["lines"]).strip()
        line = _SHORT_OF_MEMORY if _OF_MEMORY in text else f"Ray: {text.partition(chr(10))[0]}"
        now = time.monotonic()
        if text and now - self._said.get(line, -_AGAIN_SECONDS) >= _AGAIN_SECONDS:
            self._said[line] = now
            say(textwrap.shorten(line, _LONGEST, placeholder=" …"))


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """Have what Ray says of its nodes and processes in one line, for the length of a block."""
    before = ray._private.worker.print_to_stdstream
    ray._private.worker.print_to_stdstream = Messages()
    try:
        yield
    finally:
        ray._private.worker.print_to_stdstream = before
