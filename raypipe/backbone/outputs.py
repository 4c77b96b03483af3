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

#: Stands for what the network's library calls the image's feature.
EMBEDDING = "embedding"

#: Stands for the network's own output.
LOGITS = "logits"

_COLUMN = re.compile(r"\w[\w.-]*")


def parse_outputs(entries: tuple[str, ...], default_pool: Pool) -> tuple[Output, ...]:
    """Read `[COLUMN=]NODE[:POOL]` entries; none means the embedding.

    A column without a name is called `features` if it is the only one, else by its node.

    Raises:
        UsageError: an unknown pooling, or names that cannot be columns.
    """
    parsed = [_parse(entry, default_pool) for entry in entries or (EMBEDDING,)]
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


def pool(features: Tensor, output: Output | str) -> Tensor:
    """Reduce (N, C, H, W) over height and width, or (N, T, C) over tokens.

    Channels are where `output.channels` says. `avg` and `max` give (N, C); `flatten` gives
    (N, everything); `hwc` gives (N, H, W, C), and `flatten-hwc` its values as (N, H·W·C); `tokens`
    gives (N, T, C), with H·W tokens of maps; `cls` the first token; `patches` the mean of those
    behind the prefix; `none` and two-dimensional features stay as they are: float32 all. `argmax`
    gives (N,) int32.
    """
    output = Output(column="", layer="", pool=output) if isinstance(output, str) else output
    features, mode = features.float(), output.pool
    if mode == "argmax":
        return features.argmax(1).to(torch.int32)
    if features.ndim == 2 or mode == "none":
        return features
    if mode == "flatten":
        return features.flatten(1)
    if mode == "flatten-hwc":
        return pool(features, output.model_copy(update={"pool": "hwc"})).flatten(1)
    usual = "last" if features.ndim == 3 else "first"
    first = (output.channels or usual) == "first"
    if mode in ("avg", "max"):
        over = tuple(range(2, features.ndim)) if first else tuple(range(1, features.ndim - 1))
        return features.mean(over) if mode == "avg" else features.amax(over)
    if mode == "hwc" and output.channels is None:
        return features.movedim(1, -1)
    features = features.movedim(1, -1) if first else features
    if mode == "hwc":
        return features
    tokens = features.flatten(1, -2)
    if mode == "tokens":
        return tokens
    return tokens[:, 0] if mode == "cls" else tokens[:, output.prefix :].mean(1)
