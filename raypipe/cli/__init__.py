"""The command line: `raypipe COMMAND …`."""

from __future__ import annotations

import os
import sys

from raypipe.cli import signals


def main() -> None:
    """Run the command line and exit with its status."""
    _open_streams()
    try:
        signals.end_at_once()
        # Threads of libgomp (torch's, scikit-learn's) that wait for each other run at full speed
        # for milliseconds, 300,000 turns, and take that from what else runs. These are about 10 µs.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        from raypipe.cli.app import main as run

        signals.listen()
        run()
    except KeyboardInterrupt:  # before the command has begun, or after its end
        sys.stderr.write(signals.INTERRUPTED)
        sys.exit(signals.status())


def _open_streams() -> None:
    """Open those of the three standard streams that the program was started without.

    The next files would have their numbers, and hold what is said. Each takes the lowest one.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, "w" if number else "r")  # noqa: PTH123, SIM115 - for good
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
