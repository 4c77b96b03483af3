"""Partitions as HDF5 files.

A file holds one dataset per feature column, of (N, …), and of (N,) `labels` (position in
`label_names`, −1 where unlabelled), `ids`, `uri`, `etag`, `split` and `view`. What stands for "no
split" is the attribute `missing` of `split`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.errors import RaypipeError
from raypipe.rows.features import tensor, to_array
from raypipe.storage import FileInput

SUFFIX = ".h5"

LABELS = "labels"
LABEL_NAMES = "label_names"
IDS = "ids"

_COLUMNS = "raypipe.columns"
_MISSING = "missing"
_PIECE_BYTES = 64 * 2**20


def encode_pieces(
    columns: pa.Schema, pieces: Iterable[pa.Table], rows: int, metadata: Mapping[str, str]
) -> bytes:
    """Return the content of a partition whose rows come piece by piece: the same for the same ones.

    In memory stay the file's content, one piece, and what is not a feature.
    """
    features = [name for name in columns.names if name not in schema.ROW_COLUMNS]
    about = [columns.empty_table().select(list(schema.ROW_COLUMNS))]
    sink = io.BytesIO()
    with create(sink) as file:
        for name in features:
            shape = (rows, *getattr(columns.field(name).type, "shape", ()))
            file.create_dataset(name, shape, _numpy_type(columns.field(name).type))
        start = 0
        for piece in pieces:
            for name in features:
                file[name][start : start + len(piece)] = to_array(piece[name])
            about.append(piece.select(about[0].schema.names))
            start += len(piece)
        _write_rows(file, pa.concat_tables(about))
        file.attrs.update(dict(metadata) | {_COLUMNS: json.dumps(features)})
    return sink.getvalue()


def read_metadata(source: FileInput) -> dict[str, str]:
    """Return the file's own key-value metadata: all but which columns it has.

    Raises:
        ValueError, OSError: it is no HDF5 file.
    """
    with _open(source) as file:
        return {key: str(value) for key, value in file.attrs.items() if key != _COLUMNS}


def count_rows(source: FileInput) -> int:
    """Return the number of rows."""
    with _open(source) as file:
        return len(file[IDS])


def shapes(source: FileInput, columns: list[str]) -> dict[str, tuple[int, ...]]:
    """Return the shape of one row's value for each of the columns."""
    with _open(source) as file:
        return {column: tuple(file[column].shape[1:]) for column in columns}


def dataset_type(source: FileInput, column: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape of one row's value of a column, and its type."""
    with _open(source) as file:
        return tuple(file[column].shape[1:]), file[column].dtype


def read_table(source: FileInput, columns: list[str] | None) -> pa.Table:
    """Return the rows, or some columns of them."""
    with _open(source) as file:
        return _read(file, columns, slice(0, len(file[IDS])))


def iter_tables(source: FileInput, columns: list[str] | None) -> Iterator[pa.Table]:
    """Yield the rows in pieces of bounded size."""
    with _open(source) as file:
        rows = len(file[IDS])
        wanted = _feature_columns(file) if columns is None else columns
        row_bytes = 64 + sum(
            file[name].dtype.itemsize * int(np.prod(file[name].shape[1:]))
            for name in wanted
            if name not in schema.ROW_COLUMNS
        )
        length = max(1, _PIECE_BYTES // row_bytes)
        for start in range(0, rows, length):
            yield _read(file, columns, slice(start, min(rows, start + length)))


def label_codes(
    labels: Iterable[str | None], names: Iterable[str] | None = None
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return each label's place among the sorted names as (N,), −1 for none, and the names."""
    listed = list(labels)
    known = sorted({label for label in listed if label is not None} if names is None else names)
    code: dict[str | None, int] = {name: index for index, name in enumerate(known)}
    return np.array([code.get(label, -1) for label in listed], np.int64), known


@contextmanager
def create(target: io.BytesIO | Path) -> Iterator[Any]:
    """Open a new HDF5 file that any reader since 1.10 understands."""
    with h5py.File(target, "w", libver=("earliest", "v110")) as file:
        yield file


def write_labels(file: Any, codes: npt.NDArray[np.int64], names: list[str]) -> None:
    """Write `labels`, (N,) codes, and the `label_names` that they number."""
    file.create_dataset(LABELS, data=codes)
    write_texts(file, LABEL_NAMES, names)


def write_splits(file: Any, splits: list[str | None]) -> None:
    """Write `split`; its attribute says what stands for no split: an empty text if none is one."""
    missing = ""
    while missing in splits:
        missing += "?"
    dataset = write_texts(file, schema.SPLIT, [missing if s is None else s for s in splits])
    dataset.attrs[_MISSING] = missing


def write_texts(file: Any, name: str, texts: list[str]) -> Any:
    """Write a dataset of texts, and return it.

    Raises:
        RaypipeError: HDF5 cannot hold one of them.
    """
    try:
        data = np.array(texts, dtype=object)
        return file.create_dataset(name, (len(texts),), h5py.string_dtype(), data=data)
    except ValueError as error:
        odd = next((text for text in texts if "\0" in text), "")
        raise RaypipeError(f"HDF5 cannot hold the {name} {odd!r}: {error}") from None


def _write_rows(file: Any, table: pa.Table) -> None:
    codes, names = label_codes(table[schema.LABEL].to_pylist())
    write_labels(file, codes, names)
    write_splits(file, table[schema.SPLIT].to_pylist())
    write_texts(file, IDS, table[schema.ID].to_pylist())
    for name in (schema.URI, schema.ETAG):
        write_texts(file, name, table[name].to_pylist())
    file.create_dataset(schema.VIEW, data=table[schema.VIEW].to_numpy())


@contextmanager
def _open(source: FileInput) -> Iterator[Any]:
    if not isinstance(source, Path):
        # HDF5 reads in small pieces, each of which would be a request.
        with h5py.File(io.BytesIO(source.read()), "r") as file:
            yield file
        return
    # Finished files never change; some network drives cannot lock.
    with h5py.File(source, "r", locking=False) as file:
        yield file


def _feature_columns(file: Any) -> list[str]:
    names: list[str] = json.loads(file.attrs[_COLUMNS])
    return names


def _read(file: Any, columns: list[str] | None, rows: slice) -> pa.Table:
    features = _feature_columns(file)
    kinds = {name: (tuple(file[name].shape[1:]), str(file[name].dtype)) for name in features}
    target = schema.data_schema(kinds)
    names = target.names if columns is None else columns
    fields = [target.field(name) for name in names]
    arrays = [
        _read_about(file, name, rows)
        if name in schema.ROW_COLUMNS
        else tensor(file[name][rows], target.field(name).type)
        for name in names
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _read_about(file: Any, name: str, rows: slice) -> pa.Array:
    if name == schema.VIEW:
        return pa.array(file[name][rows])
    if name == schema.LABEL:
        codes = file[LABELS][rows]
        names = pa.array(file[LABEL_NAMES].asstr()[:].tolist(), pa.string())
        return names.take(pa.array(codes, mask=codes < 0))
    dataset = file[IDS if name == schema.ID else name]
    texts = dataset.asstr()[rows].tolist()
    if name == schema.SPLIT:
        missing = dataset.attrs[_MISSING]
        texts = [None if text == missing else text for text in texts]
    return pa.array(texts, pa.string())


def _numpy_type(kind: pa.DataType) -> Any:
    value = kind.value_type if isinstance(kind, pa.FixedShapeTensorType) else kind
    return value.to_pandas_dtype()
