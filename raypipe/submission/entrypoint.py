"""The command to send: parsed and checked here as if it were to run here."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import CycloptsError

from raypipe.cli.command import Given, add_command, new_app
from raypipe.cli.mistakes import told
from raypipe.cli.options import ENVIRONMENT_PREFIX, read_recipe
from raypipe.config import JOBS, RunConfig, SubmitConfig
from raypipe.errors import UsageError

_HERE_ONLY = ("submit",)


@dataclass(frozen=True)
class Command:
    """A command of this project, of checked form.

    Attributes:
        given: what it comes down to.
        arguments: as they were typed.
        environment: variables of this project's that it takes options from.
    """

    given: Given
    arguments: tuple[str, ...]
    environment: dict[str, str]

    @property
    def sent_config(self) -> str | None:
        """Where a `--config` of an absolute path lies in the job's folder; None without one.

        Such a file is one of the machine that sends the job, as /etc/raypipe/extract.yaml.
        """
        file = self.given.config_file
        if file is None or not Path(file).expanduser().is_absolute():
            return None
        return f"raypipe-config/{Path(file).name}"

    @property
    def entrypoint(self) -> str:
        """The shell command that runs it, in the job's folder."""
        words, there = list(self.arguments), self.sent_config
        if there is not None:
            file = self.given.config_file
            written = {file: there, f"--config={file}": f"--config={there}"}
            words = [written.get(word, word) for word in words]
        return shlex.join(["python", "-m", "raypipe", *words])

    def options(self) -> Iterator[tuple[str, str]]:
        """Yield the options with a text, by name, those of a recipe's steps among them."""
        given = self.given
        if given.config_file:
            yield "config", given.config_file
        yield from _texts(given.config.model_dump())
        if isinstance(given.config, RunConfig):
            for change in given.config.set:
                yield from _texts({change.option: change.value})
            for _, options in read_recipe(given.config.recipe)[1]:
                # What a step writes lies below the recipe's own folder.
                yield from _texts({name: v for name, v in options.items() if name != "out"})


def parse(arguments: tuple[str, ...]) -> Command:
    """Return the command that some arguments stand for.

    Raises:
        UsageError: there is none, it is wrong, or it cannot be sent.
    """
    if not arguments:
        raise UsageError(
            "COMMAND: nothing to run; give it after --, as in "
            "`raypipe submit -- extract s3://bucket/photos --out s3://bucket/features`"
        )
    if arguments[0] == "raypipe":
        arguments = arguments[1:]
    of_submit = {ENVIRONMENT_PREFIX + name.upper() for name in SubmitConfig.model_fields}
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT_PREFIX) and name not in of_submit
    }
    found: list[Given] = []

    def note(given: Given) -> int:
        found.append(given)
        return 0

    app = new_app()
    for name, model in JOBS.items():
        if name not in _HERE_ONLY:
            add_command(app, name, model, note, environment)
    try:
        app(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(f"COMMAND: {told(error, arguments)}") from None
    if not found:
        raise UsageError(f"COMMAND: {shlex.join(arguments)!r} runs nothing")
    if getattr(found[0].config, "address", None) is not None:
        raise UsageError("--address: the job's cluster is named in front of --, not behind it")
    return Command(found[0], arguments, environment)


def _texts(options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in options.items():
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                yield name, text
