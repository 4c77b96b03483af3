"""The short help of a command: what most people need. `--help-all` has every option."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence

from pydantic.fields import FieldInfo

from raypipe.config import JobConfig
from raypipe.config.allowed import choices
from raypipe.config.examples import EXAMPLES
from raypipe.config.types import is_usual, position

SHORT, ALL = ("--help", "-h"), "--help-all"
_LEAST_WIDTH, _MOST_WIDTH = 60, 100
_SENTENCE = re.compile(r"(?<=\.)\s+(?=[A-Z`])")


def is_wanted(arguments: Sequence[str]) -> bool:
    """Whether a command's arguments ask for its short help; what is behind `--` is another's."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return ALL not in own and any(flag in own for flag in SHORT)


def short_help(name: str, model: type[JobConfig]) -> str:
    """Return a job's short help: examples, then what is required, then what is often used.

    Args:
        name: the job's.
        model: its options.
    """
    width = max(_LEAST_WIDTH, min(_MOST_WIDTH, shutil.get_terminal_size().columns))
    usual = {one: info for one, info in model.model_fields.items() if is_usual(info)}
    by_place = sorted(usual, key=lambda one: position(usual[one]) or len(usual))
    labels = {one: _label(one, usual[one]) for one in by_place}
    required = [one for one in by_place if usual[one].is_required()]
    others = [one for one in by_place if one not in required]
    usage = " ".join([f"Usage: raypipe {name}", *(labels[one] for one in required), "[OPTIONS]"])
    column = 2 + max(map(len, labels.values()))

    def listed(heading: str, names: list[str]) -> str:
        entries = [_entry(labels[one], _about(usual[one]), column, width) for one in names]
        return "\n".join([heading, *entries]) if entries else ""

    parts = [
        usage,
        textwrap.fill(" ".join((model.__doc__ or "").partition("\n\n")[0].split()), width),
        "\n".join(["Examples:", *(f"  {example}" for example in EXAMPLES[name])]),
        listed("Required:", required),
        listed("Often used:", others),
        f"All options: raypipe {name} {ALL}",
    ]
    return "\n\n".join(part for part in parts if part)


def _entry(label: str, about: str, column: int, width: int) -> str:
    indent = " " * (column + 2)
    return textwrap.fill(
        about, width, initial_indent=f"  {label:{column}}", subsequent_indent=indent
    )


def _about(info: FieldInfo) -> str:
    """Return an option's first sentence, and what it is otherwise."""
    first = _SENTENCE.split(" ".join((info.description or "").split()))[0]
    values = [str(one) for one in choices(info.annotation)]
    notes = [f"[{', '.join(values)}]"] if values else []
    if not info.is_required() and info.default not in (None, False, True, ()):
        notes.append(f"[default: {info.default}]")
    return " ".join([first, *notes])


def _label(name: str, info: FieldInfo) -> str:
    flag = "--" + name.replace("_", "-")
    if position(info):
        return name.upper()
    return flag if info.annotation is bool else f"{flag} {name.upper()}"
