"""Texts in tables that are opened in a spreadsheet."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.errors import UsageError

# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = "^([=+\\-@\t\r\n＝＋－＠])"


def without_formulas(table: pa.Table) -> pa.Table:
    """Return a table of whose texts a spreadsheet takes none for a formula, by a ' in front."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = pc.replace_substring_regex(table.column(number), _FORMULA, "'\\1")
            table = table.set_column(number, field, texts)
    return table


def write_rows(path: Path, rows: Iterable[Sequence[object]], *, safe: bool = False) -> None:
    """Write a CSV row by row, the heading first.

    Args:
        path: of the file.
        rows: texts and numbers.
        safe: whether the file is for a spreadsheet, as `without_formulas` has it.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for row in rows:
            writer.writerow(map(_safe, row) if safe else row)


def _safe(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    try:
        float(cell)
    except ValueError:
        return re.sub(_FORMULA, r"'\1", cell)
    return cell  # a number is no formula, whatever its sign


def with_formulas(table: pa.Table) -> pa.Table:
    """Return a table as it was before `without_formulas`."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = [text and as_it_was(text) for text in table.column(number).to_pylist()]
            table = table.set_column(number, field, pa.array(texts, field.type))
    return table


def as_it_was(text: str) -> str:
    """Return a text without the ' that `without_formulas` has put in front of it."""
    return text[1:] if text[:1] == "'" and re.match(_FORMULA, text[1:]) else text


def check_csv(csv_safe: bool, out: str | None) -> None:
    """Make sure that --csv-safe has a file to go with.

    Raises:
        UsageError: what is written is no CSV.
    """
    if csv_safe and not (out or "").endswith(".csv"):
        raise UsageError(f"--csv-safe: goes with a .csv as --out; got {out!r}; leave it out")
