"""The command line: `raypipe COMMAND …`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    from raypipe.cli.endings import listen, status_of

    try:
        listen()
        from raypipe.cli.app import main as run

        run()
    except KeyboardInterrupt as interrupt:  # before the command has begun, or after its end
        sys.stderr.write("raypipe: interrupted\n")
        sys.exit(status_of(interrupt))
