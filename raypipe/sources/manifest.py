"""Tables of URIs as text: .csv, .tsv and .jsonl."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeGuard, cast

import pyarrow as pa

from raypipe.config import SourceConfig
from raypipe.errors import RejectReason, UsageError
from raypipe.sources import local
from raypipe.sources.batches import Texts, one_batch
from raypipe.sources.columns import (
    IMAGE_NAMES,
    etag_column,
    id_column,
    label_columns,
    present,
    resolve,
    with_slashes,
)
from raypipe.sources.files import AnyPath, file_etag
from raypipe.sources.json_lines import json_parts, keys_of
from raypipe.sources.members import spell_reject
from raypipe.sources.places import may_be_outside
from raypipe.sources.text_tables import TextTable
from raypipe.storage import is_object

_JSON_SUFFIXES = (".jsonl", ".ndjson")
#: What is in no plain relative path: most tables have no others. Behind a zero each, they begin so.
_BEGINNINGS, _PARTS = re.compile(r"\0(?:/|.:)"), ("\\", "..", "://")
MANIFEST_SUFFIXES = (".csv", ".tsv", *_JSON_SUFFIXES)


@dataclass(frozen=True)
class UriColumns:
    """Which columns of a table of URIs hold what."""

    image: str
    id: str | None
    etag: str | None
    label: str | None
    split: str | None
    outside: bool

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
        identity, etag = id_column(names, config, where), etag_column(names)
        return UriColumns(image, identity, etag, label, split, config.allow_outside)


class ManifestSource:
    """Each row is an item; its image is the file or object that the row's URI names.

    `id` is the id column, else the URI as written. Relative paths are relative to the manifest.
    """

    auto_label: Literal["folder", "column"] = "column"

    def __init__(self, path: AnyPath, config: SourceConfig) -> None:
        self.path = path
        self.uri = str(path)
        self.aside = Counter[str]()
        self.table = None if path.suffix.lower() in _JSON_SUFFIXES else TextTable(path)
        names = self.table.names if self.table else keys_of(path)
        self.columns = UriColumns.choose(names, config, repr(self.uri))

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of the rows, holding one batch of them.

        Raises:
            UsageError: a row cannot be parsed, or has a URI that cannot be read.
        """
        names = self.columns.names
        parts = self.table.parts(names) if self.table else json_parts(self.path, names)
        unit, row = "row" if self.table else "line", 1
        for part in parts:
            size = len(part[self.columns.image])
            yield uri_batch(part, self.columns, self.path, _namer(unit, self.uri, row))
            row += size


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
    etags: list[str | None] = [None] * len(uris)
    if columns.etag:
        etags = _values(part[columns.etag])
    folder = str(table.parent)
    if _all_plain(uris):
        paths = [f"{folder}/{uri}" for uri in uris]
        if not is_object(folder):
            etags = [local.file_etag(path) for path in paths]
    else:
        paths, etags = _resolved(uris, etags, columns, table, row)
    if not all(ids):
        ids = [_id_of(item, columns, row(index)) for index, item in enumerate(ids)]
    labels, splits = (
        [value or None for value in _values(part[name])] if name else None
        for name in (columns.label, columns.split)
    )
    return one_batch(ids, paths, [etag or "" for etag in etags], labels, splits)


def _all_plain(uris: list[str | None]) -> TypeGuard[list[str]]:
    """Whether all of (N,) references are relative paths that stand for themselves."""
    if not all(uris):
        return False
    text = "\0" + "\0".join(cast(list[str], uris))
    return not any(part in text for part in _PARTS) and not _BEGINNINGS.search(text)


def _resolved(
    uris: list[str | None],
    etags: list[str | None],
    columns: UriColumns,
    table: AnyPath,
    row: Callable[[int], str],
) -> tuple[list[str], list[str | None]]:
    """Return where images are, and their etags; give `uris` the slashes that are used here."""
    folder = str(table.parent)
    found: list[tuple[str, str | None]] = []
    for index, (uri, etag) in enumerate(zip(uris, etags, strict=True)):
        if uri and ("\\" in uri or uri[1:2] == ":"):
            uri = uris[index] = with_slashes(uri, folder, row(index))
        if uri:
            named = row(index) if may_be_outside(uri) else ""
            found.append(resolve(uri, folder, named, etag, outside=columns.outside))
        else:
            reject = spell_reject(RejectReason.UNREADABLE, f"{row(index)} has no URI")
            found.append((reject, file_etag(str(table))))
    return [path for path, _ in found], [etag for _, etag in found]


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
