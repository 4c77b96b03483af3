"""One unit's features as one file, its rejects as another."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.errors import RaypipeError
from raypipe.rows.features import tensor
from raypipe.storage import FileInput, Storage
from raypipe.store import hdf5, parquet
from raypipe.store.lifetime import check_name
from raypipe.store.seals import blank, is_sealed, may_be_opened, pieces_of, seal

Format = Literal["parquet", "hdf5"]

DATA = "data"
REJECTS = "rejects"

_FORMATS: dict[str, Any] = {"parquet": parquet, "hdf5": hdf5}

#: What Arrow and h5py raise where bytes make no sense.
UNDECODABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    OSError,
    RuntimeError,
    MemoryError,
)

_FINGERPRINT = "raypipe.fingerprint"
_UNIT = "raypipe.unit"
_REJECTS_FILE = "raypipe.rejects"
_SEAL = "raypipe.seal"
_UNSEALED = {_FINGERPRINT, _UNIT, _REJECTS_FILE}


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

    `rejects` is the name of the rejects partition, empty where there are none; `seal` the checksum
    of the file itself, empty in files written by 0.1.0 or earlier.
    """

    fingerprint: str
    unit: str
    rejects: str
    seal: str = ""


def data_name(unit: str, form: Format) -> str:
    """Return the name of a unit's feature partition within the store."""
    return f"{DATA}/part-{unit}{_FORMATS[form].SUFFIX}"


def rejects_name(unit: str, content: bytes) -> str:
    """Return the name of a rejects partition: it depends on what is in it."""
    return f"{REJECTS}/part-{unit}-{hashlib.sha256(content).hexdigest()[:8]}.parquet"


def file_format(name: str) -> Any:
    """Return the module that reads a partition file: `parquet` or `hdf5`."""
    return hdf5 if name.endswith(hdf5.SUFFIX) else parquet


def write_unit(
    storage: Storage,
    unit: str,
    fingerprint: str,
    rows: pa.Table,
    features: Mapping[str, npt.NDArray[np.generic]],
    rejects: pa.Table,
    form: Format = "parquet",
) -> list[File]:
    """Write a unit's partitions, or return those that another run has finished first.

    A finished partition is never replaced: a snapshot may list it already. The feature partition is
    written last and even when it has no rows: its presence is what says that the unit is complete.
    It names its rejects partition, whose own name depends on its content.

    Args:
        storage: the store's folder.
        unit: the unit's id.
        fingerprint: of the spec the features were made with.
        rows: the items that became features, of `schema.ITEMS`.
        features: one array of (rows · views, …) per column: all views of the first item, then of
            the second, and so on.
        rejects: the other items, of `schema.REJECTS`.
        form: file format of the feature partition.
    """
    files = []
    rejects_file = ""
    if len(rejects):
        content = parquet.encode_pieces(rejects.schema, [rejects], len(rejects), {})
        rejects_file = rejects_name(unit, content)
        storage.put(rejects_file, content)
        files.append(_file(rejects_file, unit, len(rejects), content))
    table = _features_table(rows, features)
    name = data_name(unit, form)
    metadata = Metadata(fingerprint, unit, rejects_file)
    data = encode_pieces(table.schema, [table], len(table), metadata, form)
    if storage.create(name, data):
        return [_file(name, unit, len(table), data), *files]
    return existing_unit(storage, unit, form)


def encode_pieces(
    columns: pa.Schema, pieces: Iterable[pa.Table], rows: int, metadata: Metadata, form: Format
) -> bytes:
    """Return the content of a feature partition whose `rows` rows come piece by piece."""
    about = _about(metadata)
    sink = io.BytesIO(_FORMATS[form].encode_pieces(columns, pieces, rows, about))
    seal(sink, about[_SEAL])
    return sink.getvalue()


def existing_unit(storage: Storage, unit: str, form: Format) -> list[File]:
    """Return the files of a unit that is complete.

    Raises:
        RaypipeError: its feature partition is none of this project's, or one is damaged.
    """
    name = data_name(unit, form)
    found = [_recovered(storage, name, unit)]
    metadata = read_metadata(storage, name)
    if metadata and metadata.rejects:
        found.append(_recovered(storage, metadata.rejects, unit))
    return found


def _recovered(storage: Storage, name: str, unit: str) -> File:
    found = recover(storage, name, unit)
    if found is None:
        raise RaypipeError(
            f"{storage.uri}/{name} is damaged or none of raypipe's, and no snapshot lists it; "
            "remove it"
        )
    return found


def read_metadata(storage: Storage, name: str) -> Metadata | None:
    """Return what a feature partition says of itself, or None if it is none of this project's.

    Raises:
        RaypipeError: it names a rejects file outside the store.
    """
    try:
        return metadata_of(storage, name, storage.open(name))
    except OSError:
        return None


def metadata_of(storage: Storage, name: str, source: FileInput) -> Metadata | None:
    """Return what `read_metadata` does, from what is open already.

    Raises:
        RaypipeError: it names a rejects file outside the store.
    """
    try:
        found = file_format(name).read_metadata(source)
        # Without a seal it is older, unless a name in it is damaged, which may be the seal's.
        if _SEAL not in found and found.keys() != _UNSEALED:
            return None
        metadata = Metadata(
            found[_FINGERPRINT], found[_UNIT], found[_REJECTS_FILE], found.get(_SEAL, "")
        )
    except UNDECODABLE:
        return None
    if metadata.rejects:
        check_name(metadata.rejects, f"{storage.uri}/{name}")
    return metadata


def count_rows(storage: Storage, name: str) -> int:
    """Return a partition file's number of rows."""
    return int(file_format(name).count_rows(storage.open(name)))


def describe(storage: Storage, name: str, unit: str, rows: int | None = None) -> File:
    """Return the snapshot entry of a partition file written by an earlier run.

    Args:
        storage: the store's folder.
        name: the file's.
        unit: the unit's id.
        rows: how many it has, where that is known.
    """
    size, checksum = 0, hashlib.sha256()
    for piece in pieces_of(storage, name):
        size += len(piece)
        checksum.update(piece)
    counted = count_rows(storage, name) if rows is None else rows
    return File(name, unit, counted, size, checksum.hexdigest())


def recover(storage: Storage, name: str, unit: str, rows: int | None = None) -> File | None:
    """Describe a file that no snapshot lists, or return None if it is damaged.

    A feature partition is compared with its seal, a rejects partition with its name; a feature
    partition without a seal, which is of 0.1.0 or earlier, is decoded in full.

    Raises:
        RaypipeError: it cannot be read now, which says nothing of it.
    """
    try:
        if _is_as_written(storage, name):
            return describe(storage, name, unit, rows)
    except UNDECODABLE as error:
        if isinstance(error, OSError) and error.errno:
            raise RaypipeError(f"{storage.uri}/{name} cannot be read: {error.strerror}") from error
    return None


def _is_as_written(storage: Storage, name: str) -> bool:
    if name.startswith(f"{REJECTS}/"):
        checksum = hashlib.sha256()
        for piece in pieces_of(storage, name):
            checksum.update(piece)
        return name == f"{name.rpartition('-')[0]}-{checksum.hexdigest()[:8]}.parquet"
    metadata = read_metadata(storage, name) if may_be_opened(storage, name) else None
    if metadata is None:
        return False
    if not metadata.seal:
        for _ in file_format(name).iter_tables(storage.open(name), None):
            pass
        return True
    pieces = pieces_of(storage, name)
    return is_sealed(pieces, metadata.seal, blank(metadata.fingerprint, metadata.unit))


def _about(metadata: Metadata) -> dict[str, str]:
    return {
        _FINGERPRINT: metadata.fingerprint,
        _UNIT: metadata.unit,
        _REJECTS_FILE: metadata.rejects,
        _SEAL: blank(metadata.fingerprint, metadata.unit),
    }


def _file(path: str, unit: str, rows: int, data: bytes) -> File:
    return File(path, unit, rows, len(data), hashlib.sha256(data).hexdigest())


def _features_table(rows: pa.Table, features: Mapping[str, npt.NDArray[np.generic]]) -> pa.Table:
    columns = {name: (value.shape[1:], str(value.dtype)) for name, value in features.items()}
    target = schema.data_schema(columns)
    count = len(next(iter(features.values())))
    views = count // len(rows) if len(rows) else 1
    repeated = rows.take(pa.array(np.repeat(np.arange(len(rows)), views)))
    view = np.tile(np.arange(views, dtype=np.int32), len(rows))
    arrays = [
        *(repeated[name] for name in schema.ITEMS.names),
        pa.array(view),
        *(tensor(value, target.field(name).type) for name, value in features.items()),
    ]
    return pa.Table.from_arrays(arrays, schema=target)
