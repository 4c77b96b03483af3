"""Predictions as one sorted CSV or Parquet file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from raypipe import schema
from raypipe.display import printable
from raypipe.errors import UsageError
from raypipe.rows.order import natural_key
from raypipe.rows.spreadsheets import without_formulas

SUFFIXES = (".csv", ".parquet")


def in_order(
    rows: pa.Table, order: Literal["id", "natural"], *, short_ids: bool, only: str | None
) -> pa.Table:
    """Return the file's rows: by id, the predicted class as `label`, six decimals.

    Args:
        rows: `id` and the columns of a `Predictor`.
        order: by id as text, or `natural` (2 before 10).
        short_ids: whether ids are written without folders and extension.
        only: the class whose probability takes the place of the label, if any.

    Raises:
        UsageError: two ids are equal once they are short.
    """
    if order == "natural":
        keys = [natural_key(name) for name in rows[schema.ID].to_pylist()]
        rows = rows.take(pa.array(sorted(range(len(keys)), key=keys.__getitem__), pa.int64()))
    else:
        rows = rows.sort_by(schema.ID)
    ids = shorten(rows[schema.ID].to_pylist()) if short_ids else rows[schema.ID]
    columns = {schema.ID: ids}
    for name in rows.column_names:
        if name != schema.ID:
            values = rows[name]
            columns[_name(name, only)] = (
                _rounded(values) if pa.types.is_floating(values.type) else values
            )
    return pa.table(columns)


def shorten(ids: Iterable[str]) -> pa.Array:
    """Return ids without folders and extension.

    Raises:
        UsageError: two would be equal.
    """
    short = [PurePosixPath(name).stem for name in ids]
    if len(set(short)) < len(short):
        repeated = Counter(short).most_common(1)[0][0]
        raise UsageError(f"--short-ids: several images would be called {repeated!r}")
    return pa.array(short, pa.string())


def write(table: pa.Table, path: Path, *, csv_safe: bool = False) -> None:
    """Write a file of the kind that its extension says.

    Raises:
        OSError: it cannot be written.
    """
    if path.suffix == ".csv":
        pa.csv.write_csv(without_formulas(table) if csv_safe else table, path)
    else:
        pq.write_table(table, path)


def columns_of(table: pa.Table) -> list[str]:
    """Return a table as lines, a heading first, for people; texts to the left, numbers right."""
    cells = [[name, *map(_cell, table[name].to_pylist())] for name in table.column_names]
    aligned = [
        [cell.rjust(width) if is_number else cell.ljust(width) for cell in column]
        for column, field in zip(cells, table.schema, strict=True)
        for width in [max(map(len, column))]
        for is_number in [not pa.types.is_string(field.type)]
    ]
    return ["  ".join(row).rstrip() for row in zip(*aligned, strict=True)]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "no label" if value is None else printable(str(value))


def _name(column: str, only: str | None) -> str:
    if only is not None and column == schema.PROBABILITY:
        return schema.LABEL
    label, found, rank = column.partition(schema.PREDICTED)
    return f"{schema.LABEL}{rank}" if found and not label else column


def _rounded(values: pa.ChunkedArray) -> pa.Array:
    return pa.array(pc.cast(values, pa.float64()).to_numpy().astype(np.float64).round(6))
