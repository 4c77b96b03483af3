"""All partitions of an HDF5 store as one array: a file of virtual datasets."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from raypipe import schema
from raypipe.display import say
from raypipe.spec import Spec
from raypipe.storage import Storage
from raypipe.store import hdf5
from raypipe.store.identity import read_identity
from raypipe.store.snapshot import Part, Snapshot, newest

MASTER = "features.h5"

#: Most systems let a process open 1,024 files. HDF5 reads what it cannot open as the fill value.
_MANY = 900


def write_master(storage: Storage, snapshot: Snapshot, spec: Spec) -> None:
    """Write `features.h5`, if the store's partitions are HDF5: the newest snapshot as one file.

    It holds a virtual dataset per feature column over the rows of all partitions, without the
    dropped ones, and `labels`, `label_names`, `ids`, `view` and `split` of the same rows. It is
    replaced as a whole: who has it open keeps reading what was there. Stores in buckets have none.

    Args:
        storage: the store's folder.
        snapshot: what was just published; if a newer one appears, the file describes that.
        spec: what the features are.
    """
    if storage.folder is None or read_identity(storage, "STORE")["partitions"] != "hdf5":
        return  # in a bucket, HDF5 could not find the files that it refers to
    while True:
        if snapshot.data and _described(storage) != snapshot.number:
            storage.put(MASTER, _content(storage, snapshot, spec))
        elif not snapshot.data:
            storage.delete(MASTER)
        # Another run may have published, and written its file before this one: then it is lost.
        written, snapshot = snapshot, newest(storage, spec.fingerprint)
        if snapshot.number == written.number:
            break
    if len(snapshot.data) > _MANY:
        say(
            f"{MASTER} is over {len(snapshot.data)} partitions, and whoever reads all of it opens "
            "as many files, else rows read as NaN; `raypipe compact` merges them"
        )


def _described(storage: Storage) -> int | None:
    """Return the number of the snapshot that the file describes."""
    try:
        with h5py.File(storage.open(MASTER), "r", locking=False) as file:
            return int(file.attrs["snapshot"])
    except (OSError, KeyError):
        return None


def _content(storage: Storage, snapshot: Snapshot, spec: Spec) -> bytes:
    sink = io.BytesIO()
    with hdf5.create(sink) as file:
        for column in spec.columns:
            _write_virtual(file, storage, snapshot, column)
        names = [schema.ID, schema.LABEL, schema.SPLIT, schema.VIEW]
        table = pa.concat_tables(_rows(storage, part, names) for part in snapshot.data)
        hdf5.write_labels(file, *hdf5.label_codes(table[schema.LABEL].to_pylist()))
        hdf5.write_splits(file, table[schema.SPLIT].to_pylist())
        hdf5.write_texts(file, hdf5.IDS, table[schema.ID].to_pylist())
        file.create_dataset(schema.VIEW, data=table[schema.VIEW].to_numpy())
        file.attrs["snapshot"] = snapshot.number
        file.attrs["fingerprint"] = snapshot.fingerprint
    return sink.getvalue()


def _write_virtual(file: Any, storage: Storage, snapshot: Snapshot, column: str) -> None:
    shape, dtype = hdf5.dataset_type(storage.open(snapshot.data[0].file.path), column)
    layout = h5py.VirtualLayout((snapshot.rows, *shape), dtype)
    row = 0
    name = column.replace("%", "%%")  # `%b` would be a block's number
    for part in snapshot.data:
        source = h5py.VirtualSource(part.file.path, name, (part.file.rows, *shape), dtype)
        for start, stop in _kept_runs(part):
            layout[row : row + stop - start] = source[start:stop]
            row += stop - start
    # What a missing partition reads as: HDF5 reports no error.
    file.create_virtual_dataset(column, layout, fillvalue=-1 if dtype.kind == "i" else np.nan)


def _kept_runs(part: Part) -> list[tuple[int, int]]:
    """Return the runs of rows that are not dropped, as (start, stop)."""
    borders = np.array([-1, *part.dropped, part.file.rows])
    runs = np.stack([borders[:-1] + 1, borders[1:]], axis=1)
    return [(int(start), int(stop)) for start, stop in runs if stop > start]


def _rows(storage: Storage, part: Part, columns: list[str]) -> pa.Table:
    table = hdf5.read_table(storage.open(part.file.path), columns)
    return table.take(np.delete(np.arange(len(table)), part.dropped)) if part.dropped else table
