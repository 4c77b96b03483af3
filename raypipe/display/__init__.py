"""Progress people can read: a live bar on a terminal, a line now and then in a log.

Everything here goes to standard error: standard output belongs to results.
"""

from __future__ import annotations

from raypipe.display.counting import counted
from raypipe.display.escaping import printable
from raypipe.display.pace import Pace
from raypipe.display.saying import say, say_as_json, says_json
from raypipe.display.tracking import is_progress, track

__all__ = [
    "Pace",
    "counted",
    "is_progress",
    "printable",
    "say",
    "say_as_json",
    "says_json",
    "track",
]
