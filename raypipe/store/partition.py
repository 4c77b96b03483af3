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
from raypipe.storage import Storage

__all__ = [
    "DATA",
    "REJECTS",
    "File",
    "Metadata",
    "count_rows",
    "data_name",
    "describe",
    "read_metadata",
    "rejects_name",
    "write_unit",
]

DATA = "data"
REJECTS = "rejects"

_FINGERPRINT = b"raypipe.fingerprint"
_UNIT = b"raypipe.unit"
_REJECTED = b"raypipe.rejected"


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
    """What a feature partition says of itself: which features, which unit, how many rejects."""

    fingerprint: str
    unit: str
    rejected: int


def data_name(unit: str) -> str:
    """Return the name of a unit's feature partition within the store."""
    return f"{DATA}/part-{unit}.parquet"


def rejects_name(unit: str) -> str:
    """Return the name of a unit's rejects partition within the store."""
    return f"{REJECTS}/part-{unit}.parquet"


def write_unit(
    storage: Storage,
    unit: str,
    fingerprint: str,
    rows: pa.Table,
    features: Mapping[str, npt.NDArray[np.generic]],
    rejects: pa.Table,
) -> list[File]:
    """Write a unit's partitions.

    The feature partition is written last and even when it has no rows: its presence is what says
    that the unit is complete.

    Args:
        storage: the store's folder.
        unit: the unit's id.
        fingerprint: of the spec the features were made with.
        rows: the items that became features, of `schema.ITEMS`, in the order of the features.
        features: one array of (rows, …) per column.
        rejects: the other items, of `schema.REJECTS`.
    """
    files = []
    if len(rejects):
        data = _to_parquet(rejects)
        storage.put(rejects_name(unit), data)
        files.append(_file(rejects_name(unit), unit, len(rejects), data))
    table = _features_table(rows, features).replace_schema_metadata(
        {_FINGERPRINT: fingerprint, _UNIT: unit, _REJECTED: str(len(rejects))}
    )
    data = _to_parquet(table)
    storage.put(data_name(unit), data)
    return [_file(data_name(unit), unit, len(rows), data), *files]


def read_metadata(storage: Storage, name: str) -> Metadata | None:
    """Return what a feature partition says of itself, or None if it is none of this project's."""
    try:
        found = pq.read_schema(storage.path(name)).metadata or {}
        return Metadata(found[_FINGERPRINT].decode(), found[_UNIT].decode(), int(found[_REJECTED]))
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
