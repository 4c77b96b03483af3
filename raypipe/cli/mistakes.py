"""What is wrong with a command line, in one line: what, allowed, received, remedy."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic
from cyclopts import CoercionError, CycloptsError, UnusedCliTokensError, ValidationError

from raypipe.cli.options import flag_of, wrong_value
from raypipe.config import JOBS, JobConfig
from raypipe.config.types import position


def told(error: CycloptsError, arguments: Sequence[str]) -> str:
    """Return what is wrong.

    Args:
        error: what the parser says.
        arguments: the command line.
    """
    name = arguments[0] if arguments else ""
    model = JOBS.get(name)
    line = _of_command(error, name, model, arguments[1:]) if model else None
    if line is not None:
        return line
    known = f"raypipe {name}" if model else "raypipe"
    said = " ".join(str(error).split()).removeprefix(f'Command "{name}" parameter ')
    return f"{said} (see {known} --help)"


def _of_command(
    error: CycloptsError, name: str, model: type[JobConfig], arguments: Sequence[str]
) -> str | None:
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return _unexpected(error.unused_tokens[0], name, model, arguments)
    if not isinstance(error, CoercionError | ValidationError) or error.argument is None:
        return None
    option, tokens = error.argument.field_info.name, error.argument.tokens
    if option not in model.model_fields or not tokens:
        return None
    found = error.__cause__  # the parser asks pydantic as well
    said = (
        [one["msg"] for one in found.errors()]
        if isinstance(found, pydantic.ValidationError)
        else []
    )
    return wrong_value(model.model_fields[option], flag_of(option), tokens[-1].value, said)


def _unexpected(token: str, name: str, model: type[JobConfig], arguments: Sequence[str]) -> str:
    """Return what to do with a text that has no place."""
    fields = model.model_fields
    places = sorted(
        filter(lambda one: position(fields[one]), fields), key=lambda one: position(fields[one])
    )
    taken = ", ".join(map(str.upper, places)) or "no names"
    before = arguments[: arguments.index(token)] if token in arguments else []
    flag = before[-1] if before and before[-1].startswith("--") else ""
    if flag:
        remedy = f"{flag} takes no value"
    elif "out" in fields and "--out" not in arguments:
        remedy = f"for what is written, give --out {token}"
    else:
        remedy = "a name with spaces needs quotes, and several images a folder or --glob"
    return f"unexpected {token!r}: {name} takes {taken}, and options; {remedy}"
