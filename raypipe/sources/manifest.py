"""Tables of URIs as text: .csv, .tsv and .jsonl."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import pyarrow as pa

from raypipe.config import SourceConfig
from raypipe.errors import RejectReason, UsageError
from raypipe.sources.batches import BATCH_ROWS, Texts, one_batch
from raypipe.sources.columns import (
    IMAGE_NAMES,
    etag_column,
    id_column,
    label_columns,
    present,
    resolve,
)
from raypipe.sources.files import AnyPath, file_etag, readable
from raypipe.sources.members import spell_reject

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
MANIFEST_SUFFIXES = (*_DELIMITERS, ".jsonl", ".ndjson")


@dataclass(frozen=True)
class UriColumns:
    """Which columns of a table of URIs hold what."""

    image: str
    id: str | None
    etag: str | None
    label: str | None
    split: str | None

    @property
    def names(self) -> list[str]:
        """The columns to read, each once."""
        wanted = (self.image, self.id, self.etag, self.label, self.split)
        return list(dict.fromkeys(name for name in wanted if name))

    @staticmethod
    def choose(names: list[str], config: SourceConfig, where: str) -> UriColumns:
        """Choose by option, else by usual names.

        Raises:
            UsageError: a column is missing.
        """
        image = config.image_column
        if image:
            present(image, names, "--image-column", where)
        else:
            image = next((name for name in IMAGE_NAMES if name in names), None)
        if image is None:
            raise UsageError(
                f"--image-column: none of the columns of {where} has a usual name "
                f"({', '.join(IMAGE_NAMES)}); it has {', '.join(map(repr, names))}: name one"
            )
        label, split = label_columns(names, config, where)
        return UriColumns(image, id_column(names, config, where), etag_column(names), label, split)


class ManifestSource:
    """Each row is an item; its image is the file or object that the row's URI names.

    `id` is the id column, else the URI as written. Relative paths are relative to the manifest.
    """

    auto_label: Literal["folder", "column"] = "column"

    def __init__(self, path: AnyPath, config: SourceConfig) -> None:
        self.path = path
        self.uri = str(path)
        self.is_json = path.suffix.lower() not in _DELIMITERS
        names = list(next(_json_rows(path), {})) if self.is_json else _csv_names(path)
        self.columns = UriColumns.choose(names, config, repr(self.uri))

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of the rows, holding one batch of them.

        Raises:
            UsageError: a row cannot be parsed, or has a URI that cannot be read.
        """
        parts = _json_parts(self.path, self.columns.names) if self.is_json else self._csv_parts()
        row = 1
        for part in parts:
            size = len(part[self.columns.image])
            unit = "line" if self.is_json else "row"
            yield uri_batch(part, self.columns, self.path, _namer(unit, self.uri, row))
            row += size

    def _csv_parts(self) -> Iterator[Mapping[str, Texts]]:
        from pyarrow import csv as arrow_csv

        names = self.columns.names
        convert = arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=names,
            strings_can_be_null=False,
        )
        parse = arrow_csv.ParseOptions(
            delimiter=_DELIMITERS[self.path.suffix.lower()], newlines_in_values=True
        )
        read = arrow_csv.ReadOptions(use_threads=False)  # with threads, errors have no row number
        try:
            with arrow_csv.open_csv(readable(self.uri), read, parse, convert) as reader:
                for batch in reader:
                    for start in range(0, len(batch), BATCH_ROWS):
                        part = batch.slice(start, BATCH_ROWS)
                        yield {name: part.column(name) for name in names}
        except pa.ArrowInvalid as error:
            raise UsageError(f"SOURCE: {self.uri!r}: {error}; correct this row") from None


def uri_batch(
    part: Mapping[str, Texts], columns: UriColumns, table: AnyPath, row: Callable[[int], str]
) -> pa.RecordBatch:
    """Return the items of some rows.

    Args:
        part: the columns, as text, each (N,).
        columns: which is which.
        table: the file, which relative paths are relative to and which stands for what is missing.
        row: names a row, by its number in the part.

    Raises:
        UsageError: an id is missing, or a URI is of a kind that cannot be read.
    """
    uris = _values(part[columns.image])
    ids = _values(part[columns.id]) if columns.id else uris
    etags = _values(part[columns.etag]) if columns.etag else [None] * len(uris)
    folder = str(table.parent)
    found: list[tuple[str, str]] = []
    for index, (uri, etag) in enumerate(zip(uris, etags, strict=True)):
        if uri:
            found.append(resolve(uri, folder, row(index) if "://" in uri else "", etag))
        else:
            reject = spell_reject(RejectReason.UNREADABLE, f"{row(index)} has no URI")
            found.append((reject, file_etag(str(table))))
    if not all(ids):
        ids = [_id_of(item, columns, row(index)) for index, item in enumerate(ids)]
    labels, splits = (
        [value or None for value in _values(part[name])] if name else None
        for name in (columns.label, columns.split)
    )
    return one_batch(ids, [f[0] for f in found], [f[1] for f in found], labels, splits)


def _id_of(item: str | None, columns: UriColumns, row: str) -> str:
    if item:
        return item
    if columns.id:
        raise UsageError(f"SOURCE: {row} has no {columns.id!r}; give every row an id")
    return row


def _values(values: Texts) -> list[str | None]:
    found: list[str | None] = (
        values.to_pylist() if isinstance(values, pa.Array | pa.ChunkedArray) else list(values)
    )
    return found


def _namer(unit: str, uri: str, first: int) -> Callable[[int], str]:
    return lambda index: f"{unit} {first + index} of {uri!r}"


def _csv_names(path: AnyPath) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file, delimiter=_DELIMITERS[path.suffix.lower()]), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"SOURCE: cannot read the header of {str(path)!r}: {error}") from None
    if len(set(names)) < len(names):
        raise UsageError(f"SOURCE: {str(path)!r} has two columns of one name: {', '.join(names)}")
    return names


def _json_parts(path: AnyPath, names: list[str]) -> Iterator[Mapping[str, Texts]]:
    rows = _json_rows(path)
    while chunk := list(islice(rows, BATCH_ROWS)):
        yield {name: [_text(row.get(name)) for row in chunk] for name in names}


def _json_rows(path: AnyPath) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    yield _parsed(line, number, path)
    except OSError as error:
        raise UsageError(f"SOURCE: cannot read {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"SOURCE: {str(path)!r}: expected UTF-8; {error.reason}") from None


def _parsed(line: str, number: int, path: AnyPath) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if isinstance(row, dict):
            return row
        problem = 'expected an object, as {"uri": "a.jpg"}'
    except ValueError as error:
        problem = str(error)
    raise UsageError(f"SOURCE: line {number} of {str(path)!r}: {problem}; correct this line")


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
