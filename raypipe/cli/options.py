"""Sources of a job's options: command line, environment, file, defaults."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from raypipe.config import JobConfig
from raypipe.config.allowed import choices, number, plain
from raypipe.config.types import position, replaced_by
from raypipe.config.values import Value, as_written
from raypipe.display import say
from raypipe.errors import CallError, UsageError, nearest

ENVIRONMENT_PREFIX = "RAYPIPE_"

_RECIPE = "have `steps:`, a list of `job: options`"
_RECIPE_KEYS = ("description", "out", "steps")
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD

#: A recipe's step: the name of its job, and its options.
Step = tuple[str, dict[str, Any]]
Config = TypeVar("Config", bound=JobConfig)


def resolve(
    model: type[Config],
    given: Mapping[str, Any],
    config_file: str | None = None,
    environment: Mapping[str, str] = os.environ,
    function: str = "",
) -> Config:
    """Build a job's configuration: given values win over environment, file and defaults.

    Args:
        model: the job's options.
        given: those that are given.
        config_file: a YAML file with others.
        environment: variables with others.
        function: the function of Python that is called, for messages; none for a command.

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
    everything = {**from_file, **from_environment, **given}
    try:
        config = model.model_validate(everything)
    except ValidationError as error:
        origins = {name: f"--config {config_file}: {name}" for name in from_file}
        origins |= {name: _variable(name) for name in from_environment}
        for name in given:
            origins.pop(name, None)
        raise _wrong(error, model, function, origins) from None
    for name in everything:
        if instead := replaced_by(fields[name]):
            say(f"{flag_of(name)} is to go in the next release; give {instead}")
    return config


def parameters(model: type[JobConfig]) -> list[inspect.Parameter]:
    """Return a job's options as parameters: what Python and the command line make signatures of.

    Those that may be given by position come first; types and defaults are those of what is given,
    and not of what it is read into.
    """
    fields = model.model_fields
    by_place = sorted(fields, key=lambda name: position(fields[name]) or len(fields))
    return [
        inspect.Parameter(
            name,
            _POSITIONAL if position(fields[name]) else inspect.Parameter.KEYWORD_ONLY,
            default=_default(fields[name]),
            annotation=as_written(fields[name].annotation),
        )
        for name in by_place
    ]


def _default(info: FieldInfo) -> Any:
    if info.is_required():
        return inspect.Parameter.empty
    return info.default.text if isinstance(info.default, Value) else info.default


class _Reader(yaml.SafeLoader):
    """Refuses a name that stands twice, of which YAML's own would take the last without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if key.value in seen:
                problem = f"{key.value!r} stands there twice"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return node


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
        text = Path(path).expanduser().read_text(encoding="utf-8")
        content = yaml.load(text, _Reader) or {}
    except OSError as error:
        raise UsageError(f"{option}: cannot read {path!r}: {error.strerror}") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # as of 2026-02-30, `[[[[…`
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        detail = place + " ".join(str(problem or error).split())
        raise UsageError(f"{option}: cannot read {path!r} as YAML: {detail}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{option}: {path!r} must {must}")
    return content


def read_recipe(path: str) -> tuple[str | None, list[Step]]:
    """Return a recipe's folder, if it names one, and its steps, which are checked by form only.

    Raises:
        UsageError: it cannot be read, or has another form.
    """
    recipe = read_mapping(path, "RECIPE", _RECIPE)
    if not isinstance(recipe.get("steps"), list):
        raise UsageError(f"RECIPE: {path} must {_RECIPE}")
    if unknown := [key for key in recipe if key not in _RECIPE_KEYS]:
        raise UsageError(
            f"RECIPE: {path} has unknown key {unknown[0]!r}{nearest(str(unknown[0]), _RECIPE_KEYS)}"
        )
    steps = [_step(one, f"step {n} of {path}") for n, one in enumerate(recipe["steps"], 1)]
    return str(recipe["out"]) if recipe.get("out") else None, steps


def _step(entry: Any, place: str) -> Step:
    if not isinstance(entry, dict) or len(entry) != 1:
        raise UsageError(f"RECIPE: {place} must be one `job: options`")
    ((name, options),) = entry.items()
    if options is not None and not isinstance(options, dict):
        raise UsageError(f"RECIPE: {place}: expected `option: value` lines; got {options!r}")
    return str(name), {str(key).replace("-", "_"): value for key, value in (options or {}).items()}


def _read_yaml(path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    found = read_mapping(path, "--config")
    content = {str(key).replace("-", "_"): value for key, value in found.items()}
    for key in content:
        if key not in fields:
            raise UsageError(f"--config: {path!r} has unknown option {key!r}{nearest(key, fields)}")
    return content


def _wrong(
    error: ValidationError, model: type[JobConfig], function: str, origins: Mapping[str, str]
) -> UsageError:
    """Say which option, what is allowed and what was received, in one line."""
    problems = error.errors(include_url=False)
    first = problems[0]
    if not first["loc"]:  # of several options
        return UsageError(str(first["msg"]).removeprefix("Value error, "))
    name = str(first["loc"][0])
    flag = flag_of(name)
    if first["type"] == "missing":
        missing = [str(one["loc"][0]) for one in problems if one["type"] == "missing"]
        if function:
            return _missing(missing, model, function)
        where = name.upper() if position(model.model_fields[name]) else flag
        places = f"on the command line, in --config, or as {_variable(name)}"
        return UsageError(f"{where} is required ({places})")
    if first["type"] == "extra_forbidden":
        return UsageError(f"unknown option {flag}")
    # A union reports one problem per branch: together they are what is allowed.
    messages = [str(one["msg"]) for one in problems if one["loc"][:1] == first["loc"][:1]]
    info = model.model_fields[name]
    return UsageError(wrong_value(info, origins.get(name, flag), first["input"], messages))


def flag_of(name: str) -> str:
    """Return how an option is written on the command line."""
    return "--" + name.replace("_", "-")


def wrong_value(info: FieldInfo, flag: str, given: Any, messages: Sequence[str] = ()) -> str:
    """Return what an option takes, and what was received.

    Args:
        info: the option.
        flag: how it was given.
        given: its value.
        messages: of pydantic, for what the type does not say.
    """
    values, kind = [str(one) for one in choices(info.annotation)], number(info)
    if kind or len(values) == len(plain(info.annotation)) > 0:
        words = [*values, *([kind if " or " in kind else f"a {kind}"] if kind else [])]
        allowed = " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
    else:
        said = [message.removeprefix("Value error, ") for message in dict.fromkeys(messages)]
        plainer = [re.sub(r"^Input should be (a valid )?", "", one) for one in said]
        allowed = " or ".join(plainer).replace("string", "text")
    return f"{flag} must be {allowed}; got {given!r}{nearest(str(given), values)}"


def _missing(names: list[str], model: type[JobConfig], function: str) -> CallError:
    """Say which argument a call lacks, and what it is."""
    first = next(one.name for one in parameters(model) if one.name in names)
    about = " ".join((model.model_fields[first].description or "").split()).partition(". ")[0]
    return CallError(f"{function}() needs {first!r}: {about.removesuffix('.')}")


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()
