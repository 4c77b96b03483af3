"""Types of options: what they accept, and where they are listed."""

from __future__ import annotations

import contextlib
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

__all__ = [
    "Actors",
    "Clusters",
    "Colour",
    "Grid",
    "Hidden",
    "Interpolation",
    "Names",
    "Pool",
    "Precision",
    "Projection",
    "Seed",
    "Settings",
    "Shares",
    "Size",
    "option",
    "position",
    "size_in_bytes",
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


_UNITS = {
    "": 0,
    "B": 0,
    "K": 10,
    "KIB": 10,
    "M": 20,
    "MIB": 20,
    "G": 30,
    "GIB": 30,
    "T": 40,
    "TIB": 40,
}


def size_in_bytes(text: str) -> int:
    """Return the bytes that `4GiB`, `500M` or a plain number mean.

    Raises:
        ValueError: it is none of these.
    """
    number = text.rstrip("BKMGTibkmgt ")
    unit = text[len(number) :].strip().upper()
    if unit not in _UNITS or not 1 <= (size := float(number) * 2 ** _UNITS[unit]) < 2**63:
        raise ValueError
    return int(size)


def _size(value: str) -> str:
    with contextlib.suppress(ValueError):
        size_in_bytes(value)
        return value
    raise ValueError("a size as 4GiB or 500MiB")


def _clusters(value: str) -> str:
    numbers = value.split(":")
    if all(number.isdecimal() and int(number) >= 1 for number in numbers):
        parsed = [int(number) for number in numbers]
        if len(parsed) == 1 or (len(parsed) in (2, 3) and 2 <= parsed[0] <= parsed[1]):
            return value
    raise ValueError("a number from 1, or a range as 5:50 or 5:50:5 that starts at 2 or more")


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


def _colour(value: str) -> str:
    with contextlib.suppress(ValueError):
        numbers = [float(number) for number in value.split(",")]
        if len(numbers) == 3 and all(0 <= number <= 1 for number in numbers):
            return value
    raise ValueError("three numbers of 0..1, for red, green and blue, as 0.485,0.456,0.406")


Clusters = Annotated[str, BeforeValidator(str), AfterValidator(_clusters)]
Actors = Annotated[str, AfterValidator(_pool_size)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Grid = Annotated[tuple[str, ...], BeforeValidator(_grid_entries)]
Hidden = Annotated[str, AfterValidator(_hidden)]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Projection = Literal["pca", "umap"]
Colour = Annotated[str, BeforeValidator(_joined), AfterValidator(_colour)]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Pool = Literal["avg", "max", "flatten", "none", "hwc", "argmax", "cls", "patches", "tokens"]
Size = Annotated[str, AfterValidator(_size)]
Settings = Annotated[tuple[str, ...], BeforeValidator(_settings)]
Shares = Annotated[str, BeforeValidator(_joined), AfterValidator(_shares)]
