"""Running a flow to its end, and what is said if it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import ray
import ray.data

from raypipe.errors import RaypipeError

__all__ = ["ProcessDiedError", "first_cause", "retry_limits", "stream"]

_RETRIES = 3
_KEPT = "finished partitions are kept, and the same command goes on from them"
_NEVER_BEGAN = "error raised in its creation task"
_DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
)
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


class ProcessDiedError(RaypipeError):
    """A process was killed, or crashed, as often as it was started again."""


def retry_limits(*, hasty: bool = False) -> dict[str, Any]:
    """Bound the retries of actors; by default, Ray retries a crashing actor task for ever."""
    retries = 0 if hasty else _RETRIES
    return {"max_restarts": retries, "max_task_retries": retries}


def stream(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    """Run a flow; yield its output blocks as they are finished.

    Raises:
        ProcessDiedError: a process died, and again when it was repeated.
        RaypipeError: a step failed for good; the message is that of the first cause.
    """
    try:
        for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            if len(block):
                yield block
    except _DEATHS as error:
        if _NEVER_BEGAN in str(error):  # no image is to blame
            raise RaypipeError(f"the flow failed: {first_cause(error)}; {_KEPT}") from error
        raise ProcessDiedError(
            f"the flow failed: a process died again and again; {_KEPT}"
        ) from error
    except ray.exceptions.RayError as error:
        raise RaypipeError(f"the flow failed: {first_cause(error)}; {_KEPT}") from error


def first_cause(error: Exception) -> str:
    """Return the line that matters of an error that Ray has wrapped, tracebacks and all."""
    text = _COLOUR.sub("", str(error)).strip()
    first, marker, _ = text.partition("\nThe above exception was the direct cause")
    lines = [line for line in first.splitlines() if line.strip()]
    last = marker or _NEVER_BEGAN in first
    return lines[-1 if last else 0].strip() if lines else type(error).__name__
