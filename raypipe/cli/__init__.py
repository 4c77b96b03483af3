"""The command line: `raypipe COMMAND …`."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its status."""
    from raypipe.cli.app import main as run

    run()
