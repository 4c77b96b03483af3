"""Filters on an output beside the head's: which rows get a label."""

from __future__ import annotations

from raypipe.config.values import Filter
from raypipe.errors import UsageError, nearest
from raypipe.spec import Output


def check_filters(
    filters: tuple[Filter, ...], outputs: tuple[Output, ...], taken: tuple[str, ...]
) -> None:
    """Check that each filter is on an output with one number per image.

    Args:
        filters: to check.
        outputs: what the backbone pass, or the store, has.
        taken: columns of the predictions, whose names no filter's may have.

    Raises:
        UsageError: there is no such column.
    """
    scalars = [output.column for output in outputs if output.pool == "argmax"]
    known = f"those with one number per image are: {', '.join(scalars) or 'none'}"
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
