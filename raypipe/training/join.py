"""Putting a result beside the rows of a user's own CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.rows.spreadsheets import write_rows
from raypipe.storage import local_path

_CLUSTER = "cluster"


@dataclass(frozen=True)
class IdTable:
    """A CSV as it is, and which of its columns holds the ids."""

    header: list[str]
    rows: list[list[str]]
    id_column: int
    column: str
    """The column that the clusters go into."""


def read_ids(file: str, id_column: str | None = None, into: str | None = None) -> IdTable:
    """Read a CSV of images.

    Args:
        file: where it is.
        id_column: its column with the ids; by default `id`, else the first.
        into: the column to write, which may be there; by default `cluster`, which may not.

    Raises:
        UsageError: it cannot be read, or it has no rows.
    """
    path = local_path(file, "--join")
    try:
        with path.open(newline="", encoding="utf-8-sig") as content:
            header, *rows = list(csv.reader(content))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--join: cannot read {str(path)!r} as CSV: {error}") from None
    except ValueError:
        raise UsageError(f"--join: {str(path)!r} is empty; it needs a header and rows") from None
    if into is None and _CLUSTER in header:
        raise UsageError(
            f"--join: {str(path)!r} has a column {_CLUSTER!r} already; rename it, or give "
            f"--join-column {_CLUSTER} to replace its values"
        )
    if id_column is not None and id_column not in header:
        raise UsageError(
            f"--join-id: the columns of {str(path)!r} are {', '.join(header)}; got {id_column!r}"
        )
    column = header.index(id_column or schema.ID) if (id_column or schema.ID) in header else 0
    if header.count(header[column]) > 1:
        raise UsageError(
            f"--join: {str(path)!r} has two columns {header[column]!r}, of which the ids may be in "
            "either; rename one"
        )
    if into == header[column]:
        raise UsageError(f"--join-column: {into!r} holds the ids; give another column")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise UsageError(
                f"--join: line {number} of {str(path)!r} has {len(row)} fields, "
                f"the header {len(header)}"
            )
    return IdTable(header, rows, column, into or _CLUSTER)


def check_some_are_there(table: IdTable, ids: Sequence[str]) -> None:
    """Make sure that a table is one of these images.

    Raises:
        UsageError: it names none of them; an example of both kinds of ids is given.
    """
    lookup = _lookup(dict.fromkeys(ids, 0))
    if not any(row[table.id_column] in lookup for row in table.rows):
        example = table.rows[0][table.id_column] if table.rows else ""
        raise UsageError(
            f"--join: no id of the file is in the store; the file has {example!r}, "
            f"the store {next(iter(ids), '')!r}"
        )


def join_clusters(
    table: IdTable, clusters: Mapping[str, int], path: Path, *, csv_safe: bool = False
) -> dict[str, int]:
    """Write the table with each image's cluster in its column, empty where there is none.

    An id matches as it is; else without its extension, and else without its folders as well, where
    only one image is called so.

    Returns:
        How many rows there are, and how many have a cluster.
    """
    lookup = _lookup(clusters)
    found = [lookup.get(row[table.id_column]) for row in table.rows]
    texts = [table.column, *("" if cluster is None else str(cluster) for cluster in found)]
    header = table.header
    place = header.index(table.column) if table.column in header else len(header)
    rows = zip([header, *table.rows], texts, strict=True)
    joined = ([*row[:place], text, *row[place + 1 :]] for row, text in rows)
    write_rows(path, joined, safe=csv_safe)
    return {"rows": len(found), "found": sum(cluster is not None for cluster in found)}


def order_of(table: IdTable, ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return positions (N,) in `ids`, in the order of the table's rows.

    Rows whose image is not there, as that of a reject, have no place in it.

    Raises:
        UsageError: the table names an image twice, or not at all: the order cannot be known.
    """
    lookup = _lookup({name: number for number, name in enumerate(ids)})
    named = [lookup.get(row[table.id_column]) for row in table.rows]
    order = [number for number in named if number is not None]
    if len(set(order)) < len(order):
        double = next(number for number in order if order.count(number) > 1)
        raise UsageError(
            f"--order csv: the CSV must name each image once; {ids[double]!r} is there twice; "
            "give --order id, or leave a row out"
        )
    if missing := sorted(set(range(len(ids))) - set(order)):
        raise UsageError(
            f"--order csv: the CSV must name every image of the store; {len(missing)} are not in "
            f"it, as {ids[missing[0]]!r}; give --order id, or extract only what the CSV names"
        )
    return np.array(order, np.int64)


def _lookup(clusters: Mapping[str, int]) -> dict[str, int]:
    """Map every form of an id that means one image to its cluster; exact ids win."""
    short: dict[str, list[str]] = {}
    for name in clusters:
        path = PurePosixPath(name)
        for form in {str(path.with_suffix("")), path.name, path.stem} - {name}:
            short.setdefault(form, []).append(name)
    unique = {form: clusters[names[0]] for form, names in short.items() if len(names) == 1}
    return unique | dict(clusters)
