"""Lines for people, or for programs."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import UTC, datetime
from typing import Any

#: What each line has beside its message, if lines are JSON objects; None if they are plain text.
_fields: dict[str, Any] | None = None


def say(message: str, **fields: Any) -> None:
    """Print one line for people; or one for programs, with some further fields."""
    line = message
    if _fields is not None:
        about = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "message": message}
        line = json.dumps(about | _fields | fields, ensure_ascii=False)
    with contextlib.suppress(OSError, ValueError):  # closed, full, `2>&1 | head`: work goes on
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def say_as_json(**fields: Any) -> None:
    """From now on, print each line as a JSON object, with these fields."""
    global _fields
    _fields = (_fields or {}) | fields


def says_json() -> bool:
    """Whether lines are JSON objects."""
    return _fields is not None
