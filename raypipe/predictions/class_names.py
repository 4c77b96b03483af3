"""Names of the classes that a network itself answers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from raypipe.errors import UsageError


def imagenet_names() -> tuple[str, ...]:
    """Return the names of ImageNet's 1,000 classes, in the order of the networks' outputs."""
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def with_names(rows: pa.Table, columns: Iterable[str]) -> pa.Table:
    """Return a table with a column `COLUMN_name` behind each of some columns of class numbers.

    Raises:
        UsageError: a number is of none of the 1,000 classes.
    """
    names = np.array(imagenet_names(), dtype=object)
    for column in columns:
        numbers = rows[column].to_numpy()
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(names):
            raise UsageError(
                f"--class-names imagenet goes with numbers of 0 to 999; {column!r} has "
                f"{numbers.min()} to {numbers.max()}; leave it out"
            )
        place = rows.column_names.index(column) + 1
        rows = rows.add_column(place, f"{column}_name", pa.array(names[numbers], pa.string()))
    return rows
