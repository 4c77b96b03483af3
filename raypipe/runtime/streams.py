"""Running a flow to its end, and what is said if it fails."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import ray
import ray.data

from raypipe.errors import RaypipeError
from raypipe.runtime.waiting import waiting_told

#: A unit is tried so many times again; a process may hold several images that end it.
_RETRIES, _RESTARTS = 12, 16
_KEPT = "finished partitions are kept, and the same command goes on from them"
_NEVER_BEGAN = "error raised in its creation task"
#: Said of a replica whose node is gone, and which no other has room for, when Ray gives it up.
_NEVER_RAN = "The actor never ran"
_OF_NODE = "node has died"
_DEATHS = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
#: Between the tracebacks of a chain, the first cause first.
_CHAINED = re.compile("\nThe above exception was the direct|\nDuring handling of the above")
_OWN = "raypipe.errors."
_LONGEST = 300
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


class ProcessDiedError(RaypipeError):
    """A process was killed, or crashed, as often as it was started again.

    Attributes:
        with_node: whether its node has died: no image is to blame then.
    """

    def __init__(self, *, with_node: bool) -> None:
        what = "a node has died" if with_node else "a process died again and again"
        super().__init__(f"the flow failed: {what}; {_KEPT}")
        self.with_node = with_node


def retry_limits(*, hasty: bool = False) -> dict[str, Any]:
    """Bound the retries of actors; by default, Ray retries a crashing actor task for ever."""
    restarts, retries = (0, 0) if hasty else (_RESTARTS, _RETRIES)
    return {"max_restarts": restarts, "max_task_retries": retries}


def stream(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    """Run a flow; yield its output blocks as they are finished.

    Raises:
        ProcessDiedError: a process died, and again when it was repeated.
        RaypipeError: a step failed for good; the message is that of the first cause.
    """
    try:
        with waiting_told("the first results") as come:
            for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                come.set()
                if len(block):
                    yield block
    except ray.exceptions.RayError as error:
        if _is_death(error):
            raise ProcessDiedError(with_node=_OF_NODE in str(error)) from error
        raise RaypipeError(f"the flow failed: {first_cause(error)}; {_KEPT}") from error


def _is_death(error: Exception) -> bool:
    """Whether processes died, and not their constructor failed, for which no image is to blame."""
    if isinstance(error, ray.exceptions.RayActorError):
        return not error.actor_init_failed
    text = str(error)  # Ray Data hands some errors on as text in errors of other types
    return (isinstance(error, _DEATHS) or _NEVER_RAN in text) and _NEVER_BEGAN not in text


def first_cause(error: Exception) -> str:
    """Return what an error that Ray has wrapped, tracebacks and all, comes from, in one line.

    That is what raypipe itself said, if it is in the chain, or else the first error of it.
    """
    text = _COLOUR.sub("", str(error)).strip()
    causes = [cause for part in _CHAINED.split(text) if (cause := _raised(part))]
    own = [cause.partition(": ")[2] for cause in causes if cause.startswith(_OWN)]
    if found := [*own[-1:], *causes[:1]]:
        return textwrap.shorten(found[0], _LONGEST, placeholder=" …")
    # Without a traceback, as of Ray's own errors: `ray::f() (pid=1)` says only where it was.
    lines = [line.strip() for line in text.splitlines() if not line.startswith(("ray::", " "))]
    return next(filter(None, lines), type(error).__name__)


def _raised(traceback: str) -> str:
    """Return the error at the end of a traceback, with its message; an empty text if none is."""
    within, found = False, list[str]()
    for line in traceback.splitlines():
        if line.startswith("  File "):
            within, found = True, []
        elif within and not line.startswith(" "):
            within, found = False, [line]
        elif found:
            found.append(line)
    return "\n".join(found)
