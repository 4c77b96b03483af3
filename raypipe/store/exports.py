"""A snapshot as one file: HDF5, npy or CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.rows.features import to_array
from raypipe.rows.spreadsheets import without_formulas
from raypipe.storage import new_files
from raypipe.store import hdf5
from raypipe.store.reader import StoreReader

_PIECE_BYTES = 64 * 2**20
_ROW_BYTES = 128  # of an HDF5 file, beside features and ids, and more than enough
_BESIDE = ("ids", "labels", "label_names", "views")  # what an .npy file has beside it

Shape = tuple[int, ...]


@dataclass(frozen=True)
class StoredRows:
    """All of the rows but their features, in the order they are stored.

    Attributes:
        ids: (N,) item of each row.
        codes: (N,) position of its label in `names`, −1 where unlabelled.
        names: the labels of the whole store, sorted.
        splits: (N,) its split, None where it has none.
        views: (N,) which view of the item.
    """

    ids: npt.NDArray[np.object_]
    codes: npt.NDArray[np.int64]
    names: list[str]
    splits: npt.NDArray[np.object_]
    views: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> list[str | None]:
        """Label of each row."""
        return [self.names[code] if code >= 0 else None for code in self.codes.tolist()]

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> StoredRows:
        """Return some of the rows, by number."""
        return StoredRows(
            self.ids[rows], self.codes[rows], self.names, self.splits[rows], self.views[rows]
        )


@dataclass(frozen=True)
class Target:
    """A file to write, and the stored rows that it holds, in its order."""

    path: Path
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _FileArray:
    """An array of (N, …) within a file."""

    path: Path
    offset: int
    shape: Shape
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """Size of the array."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def reserve(self) -> None:
        """Claim the space on disk: without it, a full disk kills who writes to mapped memory.

        Raises:
            OSError: there is too little.
        """
        if self.bytes and hasattr(os, "posix_fallocate"):
            with self.path.open("rb+") as file:
                os.posix_fallocate(file.fileno(), self.offset, self.bytes)

    def map(self, mode: Literal["r", "r+"]) -> npt.NDArray[Any]:
        """Map the array into memory; while it is mapped, what is touched counts as ours."""
        if not self.bytes:
            return np.empty(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, mode, self.offset, self.shape)


def read_rows(reader: StoreReader) -> StoredRows:
    """Read everything but the features: columns (N,), in the order rows are stored in.

    Raises:
        UsageError: there are no rows.
    """
    columns = [schema.ID, schema.LABEL, schema.SPLIT, schema.VIEW]
    tables = list(reader.iter_batches(columns))
    if not tables:
        raise UsageError(f"STORE: {reader.uri} has no features yet; run `raypipe extract` first")
    table = pa.concat_tables(tables)
    codes, names = hdf5.label_codes(table[schema.LABEL].to_pylist())
    return StoredRows(
        ids=table[schema.ID].to_numpy(),
        codes=codes,
        names=names,
        splits=np.array(table[schema.SPLIT].to_pylist(), dtype=object),
        views=table[schema.VIEW].to_numpy(),
    )


def export(
    reader: StoreReader,
    column: str,
    rows: StoredRows,
    targets: list[Target],
    form: str,
    dtype: str = "stored",
    csv_safe: bool = False,
) -> list[Path]:
    """Write the targets: all of them whole, or none.

    Features pass through memory in pieces of about 64 MB: each goes to its place in a file beside
    the target. The files replace older ones together, when everything is written.

    Args:
        reader: the store.
        column: the feature column.
        rows: all rows of the snapshot, each column (N,).
        targets: the files, all in one existing folder; no row is in two of them.
        form: `hdf5`, `npy` or `csv`.
        dtype: of the features in the files; `stored` is that of the store.
        csv_safe: whether texts in a CSV are for a spreadsheet.

    Returns:
        The files, those with the features first.
    """
    prepare = _FORMATS[form]
    paths = [target.path for target in targets]
    stale = [_beside(path, name).name for path in paths for name in _BESIDE if form == "npy"]
    with new_files(paths[0], stale) as work:
        shape = reader.shapes[column]
        kind = reader.dtype(column) if dtype == "stored" else np.dtype(dtype)
        places = [
            prepare(work / t.path.name, rows[t.rows], (len(t.rows), *shape), kind) for t in targets
        ]
        for place in places:
            place.reserve()
        _scatter(reader, column, len(rows), targets, places)
        if form == "csv":
            for target, place in zip(targets, places, strict=True):
                _write_csv(work / target.path.name, rows[target.rows], place, safe=csv_safe)
        beside = sorted({paths[0].with_name(file.name) for file in work.iterdir()} - {*paths})
    return [*paths, *beside]


def _scatter(
    reader: StoreReader, column: str, count: int, targets: list[Target], places: list[_FileArray]
) -> None:
    """Put each stored row's features into their place."""
    file_of = np.full(count, -1, np.int32)
    row_of = np.zeros(count, np.int64)
    for index, target in enumerate(targets):
        file_of[target.rows] = index
        row_of[target.rows] = np.arange(len(target.rows))
    start = 0
    for table in reader.iter_batches([column]):
        values = to_array(table[column])
        part = slice(start, start + len(values))
        for index in np.unique(file_of[part]):
            if index >= 0:
                here = np.flatnonzero(file_of[part] == index)
                # In the order of the file, so that pages are written one after another.
                here = here[np.argsort(row_of[part][here])]
                places[index].map("r+")[row_of[part][here]] = values[here]
        start += len(values)


def _hdf5(path: Path, rows: StoredRows, shape: Shape, dtype: np.dtype[Any]) -> _FileArray:
    """Write `labels`, `label_names`, `ids`, `view` and `split`, and make room for `features`."""
    _see_that_there_is_room(path, rows, int(np.prod(shape)) * dtype.itemsize)
    room = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    room.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    room.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with hdf5.create(path) as file:
        hdf5.write_labels(file, rows.codes, rows.names)
        hdf5.write_splits(file, rows.splits.tolist())
        hdf5.write_texts(file, hdf5.IDS, rows.ids.tolist())
        file.create_dataset(schema.VIEW, data=rows.views)
        features = file.create_dataset(schema.FEATURES, shape, dtype, dcpl=room)
        return _FileArray(path, features.id.get_offset() or 0, shape, dtype)


def _see_that_there_is_room(path: Path, rows: StoredRows, of_features: int) -> None:
    """Claim about what a file will take, and give it back: a full disk ends a process in HDF5.

    Raises:
        OSError: there is too little.
    """
    texts = sum(len(one.encode()) for one in rows.ids) + _ROW_BYTES * len(rows)
    path.touch()
    _FileArray(path, 0, (of_features + texts,), np.dtype(np.uint8)).reserve()
    path.unlink()


def _npy(path: Path, rows: StoredRows, shape: Shape, dtype: np.dtype[Any]) -> _FileArray:
    """Write the header of `X.npy`, and `X.ids.npy`, `X.labels.npy`, `X.label_names.npy` and
    `X.views.npy` beside it.
    """
    beside = {
        "ids": rows.ids.astype(str),
        "labels": rows.codes,
        "label_names": np.array(rows.names, str),
    }
    if rows.views.any():
        beside["views"] = rows.views
    for name, values in beside.items():
        np.save(_beside(path, name), values)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        place = _FileArray(path, file.tell(), shape, dtype)
        file.truncate(place.offset + place.bytes)
    return place


def _beside(path: Path, name: str) -> Path:
    return path.with_suffix(f".{name}.npy")


def _raw(path: Path, _rows: StoredRows, shape: Shape, dtype: np.dtype[Any]) -> _FileArray:
    """Make room for the features in a file that `_write_csv` reads and removes."""
    place = _FileArray(path.with_name(path.name + ".raw"), 0, shape, dtype)
    with place.path.open("wb") as file:
        file.truncate(place.bytes)
    return place


def _write_csv(path: Path, rows: StoredRows, place: _FileArray, *, safe: bool) -> None:
    """Write a row of `id,label,split,view,f0,f1,…` per row, in their order."""
    width = int(np.prod(place.shape[1:]))
    names = [schema.ID, schema.LABEL, schema.SPLIT, schema.VIEW]
    names += [f"f{index}" for index in range(width)]
    options = pyarrow.csv.WriteOptions(include_header=False)
    with path.open("wb") as file:
        file.write(_csv_header(names))
        for part in _parts(place):
            values = place.map("r")[part].reshape(-1, width)
            if values.dtype == np.float16:
                values = values.astype(np.float32)  # Arrow has no text form of halves
            about = rows[np.arange(part.start, part.stop)]
            columns = [about.ids, about.labels, about.splits]
            arrays = [*(pa.array(c, pa.string()) for c in columns), pa.array(about.views)]
            arrays += [pa.array(np.ascontiguousarray(column)) for column in values.T]
            table = pa.table(arrays, names=names)
            pyarrow.csv.write_csv(without_formulas(table) if safe else table, file, options)
    place.path.unlink()


#: What writes all of a file but the values of the features, for which it makes room.
_FORMATS: dict[str, Callable[[Path, StoredRows, Shape, np.dtype[Any]], _FileArray]] = {
    "hdf5": _hdf5,
    "npy": _npy,
    "csv": _raw,
}


def _csv_header(names: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(names)
    return text.getvalue().encode()


def _parts(place: _FileArray) -> Iterator[slice]:
    row_bytes = max(1, int(np.prod(place.shape[1:])) * place.dtype.itemsize)
    length = max(1, _PIECE_BYTES // 8 // row_bytes)
    for start in range(0, place.shape[0], length):
        yield slice(start, min(place.shape[0], start + length))
