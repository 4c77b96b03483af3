"""A job's command line, made from its configuration model."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter
from pydantic.fields import FieldInfo

from raypipe.cli import signals
from raypipe.cli.endings import explain, flush_outputs, quiet
from raypipe.cli.help import ALL, SHORT, is_wanted, short_help
from raypipe.cli.mistakes import told
from raypipe.cli.next_step import last_line
from raypipe.cli.options import parameters, resolve
from raypipe.config import JOB_HEADINGS, JOBS, JobConfig
from raypipe.config.allowed import plain
from raypipe.config.examples import EXAMPLES, FIRST_STEPS
from raypipe.config.types import replaced_by
from raypipe.display import printable, say, say_as_json
from raypipe.errors import RaypipeError

_INTERNAL_ERROR = 1
_WRONG_USE = 2
_TRACEBACK_VARIABLE = "RAYPIPE_TRACEBACK"
#: What options are listed under, in this order.
HEADINGS = (
    "Input",
    "Store",
    "Output",
    "Backbone",
    "Preprocessing",
    "Augmentation",
    "Model",
    "Perceptron",
    "Evaluation",
    "Estimate",
    "Ray",
    "Command",
)
_GROUPS = {name: Group(name, sort_key=rank) for rank, name in enumerate(HEADINGS)}
_COMMANDS = {name: Group(name, sort_key=rank) for rank, name in enumerate(JOB_HEADINGS)}


@dataclass(frozen=True)
class Outcome:
    """What a job has to say: a summary for machines, and text for people.

    `value` is for callers in Python. `exit_code` is not 0 where a job ends well and tells of
    something that has not, as `submit` does of the job it follows.
    """

    summary: dict[str, Any]
    text: str
    value: Any = field(default=None, repr=False)
    exit_code: int = 0


@dataclass(frozen=True)
class Given:
    """A command as it was given: the job's name and options, and the options of all commands."""

    name: str
    config: JobConfig
    config_file: str | None
    as_json: bool


def call(given: Given) -> int:
    """Run a job and print what it has to say; return the exit status."""
    if getattr(given.config, "log", "text") == "json":
        say_as_json(command=given.name)
    started = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result alone
        outcome: Outcome = import_module(f"raypipe.jobs.{given.name}").run(given.config)
    if text := json.dumps(outcome.summary) if given.as_json else outcome.text:
        _print(printable(text, keep="\n\t"))
    taken = time.monotonic() - started
    if not given.as_json and (line := last_line(given.name, given.config, outcome, taken)):
        say(line)
    return outcome.exit_code


def _print(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:  # of `| head`: its reader has had enough
        quiet(sys.stdout)


def add_command(
    app: App,
    name: str,
    model: type[JobConfig],
    call: Callable[[Given], int] = call,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Add a job to an application.

    Args:
        app: the application.
        name: the job's.
        model: the job's options.
        call: what to do with them; by default, run the job, whose module is imported then.
        environment: where options may come from as well.
    """

    def command(*args: Any, **given: Any) -> int:
        given |= dict(zip(positional, args, strict=False))
        config_file, as_json = given.pop("config", None), given.pop("json", False)
        if given.pop("debug", False):
            os.environ[_TRACEBACK_VARIABLE] = "1"
        return call(
            Given(name, resolve(model, given, config_file, environment), config_file, as_json)
        )

    own = [_described(one, model.model_fields[one.name]) for one in parameters(model)]
    every = [*own, *_common_parameters()]
    positional = [p.name for p in own if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    command.__doc__ = model.__doc__
    command.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in every}
    app.command(
        command, name=name, help_epilogue=_examples("Examples", EXAMPLES[name]), **_place(name)
    )


def _place(name: str) -> dict[str, Any]:
    """Return where a job is listed in the help of all."""
    heading, jobs = next(entry for entry in JOB_HEADINGS.items() if name in entry[1])
    return {"group": _COMMANDS[heading], "sort_key": jobs.index(name)}


def _examples(heading: str, commands: tuple[str, ...]) -> str:
    lines = "\n".join(commands)
    return f"{heading}:\n```\n{lines}\n```"


def execute(app: App, arguments: list[str]) -> int:
    """Run an application; return the exit status and print errors as one line."""
    name = " ".join(["raypipe", *arguments[:1]]) if arguments else "raypipe"
    status = _executed(app, arguments, name)
    failed = flush_outputs()
    if failed is not None and not status:
        say(explain(failed), complaint_of=name)
        return _INTERNAL_ERROR
    return status


def _executed(app: App, arguments: list[str], name: str) -> int:
    try:
        if arguments and (model := JOBS.get(arguments[0])) and is_wanted(arguments):
            _print(short_help(arguments[0], model))
            return 0
        return int(app(arguments, exit_on_error=False, print_error=False) or 0)
    except CycloptsError as error:
        say(told(error, arguments), complaint_of=name)
        return _WRONG_USE
    except KeyboardInterrupt:
        return _interrupted(name)
    except Exception as error:
        if signals.have_come():  # a library has made an error of its own of it, as pydantic does
            return _interrupted(name)
        if os.environ.get(_TRACEBACK_VARIABLE):
            raise
        if isinstance(error, RaypipeError):
            say(str(error), complaint_of=name)
            return error.exit_code
        say(explain(error), complaint_of=name)  # no part has taken it for a user's mistake
        return _INTERNAL_ERROR


def _interrupted(name: str) -> int:
    say(
        f"{name}: interrupted; what is stored is kept, and the same command goes on from "
        "there (train and cluster with --resume)"
    )
    return signals.status()


def one_line(error: Exception) -> str:
    """Return an error's text as one line."""
    return " ".join(str(error).split())


def run_job(name: str, model: type[JobConfig]) -> None:
    """Run one job as `python -m raypipe.jobs.<name>` does, and exit."""
    signals.listen()
    app = new_app()
    add_command(app, name, model)
    sys.exit(execute(app, [name, *sys.argv[1:]]))


def new_app() -> App:
    """Return an application without commands."""
    return App(
        name="raypipe",
        help="Turn images into features, keep them, and fit models on them.",
        help_flags=(*SHORT, ALL),
        help_epilogue=_examples("First steps", FIRST_STEPS),
        group_commands=Group("Command", sort_key=len(_COMMANDS)),
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # `execute` says what became of the work
    )


def _described(parameter: inspect.Parameter, info: FieldInfo) -> inspect.Parameter:
    """Return an option's parameter with what the help says of it."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    text = " ".join((info.description or "").split())
    # Nothing is required here: an option may also come from the file or the environment.
    help_text = f"{text} [required]" if info.is_required() else text
    default = None if info.is_required() else parameter.default
    is_flag = info.annotation is bool
    is_text = not any(kind in (bool, tuple) for kind in plain(info.annotation))
    shown = not is_flag and default not in (None, ())
    optional: Any = parameter.annotation | None
    annotation = Annotated[
        optional,
        Parameter(
            help=help_text,
            show=not replaced_by(info),
            group=_GROUPS[str(extra["group"])],
            show_default=(lambda value: _text(value)) if shown else False,
            negative="" if is_flag or "tuple" in str(info.annotation) else None,
            converter=_as_given if is_text else None,  # which would take 1.5 for 2
        ),
    ]
    return parameter.replace(default=default, annotation=annotation)


def _as_given(_type: Any, tokens: Any) -> str:
    return str(tokens[0].value)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _common_parameters() -> list[inspect.Parameter]:
    group = _GROUPS["Command"]
    config = Annotated[
        str | None,
        Parameter(help="YAML file with these options; the command line wins.", group=group),
    ]
    as_json = Annotated[
        bool,
        Parameter(
            name="--json",
            help="Print one JSON object on standard output, everything else on standard error.",
            group=group,
            negative="",
            show_default=False,
        ),
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    debug = Annotated[
        bool,
        Parameter(
            help="Show where in the code an error came from.",
            group=group,
            negative="",
            show_default=False,
        ),
    ]
    return [
        inspect.Parameter("config", keyword, default=None, annotation=config),
        inspect.Parameter("json", keyword, default=False, annotation=as_json),
        inspect.Parameter("debug", keyword, default=False, annotation=debug),
    ]
