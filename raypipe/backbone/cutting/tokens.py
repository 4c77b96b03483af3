"""Where an output has its channels and the tokens of its patches."""

from __future__ import annotations

import math
from typing import Any, Literal, NoReturn

from torch import Tensor

from raypipe.backbone.cutting.axes import ChannelAxes
from raypipe.config.sides import Sides, both, measured
from raypipe.errors import UsageError
from raypipe.spec import Output

_WITHOUT_AXIS = ("flatten", "none", "argmax")
_TOKENS = ("cls", "patches", "tokens")


def described(
    output: Output, value: Any, axes: ChannelAxes | None, prefix: int | None, size: Sides
) -> Output:
    """Return an output with what its pooling has to know of the network.

    Args:
        output: as it was asked for.
        value: what its layer gives for one image.
        axes: where channels are.
        prefix: how many class and register tokens the network has; None if it does not say.
        size: side of the image, or (height, width).

    Raises:
        UsageError: it cannot be known, or the pooling does not go with such an output.
    """
    if not isinstance(value, Tensor) or value.ndim < 2:  # which is refused with its shape
        return output
    if value.ndim == 2:
        if output.pool in _TOKENS:
            _refuse(output, f"the node gives one vector of {value.shape[1]} per image, no tokens")
        return output
    if output.pool in _WITHOUT_AXIS:
        return output
    channels = _channels(output, value, axes)
    if output.pool in ("hwc", "flatten-hwc") and value.ndim != 4:
        _refuse(output, f"the node gives {_shape(value)}, no map; use tokens")
    if output.pool in ("cls", "patches"):
        count = value[0].numel() // value.shape[-1 if channels == "last" else 1]
        prefix = _prefix(output, value, count, prefix, size)
    usual = "last" if value.ndim == 3 else "first"
    return output.model_copy(
        update={
            "channels": None if channels == usual else channels,
            "prefix": (prefix or 0) if output.pool == "patches" else 0,
        }
    )


def _channels(output: Output, value: Tensor, axes: ChannelAxes | None) -> Literal["first", "last"]:
    axis = axes.of(value) if axes is not None else None
    if axis == 1:
        return "first"
    if axis == value.ndim - 1:
        return "last"
    raise UsageError(
        f"--layer: which axis of {output.layer} ({_shape(value)}) holds channels cannot be known "
        f"from the network; give {output.layer}:flatten or {output.layer}:none"
    )


def _prefix(output: Output, value: Tensor, count: int, prefix: int | None, size: Sides) -> int:
    """Return how many tokens precede those of the patches, whose grid has the image's aspect."""
    if value.ndim > 3:
        if output.pool == "cls":
            _refuse(output, f"the node gives a map ({_shape(value)}), without a class token")
        return 0
    if prefix is None:
        _refuse(output, "the network does not say how many class and register tokens it has")
    if not _is_grid(count - prefix, size):
        shape = "a square" if isinstance(size, int) else f"a {measured(size, '×')} image's grid"
        _refuse(output, f"its {count} tokens are not {prefix} and those of {shape} of patches")
    if output.pool == "cls" and not prefix:
        _refuse(output, "the network has no class token")
    return prefix


def _is_grid(patches: int, size: Sides) -> bool:
    """Whether patches can be as many along height and width as the image's sides are to another."""
    height, width = both(size)
    least = math.prod((height, width)) // math.gcd(height, width) ** 2
    return patches > 0 and math.isqrt(patches // least) ** 2 * least == patches


def _refuse(output: Output, why: str) -> NoReturn:
    raise UsageError(f"--layer: {output.layer}:{output.pool} cannot be had: {why}")


def _shape(value: Tensor) -> str:
    return " × ".join(map(str, value.shape[1:]))
