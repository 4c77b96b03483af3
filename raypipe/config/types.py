"""Types of options: what they accept, and where they are listed."""

from __future__ import annotations

import contextlib
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

__all__ = [
    "Actors",
    "Grid",
    "Hidden",
    "Interpolation",
    "Names",
    "Pool",
    "Precision",
    "Seed",
    "Settings",
    "Shares",
    "option",
    "position",
]


def option(group: str, *, position: int = 0) -> Any:
    """Metadata of one option: its heading in the help, and its place if it needs no name."""
    return Field(json_schema_extra={"group": group, "position": position})


def position(info: FieldInfo) -> int:
    """Return an option's place among those that may be given without a name, or 0."""
    extra = info.json_schema_extra
    return int(str(extra.get("position", 0))) if isinstance(extra, dict) else 0


def _split(value: Any) -> Any:
    """Accept a list, or one text with commas (as an environment variable has)."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [str(part) for part in value]
    return [part.strip() for part in str(value).split(",") if part.strip()]


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def _grid_entries(value: Any) -> Any:
    """Accept `C=0.1,1`, a list of such strings, or a YAML mapping `{C: [0.1, 1]}`."""
    if isinstance(value, dict):
        return [f"{name}={','.join(_split(values))}" for name, values in value.items()]
    return [value] if _is_str(value) else value


def _pool_size(value: str) -> str:
    """Check the form; whether the cluster has room for it is found out when it is known."""
    smallest, _, largest = value.partition(":")
    numbers = [smallest, largest] if ":" in value else [smallest]
    sizes = [int(number) for number in numbers if number.isdecimal()]
    if value != "auto" and (len(sizes) != len(numbers) or sizes != sorted(sizes) or 0 in sizes):
        raise ValueError("auto, N or MIN:MAX with 1 ≤ MIN ≤ MAX")
    return value


def _hidden(value: str) -> str:
    if value != "none" and not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", value):
        raise ValueError("none, or the units of each hidden layer, as 256 or 512x128")
    return value


def _joined(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _shares(value: str) -> str:
    with contextlib.suppress(ValueError):
        shares = [float(share) for share in value.split(",")]
        if len(shares) in (2, 3) and min(shares) > 0 and abs(sum(shares) - 1) < 1e-6:
            return value
    raise ValueError("two or three positive shares that add up to 1, as 0.8,0.1,0.1")


def _settings(value: Any) -> Any:
    return [value] if _is_str(value) else value


Actors = Annotated[str, AfterValidator(_pool_size)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Grid = Annotated[tuple[str, ...], BeforeValidator(_grid_entries)]
Hidden = Annotated[str, AfterValidator(_hidden)]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Pool = Literal["avg", "max", "flatten", "none", "hwc", "argmax"]
Settings = Annotated[tuple[str, ...], BeforeValidator(_settings)]
Shares = Annotated[str, BeforeValidator(_joined), AfterValidator(_shares)]
