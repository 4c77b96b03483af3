"""Partitions as HDF5, and the file over all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest

from raypipe import schema
from raypipe.errors import RaypipeError
from raypipe.flow.plan import make_plan
from raypipe.rows.listing import Listing
from raypipe.storage import FolderStorage
from raypipe.store import hdf5, master
from raypipe.store.adoption import adopt
from raypipe.store.coverage import cover, merge, publish
from raypipe.store.identity import create_store
from raypipe.store.master import MASTER, write_master
from raypipe.store.partition import read_metadata
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import newest
from tests.support.stores import WIDTH, items_of, make_spec, make_store, value_of, write

SPEC = make_spec(("features", "map"))
NAMES = [f"{'ab'[i % 2]}/{i}" for i in range(20)]


@pytest.fixture
def store(tmp_path: Path) -> FolderStorage:
    units = [items_of(NAMES[:8]), items_of([*NAMES[8:19], "bad!"]), items_of(NAMES[19:])]
    return make_store(tmp_path / "store", units, SPEC, "hdf5")[0]


def table_of(splits: list[str | None], dtype: str = "float32") -> pa.Table:
    count = len(splits)
    target = schema.data_schema({"layer.1": ((2, 2), dtype), "map": ((), "int32")})
    values = np.arange(count * 4).reshape(count, 2, 2).astype(dtype)
    arrays = {
        "id": [f"ü{i}" for i in range(count)],
        "uri": ["/x"] * count,
        "etag": [""] * count,
        "label": [None if i % 2 else "lâbel" for i in range(count)],
        "split": splits,
        "view": np.zeros(count, np.int32),
        "layer.1": hdf5.tensor(values, target.field("layer.1").type),
        "map": np.arange(count, dtype=np.int32),
    }
    columns = [
        value if isinstance(value, pa.Array) else pa.array(value, target.field(name).type)
        for name, value in arrays.items()
    ]
    return pa.Table.from_arrays(columns, schema=target)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("splits", [[], [None] * 3, ["train", None, ""], ["", "?", None]])
def test_rows_come_back(tmp_path: Path, splits: list[str | None], dtype: str) -> None:
    table = table_of(splits, dtype)
    path = tmp_path / "x.h5"
    content, again = (
        hdf5.encode_pieces(table.schema, [table], len(table), {"raypipe.unit": "u"})
        for _ in range(2)
    )
    assert content == again
    path.write_bytes(content)
    assert hdf5.read_table(path, None).equals(table)
    assert hdf5.read_table(path, ["label", "map"]).equals(table.select(["label", "map"]))
    assert hdf5.count_rows(path) == len(splits)
    assert hdf5.shapes(path, ["layer.1", "map"]) == {"layer.1": (2, 2), "map": ()}
    assert hdf5.read_metadata(path)["raypipe.unit"] == "u"


def test_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of([None, "a", "b", None, "c"])
    path = tmp_path / "x.h5"
    whole = hdf5.encode_pieces(table.schema, [table], 5, {})
    path.write_bytes(hdf5.encode_pieces(table.schema, [table[:2], table[2:]], 5, {}))
    assert path.read_bytes() == whole
    monkeypatch.setattr(hdf5, "_PIECE_BYTES", 200)
    pieces = list(hdf5.iter_tables(path, None))
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    assert pa.concat_tables(pieces).equals(table)


def test_datasets_anyone_can_read(store: FolderStorage) -> None:
    part = StoreReader(store.uri).snapshot.data[0].file.path
    with h5py.File(store.path(part)) as file:
        assert file["features"].shape == (8, WIDTH)
        assert file["features"].dtype == np.float32
        assert file["map"].dtype == np.int32
        assert file["labels"].dtype == np.int64
        names = file["label_names"].asstr()[:]
        assert [names[code] for code in file["labels"][:]] == [n[0] for n in NAMES[:8]]
        assert file["ids"].asstr()[:].tolist() == NAMES[:8]


def test_texts_that_cannot_be(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    create_store(storage, SPEC, {}, "hdf5")
    with pytest.raises(RaypipeError, match="HDF5 cannot hold the ids"):
        write(storage, SPEC, "u", items_of(["a\0b"]), "hdf5")


def test_other_files_are_none_of_ours(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    storage.put("data/part-a.h5", b"no")
    with h5py.File(tmp_path / "data/part-b.h5", "w") as file:
        file["x"] = [1]
    assert read_metadata(storage, "data/part-a.h5") is None
    assert read_metadata(storage, "data/part-b.h5") is None


def test_nothing_is_pending_after_a_run(store: FolderStorage) -> None:
    listing = Listing(items_of(sorted([*NAMES, "bad!"])).to_batches())
    covered = cover(store, newest(store, SPEC.fingerprint).parts)
    adopted = adopt(store, covered, listing, SPEC.fingerprint)
    assert adopted.parts == ()
    assert make_plan(listing, merge(covered, adopted).rows, SPEC).pending == 0


def test_finished_partitions_are_adopted(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    create_store(storage, SPEC, {}, "hdf5")
    write(storage, SPEC, "u", items_of(NAMES), "hdf5")
    listing = Listing(items_of(NAMES).to_batches())
    adopted = adopt(storage, cover(storage, ()), listing, SPEC.fingerprint)
    publish(storage, SPEC.fingerprint, adopted.parts)
    assert StoreReader(storage.uri).to_numpy().ids.tolist() == sorted(NAMES)


def check_master(path: Path, names: list[str], number: int) -> None:
    with h5py.File(path) as file:
        ids = file["ids"].asstr()[:].tolist()
        assert sorted(ids) == sorted(names)
        assert file["features"].is_virtual
        assert file["features"][:, 0].tolist() == [value_of(i) for i in ids]
        assert file["map"][:].tolist() == [value_of(i) for i in ids]
        assert file["features"][3:17, 1].tolist() == [value_of(i) + 1 for i in ids[3:17]]
        labels = file["label_names"].asstr()[:]
        assert [labels[code] for code in file["labels"][:]] == [i[0] for i in ids]
        assert file.attrs["snapshot"] == number
        assert file.attrs["fingerprint"] == SPEC.fingerprint


def test_master_shows_one_array_wherever_the_store_is(
    store: FolderStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_master(store.path(MASTER), NAMES, 1)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    shutil.move(store.folder, moved)
    monkeypatch.chdir("/")
    check_master(moved / MASTER, NAMES, 1)
    monkeypatch.chdir(moved.parent)
    check_master(Path("moved") / MASTER, NAMES, 1)


def test_master_leaves_dropped_rows_out(store: FolderStorage) -> None:
    gone = pa.array([NAMES[0], NAMES[3], NAMES[4], NAMES[18]])
    snapshot = publish(store, SPEC.fingerprint, (), gone)
    with h5py.File(store.path(MASTER)) as before:
        write_master(store, snapshot, SPEC)
        kept = [name for name in NAMES if name not in gone.to_pylist()]
        check_master(store.path(MASTER), kept, 2)
        # Who has the old one open goes on reading it.
        assert before["features"][:, 0].tolist() == [value_of(n) for n in NAMES]
    everything = publish(store, SPEC.fingerprint, (), pa.array(NAMES))
    write_master(store, everything, SPEC)
    assert not store.exists(MASTER)


def test_master_ends_up_with_the_newest_snapshot(
    store: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run publishes, and writes its master, while this one writes."""
    old = newest(store, SPEC.fingerprint)
    store.path(MASTER).unlink()
    content = master._content
    others = iter([items_of(["a/new"])])

    def slow(*arguments: object) -> bytes:
        mine = content(*arguments)  # type: ignore[arg-type]
        if (unit := next(others, None)) is not None:
            parts = write(store, SPEC, "other", unit, "hdf5")
            write_master(store, publish(store, SPEC.fingerprint, tuple(parts)), SPEC)
        return mine

    monkeypatch.setattr(master, "_content", slow)
    write_master(store, old, SPEC)
    check_master(store.path(MASTER), [*NAMES, "a/new"], 2)


def test_many_masters_at_once(store: FolderStorage) -> None:
    def ingest(number: int) -> None:
        parts = write(store, SPEC, f"t{number}", items_of([f"a/t{number}"]), "hdf5")
        write_master(store, publish(store, SPEC.fingerprint, tuple(parts)), SPEC)

    threads = [threading.Thread(target=ingest, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_master(store.path(MASTER), [*NAMES, *(f"a/t{n}" for n in range(6))], 7)


def test_a_missing_partition_reads_as_nan(store: FolderStorage) -> None:
    store.path(StoreReader(store.uri).snapshot.data[0].file.path).unlink()
    with h5py.File(store.path(MASTER)) as file:
        assert np.isnan(file["features"][:8]).all()
        assert (file["map"][:8] == -1).all()
        assert np.isfinite(file["features"][8:]).all()


def test_too_many_partitions_for_one_process_are_pointed_out(
    store: FolderStorage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(master, "_MANY", 2)
    write_master(store, newest(store, SPEC.fingerprint), SPEC)
    assert "features.h5 is over 3 partitions" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed")
def test_h5dump_reads_the_master(store: FolderStorage) -> None:
    command = ["h5dump", "-d", "/map", str(store.path(MASTER))]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=os.sep).stdout
    assert f"{int(value_of(NAMES[-1]))}" in shown
    assert "DATASPACE  SIMPLE { ( 20 ) / ( 20 ) }" in shown


def test_parquet_stores_have_no_master(tmp_path: Path) -> None:
    storage, _ = make_store(tmp_path / "s", [items_of(NAMES)], SPEC)
    assert not storage.exists(MASTER)
