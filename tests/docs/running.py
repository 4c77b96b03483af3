"""Runs blocks as a reader would, but for the process: commands run within that of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from raypipe import config
from raypipe.cli.command import Given, add_command, execute, new_app
from raypipe.cli.options import resolve
from tests.docs.blocks import Block, is_raypipe, variables, without_variables
from tests.docs.unrun import NOT_CODE, why_not, why_not_python

_FLOW = {
    "RAYPIPE_ACTORS": "1",  # each one imports torch, which is most of what a small run takes
    "RAYPIPE_BATCH_SIZE": "4",
}
_NETWORK = {"RAYPIPE_SIZE": "64", "RAYPIPE_PRECISION": "fp32"}
#: What makes commands small where they leave it open.
SMALL = {
    "extract": _FLOW | _NETWORK,
    "predict": _FLOW,
}


def small_resolve(model: Any, given: Any, environment: Mapping[str, str], function: str) -> Any:
    """Resolve the options of a function of the Python API, those left open as a small run's."""
    name = next(name for name, job in config.JOBS.items() if job is model)
    small = {**environment, **SMALL.get(name, {})}
    return resolve(model, given, environment=small, function=function)


class Page:
    """A page's folder and the names its blocks of Python share."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__page__"}
        self._patch = monkeypatch
        self._unused: dict[str, str] = {}

    def run(self, block: Block) -> None:
        """Run a block, or do nothing if it is listed as one that is not run."""
        if block.language == "sh":
            for command in block.commands:
                if why_not(command) is None:
                    started = time.monotonic()
                    self._command(command, block)
                    print(f"{block}: {time.monotonic() - started:.1f} s: {command}")
        elif block.language == "python":
            if why_not_python(block) is None:
                started = time.monotonic()
                self._python(block)
                print(f"{block}: {time.monotonic() - started:.1f} s")
        elif block.language == "yaml":
            self._file(block)
            assert isinstance(yaml.safe_load(block.text), dict)
        else:
            assert block.language in NOT_CODE, f"{block}: what is {block.language!r}?"
            assert not re.search(r"^raypipe \w+ [^[A-Z]", block.text, re.M), f"{block}: use `sh`"

    def close(self) -> None:
        """Make sure that files of options were used."""
        assert not self._unused, f"no command uses {self._unused}"

    def _file(self, block: Block) -> None:
        assert block.file, f"{block}: the first line has to name a file"
        (self.folder / block.file).write_text(block.text)
        if block.language == "yaml":
            self._unused[block.file] = str(block)

    def _python(self, block: Block) -> None:
        if block.file:
            self._file(block)
        exec(compile(block.text, str(block), "exec"), self.names)

    def _command(self, command: str, block: Block) -> None:
        for file in [file for file in self._unused if file in command.split()]:
            del self._unused[file]
        if command.startswith("export "):
            for name, value in (word.split("=", 1) for word in _words(command[7:])):
                self._patch.setenv(name, value)
        elif is_raypipe(command):
            status = run_raypipe(_words(without_variables(command))[1:], variables(command))
            assert status == 0, f"{block}: {command}"
        else:
            subprocess.run(["bash", "-e", "-c", command], check=True, cwd=self.folder)


def run_raypipe(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run a command of this project in this process; return its exit status."""
    name = arguments[0]
    app = new_app()
    for job, model in config.JOBS.items():
        around = {**SMALL.get(name, {}), **os.environ, **environment}
        add_command(app, job, model, environment=around)
    with pytest.MonkeyPatch.context() as patch:
        if name == "run":  # which has the options of other jobs
            for variable, value in (_NETWORK | {"RAYPIPE_BATCH_SIZE": "4"}).items():
                patch.setenv(variable, value)
        return execute(app, arguments)


def parsed(arguments: list[str]) -> Given:
    """Return what the parser of the command line makes of a command.

    Raises:
        CycloptsError: it has no such option, or takes no such value.
        UsageError: an option is missing, or has a wrong value.
    """
    app = new_app()
    found: list[Given] = []

    def note(given: Given) -> int:
        found.append(given)
        return 0

    for job, model in config.JOBS.items():
        add_command(app, job, model, note, environment={})
    app(arguments, exit_on_error=False, print_error=False)
    inner = getattr(found[0].config, "command", ())
    return parsed(list(inner)) if inner else found[0]


def _words(command: str) -> list[str]:
    """Return the words of a command as bash sees them."""
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")[:-1]


def forget(folder: Path) -> None:
    """Forget modules that were imported from a page's folder."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
