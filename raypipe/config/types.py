"""Types of options: what they accept, and where they are listed."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from raypipe.config.values import Change, Filter


def option(group: str, *, position: int = 0, instead: str = "", usual: bool = False) -> Any:
    """Metadata of one option: its heading in the help, and its place if it needs no name.

    One that is `usual` is in the short help, as all that is required or has a place is: there, the
    first sentence of its docstring stands for it. `instead` names what has taken the place of an
    option that is kept for a release: it is in neither help nor reference, and who gives it is
    told.
    """
    return Field(
        json_schema_extra={
            "group": group,
            "position": position,
            "instead": instead,
            "usual": usual,
        }
    )


def replaced_by(info: FieldInfo) -> str:
    """Return what has taken the place of an option, if it is an old one."""
    extra = info.json_schema_extra
    return str(extra.get("instead", "")) if isinstance(extra, dict) else ""


def is_usual(info: FieldInfo) -> bool:
    """Whether an option is in the short help."""
    extra = info.json_schema_extra
    marked = bool(extra.get("usual")) if isinstance(extra, dict) else False
    return marked or info.is_required() or position(info) > 0


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


def _grid_entries(value: Any) -> Any:
    """Accept `C=0.1,1`, a list of such strings, or a YAML mapping `{C: [0.1, 1]}`."""
    if isinstance(value, dict):
        return [f"{name}={','.join(_split(values))}" for name, values in value.items()]
    return _listed(value)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _address(text: str) -> str:
    """Look at the port of HOST:PORT; what answers there is found out later."""
    port = text.rpartition(":")[2] if ":" in text and "://" not in text else "1"
    if not (port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError("local, auto, or HOST:PORT with a port from 1 to 65535")
    return text


def _job_name(text: str) -> str:
    """Look at a name that becomes a part of URLs, of commands, and of other names."""
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise ValueError("letters, digits, `.`, `_` and `-`, the first a letter or digit")
    return text


def _utf8(text: str) -> str:
    """Look at what is compared with ids, which are UTF-8."""
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("an id, or what ids begin with, in UTF-8")
    return text


#: Endings of weights files: of PyTorch, and of Keras.
CHECKPOINT_FILES = (".safetensors", ".pth", ".pt", ".pth.tar", ".bin", ".ckpt")
KERAS_FILES = (".keras", ".weights.h5", ".h5", ".hdf5")
Address = Annotated[str, AfterValidator(_address)]
JobName = Annotated[str, AfterValidator(_job_name)]
Id = Annotated[str, AfterValidator(_utf8)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Grid = Annotated[tuple[str, ...], BeforeValidator(_grid_entries)]
Filters = Annotated[tuple[Filter, ...], BeforeValidator(_split)]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Pool = Literal[
    "avg", "max", "flatten", "flatten-hwc", "none", "hwc", "argmax", "cls", "patches", "tokens"
]
Orientation = Literal["exif", "ignore"]
CropRounding = Literal["down", "even"]
Resampler = Literal["torch", "pillow"]
Changes = Annotated[tuple[Change, ...], BeforeValidator(_listed)]
