"""Putting a result beside the rows of a user's own CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.storage import local_path

_CLUSTER = "cluster"


@dataclass(frozen=True)
class IdTable:
    """A CSV as it is, and which of its columns holds the ids."""

    header: list[str]
    rows: list[list[str]]
    id_column: int


def read_ids(file: str) -> IdTable:
    """Read a CSV of images.

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
    if _CLUSTER in header:
        raise UsageError(f"--join: {str(path)!r} has a column {_CLUSTER!r} already; rename it")
    column = header.index(schema.ID) if schema.ID in header else 0
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise UsageError(
                f"--join: line {number} of {str(path)!r} has {len(row)} fields, "
                f"the header {len(header)}"
            )
    return IdTable(header, rows, column)


def join_clusters(table: IdTable, clusters: Mapping[str, int], path: Path) -> dict[str, int]:
    """Write the table with each image's cluster as a further column, empty where there is none.

    An id matches as it is; else without its extension, and else without its folders as well, where
    only one image is called so.

    Returns:
        How many rows there are, and how many have a cluster.

    Raises:
        UsageError: no row has one; an example of both kinds of ids is given.
    """
    lookup = _lookup(clusters)
    found = [lookup.get(row[table.id_column]) for row in table.rows]
    if not any(cluster is not None for cluster in found):
        example = table.rows[0][table.id_column] if table.rows else ""
        raise UsageError(
            f"--join: no id of the file is in the store; the file has {example!r}, "
            f"the store {next(iter(clusters), '')!r}"
        )
    with path.open("w", newline="", encoding="utf-8") as content:
        writer = csv.writer(content)
        writer.writerow([*table.header, _CLUSTER])
        for row, cluster in zip(table.rows, found, strict=True):
            writer.writerow([*row, "" if cluster is None else cluster])
    return {"rows": len(found), "found": sum(cluster is not None for cluster in found)}


def _lookup(clusters: Mapping[str, int]) -> dict[str, int]:
    """Map every form of an id that means one image to its cluster; exact ids win."""
    short: dict[str, list[str]] = {}
    for name in clusters:
        path = PurePosixPath(name)
        for form in {str(path.with_suffix("")), path.name, path.stem} - {name}:
            short.setdefault(form, []).append(name)
    unique = {form: clusters[names[0]] for form, names in short.items() if len(names) == 1}
    return unique | dict(clusters)
