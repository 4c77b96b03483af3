"""Parquet tables with images, or with their URIs."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa

from raypipe.config import SourceConfig
from raypipe.errors import RaypipeError, RejectedItem, RejectReason, UsageError
from raypipe.sources.batches import BATCH_ROWS, Texts, one_batch
from raypipe.sources.columns import IMAGE_NAMES, id_column, label_columns, present
from raypipe.sources.files import AnyPath, file_etag, readable
from raypipe.sources.local import check_size, unreadable
from raypipe.sources.manifest import UriColumns, uri_batch
from raypipe.sources.members import Member, spell
from raypipe.storage import is_object

_BYTES = "bytes"
_PICKLE_PROTOCOLS = (2, 3, 4, 5)
# A row group's images are held while they are read one by one.
_MAX_GROUP_BYTES = 2 * 2**30


class ParquetSource:
    """Each row is an item; its image is in a column of bytes, or behind a column of URIs.

    `id` is the id column, else `<file>/<row>` for bytes and the URI as written for URIs.
    """

    auto_label: Literal["folder", "column"] = "column"

    def __init__(self, uri: str, files: Sequence[AnyPath], config: SourceConfig) -> None:
        self.uri = uri
        self.files = [_TableFile(path, config) for path in files]

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of files and rows, holding one row group's small columns.

        Raises:
            RaypipeError: a file is damaged.
            UsageError: the images are pickled objects, or row groups are too large.
        """
        for file in self.files:
            yield from file.list()


class _TableFile:
    """One file of the table."""

    def __init__(self, path: AnyPath, config: SourceConfig) -> None:
        self.path, self.config = path, config
        with _reading(str(path)) as table:
            arrow, names = table.schema_arrow, table.schema_arrow.names
        where = repr(str(path))
        self.image = _image_column(arrow, config, where)
        self.id = id_column(names, config, where)
        self.label, self.split = label_columns(names, config, where)
        self.label_names = _class_names(arrow, self.label)
        self.holds_bytes = not _is_text(arrow.field(self.image).type)
        is_struct = pa.types.is_struct(arrow.field(self.image).type)
        self.leaf = f"{self.image}.{_BYTES}" if is_struct else self.image
        self.uris = None
        if not self.holds_bytes:
            named = config.model_copy(update={"image_column": self.image})
            self.uris = UriColumns.choose(names, named, where)

    def list(self) -> Iterator[pa.RecordBatch]:
        with _reading(str(self.path)) as table:
            if self.holds_bytes:
                self._check_images(table)
            row = 0
            for group in range(table.num_row_groups):
                size = table.metadata.row_group(group).num_rows
                part = self._small_columns(table, group)
                for start in range(0, size, BATCH_ROWS):
                    rows = range(start, min(start + BATCH_ROWS, size))
                    yield self._batch(part.slice(start, len(rows)), group, rows, row)
                row += size

    def _small_columns(self, table: Any, group: int) -> pa.Table:
        wanted = self.uris.names if self.uris else [self.id, self.label, self.split]
        names = list(dict.fromkeys(name for name in wanted if name))
        return table.read_row_group(group, columns=names)

    def _batch(self, part: pa.Table, group: int, rows: range, before: int) -> pa.RecordBatch:
        names_of = {self.label: self.label_names}
        columns = {name: _as_text(part[name], names_of.get(name)) for name in part.column_names}
        first = before + rows.start
        if self.uris:
            return uri_batch(columns, self.uris, self.path, lambda i: f"row {first + i} of {self}")
        prefix = spell("parquet", str(self.path), self.leaf, group=group)
        uris = [f"{prefix}&row={row}" for row in rows]
        labels, splits = (columns[n] if n else None for n in (self.label, self.split))
        etags = [file_etag(str(self.path))] * len(rows)
        return one_batch(self._ids(columns, rows, before), uris, etags, labels, splits)

    def _ids(self, columns: Mapping[str, Any], rows: range, before: int) -> Texts:
        if self.id is None:
            return [f"{self.path.stem}/{before + row}" for row in rows]
        ids = columns[self.id]
        if ids.null_count:
            missing = before + rows.start + ids.is_null().to_pylist().index(True)
            raise UsageError(
                f"SOURCE: row {missing} of {self} has no {self.id!r}; give every row an id"
            )
        return ids

    def _check_images(self, table: Any) -> None:
        """Refuse what would run code when opened, and row groups that do not fit into memory."""
        groups = [table.metadata.row_group(i) for i in range(table.num_row_groups)]
        sizes = [_uncompressed(group, self.leaf) for group in groups]
        if sizes and max(sizes) > _MAX_GROUP_BYTES:
            raise UsageError(
                f"SOURCE: {self} has {max(sizes)} bytes of images in one row group, at most "
                f"{_MAX_GROUP_BYTES} can be read; write it with smaller ones (row_group_size=1000)"
            )
        for batch in table.iter_batches(batch_size=16, columns=[self.leaf]):
            found = _leaf(batch.column(0)).drop_null()
            if len(found):
                start = found[0].as_py()[:2]
                if len(start) == 2 and start[0] == 0x80 and start[1] in _PICKLE_PROTOCOLS:
                    raise UsageError(
                        f"SOURCE: column {self.image!r} of {self} holds pickled objects, which are "
                        "refused because they run code; store the bytes of encoded images"
                    )
                return

    def __str__(self) -> str:
        return repr(str(self.path))


@contextlib.contextmanager
def _reading(path: str) -> Iterator[Any]:
    """Open a Parquet file; what goes wrong with it names it."""
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(readable(path), pre_buffer=is_object(path)) as table:
            yield table
    except (OSError, pa.ArrowInvalid) as error:
        raise RaypipeError(
            f"SOURCE: cannot read {path!r}: {error}; repair or remove the file"
        ) from None


def _image_column(arrow: pa.Schema, config: SourceConfig, where: str) -> str:
    if config.image_column:
        name = present(config.image_column, arrow.names, "--image-column", where)
        if not _can_hold_images(arrow.field(name).type):
            raise UsageError(
                f"--image-column: expected a column of bytes, of URIs, or a struct with `bytes`; "
                f"{name!r} in {where} is {arrow.field(name).type}"
            )
        return name
    for name in IMAGE_NAMES:
        if name in arrow.names and _can_hold_images(arrow.field(name).type):
            return name
    listed = ", ".join(f"{field.name} ({field.type})" for field in arrow)
    raise UsageError(
        f"--image-column: no column of {where} has a usual name ({', '.join(IMAGE_NAMES)}) and "
        f"holds bytes or URIs; it has {listed}: name one"
    )


def _can_hold_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index(_BYTES)
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind) or _is_text(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _class_names(arrow: pa.Schema, label: str | None) -> Sequence[str] | None:
    """Return the names behind integer labels, where the writer left them as Hugging Face does."""
    try:
        info = json.loads((arrow.metadata or {})[b"huggingface"])
        names = info["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else None


def _as_text(values: pa.ChunkedArray, names: Sequence[str] | None) -> pa.Array:
    flat = values.combine_chunks()
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks) if flat.num_chunks else pa.array([], flat.type)
    if names and pa.types.is_integer(flat.type):
        flat = pa.array(
            [names[i] if i is not None and 0 <= i < len(names) else None for i in flat.to_pylist()],
            pa.string(),
        )
    try:
        return flat.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"SOURCE: a column of {flat.type} cannot be read as text: {error}"
        ) from None


def _uncompressed(group: Any, leaf: str) -> int:
    columns = (group.column(i) for i in range(group.num_columns))
    return sum(c.total_uncompressed_size for c in columns if c.path_in_schema == leaf)


def _leaf(column: pa.Array) -> pa.Array:
    return column.field(_BYTES) if pa.types.is_struct(column.type) else column


def read_parquet(member: Member, max_bytes: int) -> bytes:
    """Return the bytes in one row; the images of its row group are kept for the next ones.

    Raises:
        RejectedItem: there are none, or too many.
    """
    where = member.numbers
    try:
        with _group_lock:  # or every thread would hold the row group
            column = _group(member.path, file_etag(member.path), member.name, where["group"])
    except pa.ArrowInvalid as error:
        raise RejectedItem(RejectReason.CORRUPT, f"{member.path}: {error}") from None
    except OSError as error:
        raise unreadable(member.path, error) from None
    row = f"row {where['row']} of row group {where['group']} of {member.path}"
    if where["row"] >= len(column):
        raise RejectedItem(RejectReason.UNREADABLE, f"{row} is not there any more")
    value = column[where["row"]]
    if not value.is_valid:
        raise RejectedItem(RejectReason.UNREADABLE, f"{row} has no image (null)")
    buffer = value.as_buffer()
    check_size(buffer.size, max_bytes)
    return bytes(buffer.to_pybytes())


_group_lock = threading.Lock()


@lru_cache(maxsize=1)
def _group(path: str, _etag: str, leaf: str, group: int) -> pa.ChunkedArray:
    from pyarrow import parquet

    with parquet.ParquetFile(readable(path), pre_buffer=is_object(path)) as table:
        column = table.read_row_group(group, columns=[leaf], use_threads=False).column(0)
    return pa.chunked_array([_leaf(chunk) for chunk in column.chunks])
