"""Parquet tables with images, or with their URIs."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config import LabelConfig, SourceConfig
from raypipe.errors import RaypipeError, RejectReason, UsageError
from raypipe.schema import MISSING
from raypipe.sources.arrow_layouts import (
    BYTES,
    PATH,
    as_text,
    bytes_of,
    can_hold_images,
    field_of,
    is_text,
    leaf_of,
)
from raypipe.sources.batches import BATCH_ROWS, Texts, one_batch
from raypipe.sources.columns import (
    IMAGE_NAMES,
    distinct,
    id_column,
    label_columns,
    present,
    resolve,
    with_slashes,
)
from raypipe.sources.containers import columns_of_path
from raypipe.sources.files import AnyPath, file_etag, readable
from raypipe.sources.manifest import UriColumns, uri_batch
from raypipe.sources.members import spell, spell_reject
from raypipe.storage import is_object

_PICKLE_PROTOCOLS = (2, 3, 4, 5)
# A row group's images are held while they are read one by one.
_MAX_GROUP_BYTES = 2 * 2**30
#: Why a row has no label though other tables of the folder have a column of them.
_NO_COLUMN = "a row of a table without the others' column of labels"


class ParquetSource:
    """Each row is an item; its image is in a column of bytes, or behind a column of URIs.

    `id` is the id column, else `<file>/<row>` for bytes and the URI as written for URIs. Columns
    that stand in a file's path, as `species=rose/part-0.parquet`, are columns like those in it.
    """

    auto_label: Literal["folder", "column"] = "column"

    def __init__(
        self,
        uri: str,
        files: Sequence[AnyPath],
        config: SourceConfig,
        *,
        names: Sequence[str] | None = None,
        aside: Counter[str] | None = None,
    ) -> None:
        self.uri = uri
        self.aside, self.labels_not_found = Counter(aside or ()), Counter[str]()
        below = names or [path.name for path in files]
        self.files = [
            _TableFile(path, name, config) for path, name in zip(files, below, strict=True)
        ]

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of files and rows, holding one row group's small columns.

        Raises:
            RaypipeError: a file is damaged.
            UsageError: the images are pickled objects, or row groups are too large.
        """
        self.labels_not_found.clear()
        labelled = any(file.label for file in self.files)
        for file in self.files:
            lacks = labelled and not file.label
            for batch in file.list():
                self.labels_not_found[_NO_COLUMN] += len(batch) * lacks
                yield batch


class _TableFile:
    """One file of the table."""

    def __init__(self, path: AnyPath, name: str, config: SourceConfig) -> None:
        self.path, self.config = path, config
        self.stem = name.rpartition(".")[0] or name
        with _reading(str(path)) as table:
            arrow = table.schema_arrow
        split_column = config.split_column if isinstance(config, LabelConfig) else "split"
        of_path = columns_of_path(name, split_column)
        self.of_path = {key: value for key, value in of_path.items() if key not in arrow.names}
        names = [*arrow.names, *self.of_path]
        where = repr(str(path))
        distinct(names, where)
        self.image = _image_column(arrow, config, where)
        self.id = id_column(names, config, where)
        self.label, self.split = label_columns(names, config, where)
        self.label_names = _class_names(arrow, self.label)
        kind = arrow.field(self.image).type
        self.holds_bytes = not is_text(kind)
        self.leaf = f"{self.image}.{BYTES}" if pa.types.is_struct(kind) else self.image
        inner = field_of(kind, PATH)
        self.path_leaf = f"{self.image}.{PATH}" if inner is not None and is_text(inner) else None
        self.uris = None
        if not self.holds_bytes:
            named = config.model_copy(update={"image_column": self.image})
            self.uris = UriColumns.choose(names, named, where)

    def list(self) -> Iterator[pa.RecordBatch]:
        etag = file_etag(str(self.path))  # before it is read: what changes meanwhile has another
        with _reading(str(self.path)) as table:
            _check_rows(table.metadata, str(self))
            if self.holds_bytes:
                self._check_images(table)
            row = 0
            for group in range(table.num_row_groups):
                size = table.metadata.row_group(group).num_rows
                part = self._small_columns(table, group)
                paths = self._paths(table, group)
                for start in range(0, size, BATCH_ROWS):
                    rows = range(start, min(start + BATCH_ROWS, size))
                    some = part.slice(start, len(rows))
                    yield self._batch(some, paths, group, rows, row, etag)
                row += size

    def _small_columns(self, table: Any, group: int) -> pa.Table:
        wanted = self.uris.names if self.uris else [self.id, self.label, self.split]
        names = dict.fromkeys(name for name in wanted if name)
        held = [name for name in names if name not in self.of_path]
        part = table.read_row_group(group, columns=held)
        count = table.metadata.row_group(group).num_rows
        if held and len(part) != count:
            raise _damaged(str(self), f"row group {group} has {len(part)} of {count} rows")
        for name in (name for name in names if name in self.of_path):
            value = pa.scalar(self.of_path[name], pa.string())
            part = part.append_column(name, pa.repeat(value, count))
        return part

    def _paths(self, table: Any, group: int) -> dict[int, str]:
        """Return where the images of some rows of a row group are whose bytes are null."""
        if self.path_leaf is None or not _may_have_nulls(
            table.metadata.row_group(group), self.leaf
        ):
            return {}
        found = table.read_row_group(group, columns=[self.leaf, self.path_leaf]).column(0)
        lacks = pc.is_null(leaf_of(found)).to_pylist()
        paths = pc.struct_field(found, PATH).cast(pa.string()).to_pylist()
        return {row: path for row, path in enumerate(paths) if path and lacks[row]}

    def _batch(
        self,
        part: pa.Table,
        paths: Mapping[int, str],
        group: int,
        rows: range,
        before: int,
        etag: str,
    ) -> pa.RecordBatch:
        names_of = {self.label: self.label_names}
        columns = {
            name: as_text(part[name], name, str(self), names_of.get(name))
            for name in part.column_names
        }
        first = before + rows.start
        if self.uris:
            return uri_batch(columns, self.uris, self.path, lambda i: f"row {first + i} of {self}")
        prefix = spell("parquet", str(self.path), self.leaf, group=group)
        places = [(f"{prefix}&row={row}", etag) for row in rows]
        for row in paths.keys() & rows:
            places[row - rows.start] = self._beside(paths[row], f"row {before + row} of {self}")
        labels, splits = (columns[n] if n else None for n in (self.label, self.split))
        uris, etags = zip(*places, strict=True)
        return one_batch(self._ids(columns, rows, before), uris, etags, labels, splits)

    def _beside(self, path: str, row: str) -> tuple[str, str]:
        """Return the URI and etag of an image that a row has no bytes of, but says where it is."""
        folder = str(self.path.parent)
        path = with_slashes(path, folder, row)
        uri, etag = resolve(path, folder, row, outside=True)
        if etag != MISSING:
            return resolve(path, folder, row, outside=self.config.allow_outside)
        message = f"{row} has no bytes (null), and its path {path!r} is not there: {uri}"
        return spell_reject(RejectReason.UNREADABLE, message), file_etag(str(self.path))

    def _ids(self, columns: Mapping[str, Any], rows: range, before: int) -> Texts:
        if self.id is None:
            return [f"{self.stem}/{before + row}" for row in rows]
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
            found = leaf_of(batch.column(0)).drop_null()
            if len(found):
                start = bytes(bytes_of(found[0]) or b"")[:2]
                if len(start) == 2 and start[0] == 0x80 and start[1] in _PICKLE_PROTOCOLS:
                    raise UsageError(
                        f"SOURCE: column {self.image!r} of {self} holds pickled objects, which are "
                        "refused because they run code; store the bytes of encoded images"
                    )
                return

    def __str__(self) -> str:
        return repr(str(self.path))


def _check_rows(metadata: Any, where: str) -> None:
    """Make sure that a table's row groups have as many rows as its footer says."""
    groups = sum(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    if groups != metadata.num_rows:
        raise _damaged(where, f"its row groups have {groups} of {metadata.num_rows} rows")


def _damaged(where: str, what: str) -> RaypipeError:
    return RaypipeError(f"SOURCE: {where} is damaged: {what}; repair or replace it")


@contextlib.contextmanager
def _reading(path: str) -> Iterator[Any]:
    """Open a Parquet file; what goes wrong with it names it."""
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(readable(path), pre_buffer=is_object(path)) as table:
            yield table
    except (OSError, MemoryError, pa.ArrowException) as error:
        said = " ".join(str(error).split()) or "it promises more than memory holds"
        raise RaypipeError(f"SOURCE: cannot read {path!r}: {said}; repair or remove it") from None


def _image_column(arrow: pa.Schema, config: SourceConfig, where: str) -> str:
    if config.image_column:
        name = present(config.image_column, arrow.names, "--image-column", where)
        if not can_hold_images(arrow.field(name).type):
            raise UsageError(
                f"--image-column: expected a column of bytes, of URIs, or a struct with `bytes`; "
                f"{name!r} in {where} is {arrow.field(name).type}: write it as one of these"
            )
        return name
    for name in IMAGE_NAMES:
        if name in arrow.names and can_hold_images(arrow.field(name).type):
            return name
    listed = ", ".join(f"{field.name} ({field.type})" for field in arrow)
    raise UsageError(
        f"--image-column: no column of {where} has a usual name ({', '.join(IMAGE_NAMES)}) and "
        f"holds bytes or URIs; it has {listed}: name one"
    )


def _class_names(arrow: pa.Schema, label: str | None) -> Sequence[str] | None:
    """Return the names behind integer labels, where the writer left them as Hugging Face does."""
    try:
        info = json.loads((arrow.metadata or {})[b"huggingface"])
        names = info["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else None


def _may_have_nulls(group: Any, leaf: str) -> bool:
    columns = (group.column(i) for i in range(group.num_columns))
    found = next(column for column in columns if column.path_in_schema == leaf)
    known = found.statistics is not None and found.statistics.has_null_count
    return not known or found.statistics.null_count > 0


def _uncompressed(group: Any, leaf: str) -> int:
    columns = (group.column(i) for i in range(group.num_columns))
    return sum(c.total_uncompressed_size for c in columns if c.path_in_schema == leaf)
