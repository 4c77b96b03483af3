"""Lines for people, or for programs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

from raypipe.display.escaping import printable

#: What each line has beside its message, if lines are JSON objects; None if they are plain text.
_fields: dict[str, Any] | None = None


def say(message: str, *, complaint_of: str = "", **fields: Any) -> None:
    """Print one line for people; or one for programs, with some further fields.

    What others wrote may be in it: what a terminal would act on is shown, not done.

    Args:
        message: the line.
        complaint_of: the program that something is wrong with; on a terminal, in red, unless
            NO_COLOR is set (no-color.org).
        fields: further ones for programs.
    """
    whole = f"{complaint_of}: {message}" if complaint_of else message
    line = printable(whole)
    if _fields is not None:
        about = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "message": whole}
        line = json.dumps(about | _fields | fields, ensure_ascii=not whole.isprintable())
    elif complaint_of and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        line = f"\x1b[1;31m{printable(complaint_of)}\x1b[0m: {printable(message)}"
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
