"""The command line: `raypipe COMMAND …`."""

from __future__ import annotations

import sys

from raypipe import config
from raypipe.cli.command import add_command, execute, new_app


def main() -> None:
    """Run the command line and exit with its status."""
    app = new_app()
    for name, model in config.JOBS.items():
        add_command(app, name, model)
    app.register_install_completion_command()
    sys.exit(execute(app, sys.argv[1:]))
