"""Where a job's options come from: command line, environment, file, defaults."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from raypipe.config import JobConfig
from raypipe.config.types import position
from raypipe.errors import UsageError, nearest

__all__ = ["ENVIRONMENT_PREFIX", "parameters", "read_mapping", "resolve"]

ENVIRONMENT_PREFIX = "RAYPIPE_"

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD

Config = TypeVar("Config", bound=JobConfig)


def resolve(
    model: type[Config],
    given: Mapping[str, Any],
    config_file: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Config:
    """Build a job's configuration: given values win over environment, file and defaults.

    Raises:
        UsageError: naming the first option that is missing, unknown or has a wrong value.
    """
    fields = model.model_fields
    from_file = _read_yaml(config_file, fields) if config_file else {}
    from_environment = {
        name: environment[variable]
        for name in fields
        if (variable := ENVIRONMENT_PREFIX + name.upper()) in environment
    }
    try:
        return model.model_validate({**from_file, **from_environment, **given})
    except ValidationError as error:
        raise UsageError(_one_line(error)) from None


def parameters(model: type[JobConfig]) -> list[inspect.Parameter]:
    """Return a job's options as parameters: what Python and the command line make signatures of.

    Those that may be given by position come first; types and defaults are the fields'.
    """
    fields = model.model_fields
    by_place = sorted(fields, key=lambda name: position(fields[name]) or len(fields))
    return [
        inspect.Parameter(
            name,
            _POSITIONAL if position(fields[name]) else inspect.Parameter.KEYWORD_ONLY,
            default=_default(fields[name]),
            annotation=fields[name].annotation,
        )
        for name in by_place
    ]


def _default(info: FieldInfo) -> Any:
    if info.is_required():
        return inspect.Parameter.empty
    return info.default


def read_mapping(
    path: str, option: str, must: str = "hold `option: value` lines"
) -> dict[str, Any]:
    """Return what a YAML file of `name: value` lines holds; nothing if it is empty.

    Args:
        path: the file.
        option: the command line's name for it, for messages.
        must: what such a file has to do, for messages.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UsageError(f"{option}: cannot read {path!r}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        detail = " ".join(str(error).split())
        raise UsageError(f"{option}: cannot read {path!r} as YAML: {detail}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{option}: {path!r} must {must}")
    return content


def _read_yaml(path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    found = read_mapping(path, "--config")
    content = {str(key).replace("-", "_"): value for key, value in found.items()}
    for key in content:
        if key not in fields:
            raise UsageError(f"--config: {path!r} has unknown option {key!r}{nearest(key, fields)}")
    return content


def _one_line(error: ValidationError) -> str:
    """Say which option, what is allowed and what was received, in one line."""
    problems = error.errors(include_url=False)
    first = problems[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    flag = "--" + name.replace("_", "-")
    if first["type"] == "missing":
        return f"{flag} is required (on the command line, in --config, or as {_variable(name)})"
    # A union reports one problem per branch: together they are what is allowed.
    allowed = " or ".join(
        str(problem["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
        for problem in problems
        if problem["loc"][:1] == first["loc"][:1]
    )
    if first["type"] == "extra_forbidden":
        return f"unknown option {flag}"
    return f"{flag} must be {allowed.removeprefix('a valid ')}; got {first['input']!r}"


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()
