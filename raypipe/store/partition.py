"""One unit's features as one file, its rejects as another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe import schema
from raypipe.errors import RaypipeError
from raypipe.storage import Storage

__all__ = [
    "DATA",
    "REJECTS",
    "File",
    "Metadata",
    "count_rows",
    "data_name",
    "describe",
    "existing_unit",
    "read_metadata",
    "write_unit",
]

DATA = "data"
REJECTS = "rejects"

_FINGERPRINT = b"raypipe.fingerprint"
_UNIT = b"raypipe.unit"
_REJECTS_FILE = b"raypipe.rejects"


@dataclass(frozen=True)
class File:
    """A finished partition file, as a snapshot lists it."""

    path: str
    unit: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Metadata:
    """What a feature partition says of itself: which features, which unit, where its rejects are.

    `rejects` is the name of the rejects partition, empty where there are none.
    """

    fingerprint: str
    unit: str
    rejects: str


def data_name(unit: str) -> str:
    """Return the name of a unit's feature partition within the store."""
    return f"{DATA}/part-{unit}.parquet"


def write_unit(
    storage: Storage,
    unit: str,
    fingerprint: str,
    rows: pa.Table,
    features: Mapping[str, npt.NDArray[np.generic]],
    rejects: pa.Table,
) -> list[File]:
    """Write a unit's partitions, or return those that another run has finished first.

    A finished partition is never replaced: a snapshot may list it already. The feature partition is
    written last and even when it has no rows: its presence is what says that the unit is complete.
    It names its rejects partition, whose own name depends on its content.

    Args:
        storage: the store's folder.
        unit: the unit's id.
        fingerprint: of the spec the features were made with.
        rows: the items that became features, of `schema.ITEMS`, in the order of the features.
        features: one array of (rows, …) per column.
        rejects: the other items, of `schema.REJECTS`.
    """
    files = []
    rejects_file = ""
    if len(rejects):
        content = _to_parquet(rejects)
        rejects_file = f"{REJECTS}/part-{unit}-{hashlib.sha256(content).hexdigest()[:8]}.parquet"
        storage.put(rejects_file, content)
        files.append(_file(rejects_file, unit, len(rejects), content))
    table = _features_table(rows, features).replace_schema_metadata(
        {_FINGERPRINT: fingerprint, _UNIT: unit, _REJECTS_FILE: rejects_file}
    )
    data = _to_parquet(table)
    if storage.create(data_name(unit), data):
        return [_file(data_name(unit), unit, len(rows), data), *files]
    return existing_unit(storage, unit)


def existing_unit(storage: Storage, unit: str) -> list[File]:
    """Return the files of a unit that is complete.

    Raises:
        RaypipeError: its feature partition is none of this project's.
    """
    metadata = read_metadata(storage, data_name(unit))
    if metadata is None:
        raise RaypipeError(f"{storage.path(data_name(unit))} is in the way; remove it")
    names = [data_name(unit), metadata.rejects] if metadata.rejects else [data_name(unit)]
    return [describe(storage, name, unit) for name in names]


def read_metadata(storage: Storage, name: str) -> Metadata | None:
    """Return what a feature partition says of itself, or None if it is none of this project's."""
    try:
        found = pq.read_schema(storage.path(name)).metadata or {}
        return Metadata(
            found[_FINGERPRINT].decode(), found[_UNIT].decode(), found[_REJECTS_FILE].decode()
        )
    except (KeyError, ValueError, OSError):
        return None


def count_rows(storage: Storage, name: str) -> int:
    """Return a partition file's number of rows, from its footer."""
    return int(pq.read_metadata(storage.path(name)).num_rows)


def describe(storage: Storage, name: str, unit: str) -> File:
    """Return the snapshot entry of a partition file written by an earlier run."""
    data = storage.read(name)
    return _file(name, unit, pq.read_metadata(pa.BufferReader(data)).num_rows, data)


def _file(path: str, unit: str, rows: int, data: bytes) -> File:
    return File(path, unit, rows, len(data), hashlib.sha256(data).hexdigest())


def _features_table(rows: pa.Table, features: Mapping[str, npt.NDArray[np.generic]]) -> pa.Table:
    shapes = {column: value.shape[1:] for column, value in features.items()}
    dtype = str(next(iter(features.values())).dtype)
    target = schema.data_schema(shapes, dtype)
    columns = [
        *(rows[name] for name in schema.ITEMS.names),
        pa.array(np.zeros(len(rows), np.int32)),
        *(_tensors(value, target.field(column).type) for column, value in features.items()),
    ]
    return pa.Table.from_arrays(columns, schema=target)


def _tensors(values: npt.NDArray[np.generic], kind: pa.FixedShapeTensorType) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    width = int(np.prod(values.shape[1:]))
    return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(flat, width))


def _to_parquet(table: pa.Table) -> bytes:
    """Settings measured on 1,024-wide float32 rows: 0.56 of raw size, read three times faster.

    The defaults (dictionary, snappy) took 0.70.
    """
    sink = pa.BufferOutputStream()
    text = [f.name for f in table.schema if pa.types.is_string(f.type)]
    numbers = [f.name for f in table.schema if isinstance(f.type, pa.FixedShapeTensorType)]
    split = [f"{name}.list.element" for name in numbers]
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in text if name in (schema.LABEL, schema.REASON)],
        use_byte_stream_split=split or False,
    )
    return bytes(sink.getvalue())
