"""Runs commands that cannot work, one after the other, where torch and Ray are not to be imported.

Takes a JSON list of [environment, arguments] and prints one of [status, stdout, stderr].
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from cyclopts import App

from raypipe import config
from raypipe.cli.command import add_command, execute, new_app

HEAVY = ("torch", "ray")


class Refusing:
    """Finds no module of those that take seconds, and says so."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in HEAVY:
            raise AssertionError(f"{name} was imported")
        return None


@cache
def _app() -> App:
    app = new_app()
    for name, model in config.JOBS.items():
        add_command(app, name, model)
    return app


def run(environment: dict[str, str], arguments: list[str]) -> list[Any]:
    """Return what a command ends with, and what it says."""
    out, said, before = io.StringIO(), io.StringIO(), dict(os.environ)
    os.environ.update(environment)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            status = execute(_app(), arguments)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return [status, out.getvalue(), said.getvalue()]


if __name__ == "__main__":
    sys.meta_path.insert(0, Refusing())
    sys.stdout.write(json.dumps([run(*case) for case in json.load(sys.stdin)]))
