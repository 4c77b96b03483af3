"""Filters on an output beside the head's: which rows get a label."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.errors import UsageError, nearest
from raypipe.spec import Output

__all__ = ["Filter", "filters_of", "parse_filter"]

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_RANGE = rf"(?P<low>{_NUMBER})?\s*:\s*(?P<high>{_NUMBER})?"
_FORM = re.compile(rf"(?P<column>[^=\s]+)\s*=\s*(?:{_RANGE}|(?P<value>{_NUMBER}))")


@dataclass(frozen=True)
class Filter:
    """Takes rows whose value in a column lies within [low, high], both included."""

    column: str
    low: float
    high: float

    def __str__(self) -> str:
        """Return the canonical form, `COLUMN=LOW:HIGH`; an end that is open is left out."""
        return f"{self.column}={_number(self.low)}:{_number(self.high)}"

    def accepts(self, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return which of (N,) values lie within, as (N,)."""
        within: npt.NDArray[np.bool_] = (values >= self.low) & (values <= self.high)
        return within


def parse_filter(text: str) -> Filter:
    """Read `COLUMN=LOW:HIGH`, `COLUMN=LOW:`, `COLUMN=:HIGH` or `COLUMN=VALUE`.

    Raises:
        UsageError: it is none of these.
    """
    found = _FORM.fullmatch(text.strip())
    if found:
        value = found["value"]
        low, high = found["low"] or value or "-inf", found["high"] or value or "inf"
        if float(low) <= float(high) and (low, high) != ("-inf", "inf"):
            return Filter(found["column"], float(low), float(high))
    raise UsageError(
        f"--where: expected COLUMN=LOW:HIGH with LOW ≤ HIGH, or COLUMN=VALUE; got {text!r}"
    )


def filters_of(
    texts: tuple[str, ...], outputs: tuple[Output, ...], taken: tuple[str, ...]
) -> tuple[Filter, ...]:
    """Read filters, and check that each is on an output with one number per image.

    Args:
        texts: as they were given.
        outputs: what the backbone pass, or the store, has.
        taken: columns of the predictions, whose names no filter's may have.

    Raises:
        UsageError: a filter cannot be read, or there is no such column.
    """
    scalars = [output.column for output in outputs if output.pool == "argmax"]
    known = f"those with one number per image are: {', '.join(scalars) or 'none'}"
    filters = tuple(map(parse_filter, texts))
    for column in (one.column for one in filters):
        if column not in [output.column for output in outputs]:
            raise UsageError(
                f"--where: the model's features have no column {column!r}; {known}"
                f"{nearest(column, scalars)}"
            )
        if column not in scalars:
            raise UsageError(f"--where: {column!r} has many numbers per image; {known}")
        if column in taken:
            raise UsageError(f"--where: {column!r} is also a column of the predictions")
    return filters


def _number(value: float) -> str:
    if math.isinf(value):
        return ""
    return str(int(value)) if value.is_integer() else repr(value)
