"""What changes a feature's value; canonical form and fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["REVISION", "Preprocess", "Spec", "difference", "digest"]

#: Raise this when a change of the code changes the value of features (decoding, resampling, …).
REVISION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocess(_Frozen):
    """From decoded RGB pixels to the tensor that enters the network.

    In order: centre `crop` of the original; `resize` to `size`×`size` (squash), or of the shorter
    side to `resize_to` followed by a centre crop of `size` (shorter); channel order; then
    `(x - mean) / std` with x in 0..255 and one mean and std per channel, in that channel order.
    """

    crop: int | None = None
    resize: Literal["squash", "shorter"] = "shorter"
    resize_to: int | None = 256
    size: int = 224
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    antialias: bool = True
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Spec(_Frozen):
    """Everything that changes a feature's value. Two equal specs give equal features."""

    revision: int = REVISION
    backbone: str
    """Kind and name, without the folder it lies in: `torchvision/resnet50`, `net.py:build`."""
    source_sha256: str | None = None
    """Checksum of the backbone's own source file, where it is not a published one."""
    weights_sha256: str
    layers: tuple[str, ...]
    pool: Literal["avg", "max", "flatten", "none"] = "avg"
    preprocess: Preprocess = Preprocess()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    dtype: Literal["float32", "float16"] = "float32"

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the canonical JSON form."""
        return digest(json.dumps(self.model_dump(mode="json"), sort_keys=True))


def digest(*parts: str | bytes) -> str:
    """Hexadecimal SHA-256 of the parts, each preceded by its length so that none run together."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def difference(old: Spec, new: Spec) -> list[str]:
    """Return one line per field in which two specs differ, as `field: old → new`."""
    before, after = dict(_flatten(old.model_dump())), dict(_flatten(new.model_dump()))
    return [
        f"{name}: {_short(before.get(name))} → {_short(after.get(name))}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text[:12] + "…" if len(text) == 64 else text
