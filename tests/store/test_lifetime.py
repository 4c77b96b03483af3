"""Files that other files name: how long they stay, where they may be, and that they are whole."""

from __future__ import annotations

import contextlib
import json
import random
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raypipe.errors import RaypipeError
from raypipe.rows.listing import Listing
from raypipe.storage import FolderStorage
from raypipe.store import retention
from raypipe.store.adoption import adopt
from raypipe.store.compaction import compact
from raypipe.store.coverage import cover
from raypipe.store.lifetime import expired_files
from raypipe.store.partition import Format, file_format
from raypipe.store.reader import StoreReader
from raypipe.store.retention import expire
from raypipe.store.snapshot import newest
from raypipe.store.verification import verify
from tests.store import test_store
from tests.store.test_store import SPEC, content, listing, run, work
from tests.support.stores import items_of, make_spec, make_store, write

storage = test_store.storage
OUTSIDE = "../victim.txt"


def test_a_note_never_removes_what_is_outside(storage: FolderStorage) -> None:
    run(storage, {"a": "1"})
    assert storage.folder is not None
    victim = storage.folder.parent / "victim.txt"
    victim.write_text("kept")
    storage.put("expired/n.json", json.dumps({"time": 0, "files": {OUTSIDE: 9}}).encode())
    with pytest.raises(RaypipeError, match=r"expired/n\.json: expected names of files"):
        expire(storage, keep=1, grace=0)
    assert victim.read_text() == "kept"


@pytest.mark.parametrize("name", [OUTSIDE, "/etc/passwd", "data/../../x", "spec.json", "data/.."])
def test_a_snapshot_names_only_partitions(storage: FolderStorage, name: str) -> None:
    run(storage, {"a": "1"})
    content = json.loads(storage.read("snapshots/00000001.json"))
    del content["sha256"]  # as in those that were written before there was one
    content["partitions"][0]["path"] = name
    storage.put("snapshots/00000001.json", json.dumps(content).encode())
    assert storage.folder is not None
    with pytest.raises(RaypipeError, match=r"00000001\.json: expected names of files"):
        StoreReader(str(storage.folder))


def test_rejects_that_expired_by_themselves_are_made_again(storage: FolderStorage) -> None:
    run(storage, {"a": "1", "b!": "1"})
    rejects = storage.list("rejects")
    run(storage, {"a": "2", "b!": "2"})
    for name in storage.list("snapshots")[:1]:
        storage.delete(name)
    storage.delete(rejects[0])
    run(storage, {"a": "1", "b!": "1", "c": "1"})  # takes the first unit up again
    assert content(storage) is not None
    assert (newest(storage, SPEC.fingerprint).rows, newest(storage, SPEC.fingerprint).rejects) == (
        2,
        1,
    )


def test_the_grace_begins_anew_after_a_kill(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(storage, {"a": "1"})
    run(storage, {"a": "2"})
    kept = storage.list("data")

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retention, "remove_snapshot", kill)
        with pytest.raises(KeyboardInterrupt):
            expire(storage, keep=1)
    later = time.time() + 25 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert expire(storage, keep=1).removed == ()
    assert storage.list("data") == kept
    monkeypatch.setattr(time, "time", lambda: later + 25 * 3600)
    assert len(expire(storage, keep=1).removed) == 1


def test_a_note_from_the_future_begins_its_grace_when_it_is_found(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock was wrong, and has been set back: else the files would stay for a year."""
    run(storage, {"a": "1"})
    run(storage, {"a": "2"})
    now = time.time()
    for years, hours, removed in ((1, 0, 0), (0, 0, 0), (0, 23, 0), (0, 25, 1), (0, 50, 0)):
        clock = now + years * 365 * 24 * 3600 + hours * 3600
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        assert len(expire(storage, keep=1).removed) == removed
    assert expired_files(storage) == set()
    assert content(storage) == {"a": "2"}


def test_compaction_takes_up_no_noted_file(tmp_path: Path) -> None:
    spec = make_spec()
    units = [items_of([f"a/{i}"]) for i in range(3)]
    storage, _ = make_store(tmp_path / "store", units, spec)
    merged = compact(storage, spec, "parquet", 10**8).after
    storage.delete(f"snapshots/{merged.number:08d}.json")
    note = {"time": time.time(), "files": {merged.parts[0].file.path: 1}}
    storage.put("expired/n.json", json.dumps(note).encode())
    again = compact(storage, spec, "parquet", 10**8).after
    assert not {part.file.path for part in again.parts} & expired_files(storage)


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
@pytest.mark.parametrize("flips", [6, pytest.param(150, marks=pytest.mark.long)])
def test_no_flipped_bit_is_read_in_silence(tmp_path: Path, form: Format, flips: int) -> None:
    spec = make_spec()
    units = [items_of([f"a/{i}{j}" for j in range(5)]) for i in range(2)]
    storage, before = make_store(tmp_path / "store", units, spec, form)
    name = before.data[1].file.path
    data, chance = storage.read(name), random.Random(form)
    for _ in range(flips):
        at, bit = chance.randrange(len(data)), chance.randrange(8)
        storage.put(name, data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
        with pytest.raises(RaypipeError, match=f"{name} is damaged"):
            StoreReader(str(tmp_path / "store")).to_numpy()
        with pytest.raises(RaypipeError, match=f"{name} is damaged"):
            compact(storage, spec, form, 10**8)
    assert newest(storage, spec.fingerprint) == before


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
@pytest.mark.parametrize("flips", [8, pytest.param(300, marks=pytest.mark.long)])
def test_a_damaged_partition_is_not_adopted(
    tmp_path: Path, form: Format, flips: int, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, storage = make_spec(), FolderStorage(tmp_path)
    items = items_of([*(f"a/{i}" for i in range(9)), "b!"])
    written = write(storage, spec, "u", items, form)  # stopped before it published
    every = Listing(items.to_batches())
    adopted = adopt(storage, cover(storage, ()), every, spec.fingerprint)
    assert adopted.parts == tuple(written)  # what is whole is signed as it was written
    chance = random.Random(form)
    for part in written:
        name = part.file.path
        data = storage.read(name)
        for _ in range(flips):
            at, length = chance.randrange(len(data)), chance.choice([1, 1, 64])
            changed = bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + length])
            storage.put(name, data[:at] + changed + data[at + length :])
            with contextlib.suppress(RaypipeError):  # it names a rejects file outside
                adopted = adopt(storage, cover(storage, ()), every, spec.fingerprint)
                assert not [one for one in adopted.parts if one.file.path == name]
        storage.put(name, data)
    assert "is damaged, and no snapshot lists it" in capsys.readouterr().err


def test_a_leftover_is_not_older_because_its_seal_has_another_name(
    storage: FolderStorage,
) -> None:
    versions = {f"a{i}": "1" for i in range(9)}
    work(storage, listing(versions))  # stopped before it published
    (name,) = storage.list("data")
    data, every = storage.read(name), listing(versions)
    assert data.count(b"raypipe.seal") == 1
    start = data.index(b"raypipe.seal")
    for at in range(start, start + len(b"raypipe.seal")):
        for bit in range(8):
            storage.put(name, data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            assert adopt(storage, cover(storage, ()), every, SPEC.fingerprint).parts == ()
    storage.put(name, data)
    assert adopt(storage, cover(storage, ()), every, SPEC.fingerprint).parts


def test_items_of_a_damaged_leftover_are_made_again(storage: FolderStorage) -> None:
    versions = {f"a{i}": "1" for i in range(9)}
    work(storage, listing(versions))  # stopped before it published
    name = storage.list("data")[0]
    data = storage.read(name)
    storage.put(name, data[:-600] + bytes([data[-600] ^ 1]) + data[-599:])
    run(storage, versions)
    assert content(storage) == versions
    assert name not in {part.file.path for part in newest(storage, SPEC.fingerprint).parts}


def test_flipped_features_of_a_leftover_are_not_adopted(storage: FolderStorage) -> None:
    """No checksum of a page is looked at on the way: an ingest reads ids and versions alone."""
    versions = {f"a{i}": "1" for i in range(9)}
    work(storage, listing(versions))  # stopped before it published
    (name,) = storage.list("data")
    place = pq.ParquetFile(storage.open(name)).metadata.row_group(0)
    (column,) = (
        c for c in map(place.column, range(place.num_columns)) if "feat" in c.path_in_schema
    )
    data, at = storage.read(name), column.data_page_offset + column.total_compressed_size - 2
    storage.put(name, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    every = listing(versions)
    assert adopt(storage, cover(storage, ()), every, SPEC.fingerprint).parts == ()


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
def test_a_partition_without_a_seal_is_adopted(tmp_path: Path, form: Format) -> None:
    spec, storage = make_spec(), FolderStorage(tmp_path)
    items = items_of(["a/1", "a/2"])
    name = write(storage, spec, "u", items, form)[0].file.path
    table = file_format(name).read_table(storage.open(name), None)
    about = {"raypipe.fingerprint": spec.fingerprint, "raypipe.unit": "u", "raypipe.rejects": ""}
    storage.put(name, file_format(name).encode_pieces(table.schema, [table], 2, about))
    every = Listing(items.to_batches())
    assert [p.rows for p in adopt(storage, cover(storage, ()), every, spec.fingerprint).parts] == [
        2
    ]


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
def test_a_damaged_merged_file_is_not_taken_up(tmp_path: Path, form: Format) -> None:
    spec = make_spec()
    units = [items_of([f"a/{i}", f"b{i}!"]) for i in range(3)]
    storage, before = make_store(tmp_path / "store", units, spec, form)
    merged = compact(storage, spec, form, 10**8).after
    storage.delete(f"snapshots/{merged.number:08d}.json")  # killed before it was published
    for part in merged.parts:
        data = storage.read(part.file.path)
        at = data.find(b"a/0") if part.is_data and form == "hdf5" else len(data) // 2
        storage.put(part.file.path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    again = compact(storage, spec, form, 10**8).after
    assert not {part.file.path for part in again.parts} & {part.file.path for part in merged.parts}
    assert verify(storage).damaged == {}
    assert (again.rows, again.rejects) == (before.rows, before.rejects)


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
def test_damage_of_what_coverage_reads_is_one_line(tmp_path: Path, form: Format) -> None:
    spec = make_spec()
    items = items_of(["a/1", "a/2", "b!"], split=["train", "test", None])
    storage, before = make_store(tmp_path / "store", [items], spec, form)
    whole = cover(storage, before.parts).rows
    damaged = 0
    for part in before.parts:
        name = part.file.path
        data = storage.read(name)
        for at in range(0, len(data), 23):
            storage.put(name, data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
            try:  # what is not read may differ
                assert cover(storage, before.parts).rows.equals(whole)
            except RaypipeError as error:
                damaged += f"{name} is damaged" in str(error)
        storage.put(name, data)
    assert damaged > 20


def test_another_call_may_remove_snapshots_meanwhile(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in "123":
        run(storage, {"a": version})
    storage.delete("snapshots/00000001.json")  # by another call, after this one has listed it
    monkeypatch.setattr(retention, "numbers", lambda _: [1, 2, 3])
    assert expire(storage, keep=1).snapshots == (2,)
