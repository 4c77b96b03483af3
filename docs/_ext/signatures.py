"""The signatures of the Python API, for type checkers and editors: `raypipe/__init__.pyi`.

They are made from the options, which are documented once, in `raypipe/config/`.
`python docs/_ext/signatures.py` writes them.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "raypipe" / "__init__.pyi"
sys.path.insert(0, str(ROOT))

import raypipe  # noqa: E402
from raypipe.api import arguments, calls  # noqa: E402
from raypipe.cli.options import parameters  # noqa: E402
from raypipe.config import JOBS, types, values  # noqa: E402

_HEAD = '''
"""Signatures of the Python API. Made by `python docs/_ext/signatures.py`; not to be edited."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

from raypipe.api.image_classifier import ImageClassifier as ImageClassifier
from raypipe.api.image_clusters import ImageClusters as ImageClusters
from raypipe.api.prediction_table import PredictionTable as PredictionTable
from raypipe.errors import RaypipeError as RaypipeError
from raypipe.errors import UsageError as UsageError
from raypipe.runtime.ray_dataset import Store as Store

__version__: str
__all__ = {names}
'''
#: What returns one thing or another: by one option's type and default, what it then is.
_OVERLOADS = {
    "extract": (
        "dry_run",
        [("Literal[False] = False", "Store"), ("Literal[True]", "dict[str, Any]")],
    ),
    "predict": (
        "out",
        [("None = None", "PredictionTable"), ("str | os.PathLike[str]", "Store | PredictionTable")],
    ),
}
_PATH = "str | os.PathLike[str]"
_TEXTS = "str | Sequence[str]"
#: What may be given for values that are written as a text.
_VALUES = {
    values.Shares: "str | Sequence[float]",
    values.Colour: "str | Sequence[float]",
    values.KRange: "int | str",
    values.Actors: "int | str",
    values.HiddenLayers: "int | str",
    values.Bar: "int | str",
    values.Size: "int | str",
}
_SIDES = get_args(values.Sides)[0]


def stub() -> str:
    """Return the file's content."""
    names = ", ".join(f'"{name}"' for name in raypipe.__all__)
    parts = [_HEAD.strip().replace("{names}", f"[{names}]")]
    for name in raypipe.__all__:
        if name in JOBS:
            parts.append(_job(name))
        elif inspect.isfunction(one := getattr(calls, name, None)):
            parts.append(_function(name, one))
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(FILE), "-"]
    text = "\n".join(parts) + "\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


def _function(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    return f"def {name}{signature}:\n{_docstring(function)}".replace("'", "")


def _job(name: str) -> str:
    function = getattr(calls, name)
    option, cases = _OVERLOADS.get(name, ("", [("", function.__annotations__["return"])]))
    mark = "@overload\n" if option else ""
    return "\n".join(
        f"{mark}def {name}({_arguments(name, option, kind)}) -> {result}:\n{_docstring(function)}"
        for kind, result in cases
    )


def _arguments(name: str, option: str, kind: str) -> str:
    fields, parts = JOBS[name].model_fields, []
    for one in parameters(JOBS[name]):
        if one.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        written = kind if one.name == option else _with_default(name, one, fields[one.name])
        parts.append(f"{one.name}: {written}")
    return ", ".join(parts)


def _with_default(job: str, one: inspect.Parameter, info: FieldInfo) -> str:
    kinds = dict.fromkeys(
        [*_kind(info.annotation, info.metadata), *arguments.objects(job, one.name)]
    )
    ordered = [kind for kind in kinds if kind != "None"] + ["None"] * ("None" in kinds)
    default = "" if one.default is inspect.Parameter.empty else f" = {one.default!r}"
    return " | ".join(ordered) + default


def _kind(annotation: Any, metadata: Any = ()) -> list[str]:
    """Return what may be given for an option, as parts of a union."""
    validators = [one.func for one in metadata if isinstance(one, BeforeValidator)]
    if types._grid_entries in validators:
        return [_TEXTS, "Mapping[str, Any]"]
    if annotation == _SIDES:
        return ["int", "str", "tuple[int, int]"]
    if isinstance(annotation, type) and issubclass(annotation, values.Value):
        return [_VALUES.get(annotation, "str")]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0], parts[1:])
    if origin in (Union, UnionType):
        return [kind for part in parts for kind in _kind(part)]
    if origin is tuple:
        return [_TEXTS]
    if origin is Literal:
        return [f"Literal[{', '.join(map(repr, parts))}]"]
    return {str: [_PATH], NoneType: ["None"], int: ["int"], float: ["float"], bool: ["bool"]}[
        annotation
    ]


def _docstring(function: Any) -> str:
    text = inspect.getdoc(function) or ""
    text = text.replace("\\", "\\\\")
    return textwrap.indent(f'r"""{text}\n"""'.replace('r"""', '"""'), "    ")


def write() -> None:
    """Write the file."""
    FILE.write_text(stub(), encoding="utf-8")


if __name__ == "__main__":
    write()
