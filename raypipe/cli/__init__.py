"""The command line: `raypipe COMMAND …`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    from raypipe.cli.endings import listen, status_of

    # Threads of libgomp (torch's, scikit-learn's) that wait for each other run at full speed for
    # milliseconds, 300,000 turns, and take that from whatever else runs. These are about 10 µs.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        listen()
        from raypipe.cli.app import main as run

        run()
    except KeyboardInterrupt as interrupt:  # before the command has begun, or after its end
        sys.stderr.write("raypipe: interrupted\n")
        sys.exit(status_of(interrupt))
