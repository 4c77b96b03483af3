"""Feature columns to make: from the text of an option to nodes and pooling."""

from __future__ import annotations

import re
from typing import get_args

import torch
from torch import Tensor

from raypipe import schema
from raypipe.config.types import Pool
from raypipe.errors import UsageError, nearest
from raypipe.spec import Output

_COLUMN = re.compile(r"\w[\w.-]*")


def parse_outputs(
    entries: tuple[str, ...], default_pool: Pool, default_layer: str
) -> tuple[Output, ...]:
    """Read `[COLUMN=]NODE[:POOL]` entries.

    A column without a name is called `features` if it is the only one, else by its node.

    Raises:
        UsageError: an unknown pooling, or names that cannot be columns.
    """
    parsed = [_parse(entry, default_pool) for entry in entries or (default_layer,)]
    outputs = tuple(
        Output(
            column=column or (schema.FEATURES if len(parsed) == 1 else layer),
            layer=layer,
            pool=mode,
        )
        for column, layer, mode in parsed
    )
    _check_columns(outputs)
    return outputs


def _parse(entry: str, default_pool: Pool) -> tuple[str, str, Pool]:
    column, given, rest = entry.rpartition("=")
    layer, _, mode = rest.partition(":")
    if not layer or (given and not column):
        raise UsageError(f"--layer: expected [COLUMN=]NODE[:POOL]; got {entry!r}")
    modes = get_args(Pool)
    if mode and mode not in modes:
        raise UsageError(
            f"--layer: the pooling of {layer} must be one of {', '.join(modes)}; "
            f"got {mode!r}{nearest(mode, modes)}"
        )
    return column, layer, mode or default_pool  # type: ignore[return-value]


def _check_columns(outputs: tuple[Output, ...]) -> None:
    taken = set(schema.RESERVED_COLUMNS)
    for output in outputs:
        if not _COLUMN.fullmatch(output.column):
            raise UsageError(
                f"--layer: a column's name is letters, digits, _ . -; got {output.column!r}; "
                f"give one, as --layer NAME={output.layer}:{output.pool}"
            )
        if output.column in taken:
            raise UsageError(
                f"--layer: there is a column {output.column!r} already; "
                f"give another name, as --layer NAME={output.layer}:{output.pool}"
            )
        taken.add(output.column)


def pool(features: Tensor, mode: str) -> Tensor:
    """Reduce (N, C, H, W) over height and width, or (N, T, C) over tokens.

    `avg` and `max` give (N, C); `flatten` gives (N, everything); `hwc` gives (N, H, W, C); `none`
    and two-dimensional features stay as they are: float32 all. `argmax` gives (N,) int32.
    """
    features = features.float()
    if mode == "argmax":
        return features.argmax(1).to(torch.int32)
    if features.ndim == 2 or mode == "none":
        return features
    if mode == "flatten":
        return features.flatten(1)
    if mode == "hwc":
        return features.movedim(1, -1)
    over = (1,) if features.ndim == 3 else tuple(range(2, features.ndim))
    return features.mean(over) if mode == "avg" else features.amax(over)
