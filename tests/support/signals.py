"""Signals as a terminal's programs have them, wherever the tests are started from."""

from __future__ import annotations

import signal


def usual_signals() -> None:
    """Undo what `nohup` and a shell's `&` leave to their children; for `preexec_fn`."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
