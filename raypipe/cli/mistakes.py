"""What is wrong with a command line, in one line: what, allowed, received, remedy."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pydantic
from cyclopts import (
    CoercionError,
    CycloptsError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from raypipe.cli.options import flag_of, wrong_value
from raypipe.config import JOBS, JobConfig
from raypipe.config.types import position

#: Options of all commands.
_EVERYWHERE = ("config", "json", "debug", "help", "help-all")
#: How like a suggested option is, at least; `--partition-size` and `--split-sizes` have 0.64.
_CLOSE = 0.75
#: Letters of a shortened or lengthened name, at least: `--output` for `--out`.
_STEM = 3


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
    if isinstance(error, UnknownOptionError):
        return _unknown(error.token.keyword or error.token.value, name, model)
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


def _unknown(flag: str, name: str, model: type[JobConfig]) -> str:
    """Return that there is no such option; names that merely share an ending are not suggested."""
    flag = flag.partition("=")[0]
    given = flag.lstrip("-")
    known = [*(flag_of(field)[2:] for field in model.model_fields), *_EVERYWHERE]
    close = difflib.get_close_matches(given, known, n=1, cutoff=_CLOSE)
    close += [
        one
        for one in known
        if (one.startswith(given) or given.startswith(one)) and min(len(one), len(given)) >= _STEM
    ]
    meant = f" Did you mean --{close[0]}?" if close else ""
    return f"Unknown option: {flag}.{meant} (see raypipe {name} --help)"


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
