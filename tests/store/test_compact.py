"""Compaction: the same rows in fewer files, whatever else happens meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.config import CompactConfig
from raypipe.flow.plan import make_plan
from raypipe.jobs.compact import run
from raypipe.rows.listing import Listing
from raypipe.storage import FolderStorage
from raypipe.store import compaction as engine
from raypipe.store.adoption import adopt
from raypipe.store.compaction import compact
from raypipe.store.coverage import cover, merge, publish
from raypipe.store.partition import Format
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import Snapshot, newest, numbers
from tests.support.stores import items_of, make_spec, make_store, write

SPEC = make_spec(("features", "map"), views=2)
NAMES = [f"a/{i:02}" for i in range(30)] + ["bad1!", "bad2!", "bad3!"]
BIG = 10**8
FORMATS: list[Format] = ["parquet", "hdf5"]


def units() -> list[pa.Table]:
    order = [NAMES[i::6] for i in range(6)]
    return [items_of(names) for names in order]


@pytest.fixture(params=FORMATS)
def store(tmp_path: Path, request: pytest.FixtureRequest) -> FolderStorage:
    return make_store(tmp_path / "store", units(), SPEC, request.param)[0]


def content(storage: FolderStorage, snapshot: int | None = None) -> tuple[Any, Any]:
    reader = StoreReader(storage.uri, snapshot)
    return reader.to_arrow(), reader.rejects()


def go(storage: FolderStorage, target: int = BIG) -> Snapshot:
    return compact(storage, SPEC, StoreReader(storage.uri).format, target).after


def pending(storage: FolderStorage, listing: Listing) -> int:
    base = cover(storage, newest(storage, SPEC.fingerprint).parts)
    adopted = adopt(storage, base, listing, SPEC.fingerprint)
    assert adopted.parts == ()
    both = merge(base, adopted)
    assert both.parts == base.parts
    return make_plan(listing, both.rows, SPEC).pending


def test_same_rows_in_fewer_files(store: FolderStorage) -> None:
    before = content(store)
    reader = StoreReader(store.uri)
    outcome = run(CompactConfig(store=store.uri))
    after = content(store)
    assert after[0].equals(before[0])
    assert after[1].equals(before[1])
    snapshot = newest(store, SPEC.fingerprint)
    assert (len(snapshot.data), len(snapshot.rejected)) == (1, 1)
    assert (snapshot.rows, snapshot.rejects) == (60, 3)
    assert reader.to_arrow().equals(before[0])  # who has the old one open reads on
    assert content(store, 1)[0].equals(before[0])
    assert outcome.summary["partitions_before"] == 9
    assert outcome.summary["partitions_after"] == 2
    assert outcome.summary["bytes_after"] < outcome.summary["bytes_before"]
    assert pending(store, Listing(items_of(NAMES).to_batches())) == 0


def test_views_stay_together(store: FolderStorage) -> None:
    table = pa.concat_tables(StoreReader(store.uri, go(store).number).iter_batches())
    assert table["view"].to_pylist() == [0, 1] * 30
    ids = table["id"].to_pylist()
    assert ids[::2] == ids[1::2]


def test_again_there_is_nothing_to_do(store: FolderStorage) -> None:
    run(CompactConfig(store=store.uri))
    outcome = run(CompactConfig(store=store.uri))
    assert "nothing to merge; snapshot 2 keeps its 2 partitions" in outcome.text
    assert numbers(store) == [1, 2]


def test_files_are_about_the_target_and_large_ones_stay(store: FolderStorage) -> None:
    size = StoreReader(store.uri).snapshot.data[0].file.bytes
    snapshot = go(store, int(size * 2.5))
    assert len(snapshot.data) == 3
    paths = {part.file.path for part in newest(store, SPEC.fingerprint).data}
    least = min(part.file.bytes for part in snapshot.data)
    assert {part.file.path for part in go(store, least * 2).data} == paths
    assert numbers(store) == [1, 2] or len(go(store, least * 2).rejected) == 1


def test_dropped_rows_are_left_out_and_come_back_only_if_listed(store: FolderStorage) -> None:
    changed = items_of(["a/03"], etag=["2"])
    parts = write(store, SPEC, "changed", changed, StoreReader(store.uri).format)
    publish(store, SPEC.fingerprint, tuple(parts), pa.array(["a/10", "bad1!"]))
    before = content(store)
    snapshot = go(store)
    assert not any(part.dropped for part in snapshot.parts)
    assert content(store)[0].equals(before[0])
    assert content(store)[1].equals(before[1])
    now = items_of([n for n in NAMES if n not in ("a/03", "a/10", "bad1!")])
    assert pending(store, Listing([*now.to_batches(), *changed.to_batches()])) == 0


def test_a_row_that_is_listed_again_is_taken_from_the_old_file(store: FolderStorage) -> None:
    publish(store, SPEC.fingerprint, (), pa.array(["a/10"]))
    go(store)
    listing = Listing(items_of(NAMES).to_batches())
    base = cover(store, newest(store, SPEC.fingerprint).parts)
    adopted = adopt(store, base, listing, SPEC.fingerprint)
    assert adopted.rows["id"].to_pylist() == ["a/10"]
    publish(store, SPEC.fingerprint, adopted.parts)
    assert StoreReader(store.uri).to_arrow()["id"].to_pylist().count("a/10") == 2  # its views
    assert pending(store, listing) == 0


def test_what_is_published_meanwhile_survives(
    store: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed = engine.succeed
    others = iter(
        [
            (["a/new"], {}, None),
            (["a/05"], {"etag": ["2"]}, pa.array(["a/07"])),
        ]
    )

    def late(storage: FolderStorage, base: Snapshot, parts: Any) -> Snapshot | None:
        if (other := next(others, None)) is not None:
            names, columns, gone = other
            form = StoreReader(store.uri).format
            new = write(store, SPEC, names[0].replace("/", ""), items_of(names, **columns), form)
            publish(store, SPEC.fingerprint, tuple(new), gone)
        return succeed(storage, base, parts)

    monkeypatch.setattr(engine, "succeed", late)
    assert go(store).number == 4
    table = StoreReader(store.uri).to_arrow()
    assert set(table["id"].to_pylist()) == {"a/new", *NAMES[:30]} - {"a/07"}
    versions = dict(zip(table["id"].to_pylist(), table["etag"].to_pylist(), strict=True))
    assert versions["a/05"] == "2"
    assert len(StoreReader(store.uri).snapshot.data) == 1


def test_a_repeated_compaction_writes_the_same(store: FolderStorage, tmp_path: Path) -> None:
    form = StoreReader(store.uri).format
    twin = make_store(tmp_path / "twin", units(), SPEC, form)[0]
    one, two = go(store), go(twin)
    assert one.parts == two.parts


def test_a_run_that_started_before_adds_nothing_twice(store: FolderStorage) -> None:
    parts = newest(store, SPEC.fingerprint).parts
    go(store)
    assert publish(store, SPEC.fingerprint, parts).number == 2


def test_the_master_follows(tmp_path: Path) -> None:
    storage = make_store(tmp_path / "store", units(), SPEC, "hdf5")[0]
    run(CompactConfig(store=storage.uri))
    with h5py.File(storage.path("features.h5")) as file:
        assert file.attrs["snapshot"] == 2
        sources = {source.file_name for source in file["features"].virtual_sources()}
        assert sources == {StoreReader(storage.uri).snapshot.data[0].file.path}


def test_merged_parquet_has_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.store.parquet._GROUP_BYTES", 1000)
    storage = make_store(tmp_path / "store", units(), SPEC)[0]
    path = storage.path(go(storage).data[0].file.path)
    groups = pq.ParquetFile(path).metadata
    sizes = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
    assert len(sizes) > 2
    assert len(set(sizes[:-1])) == 1


def test_an_empty_store(tmp_path: Path) -> None:
    storage = make_store(tmp_path / "store", [], SPEC)[0]
    outcome = run(CompactConfig(store=storage.uri))
    assert "nothing to merge" in outcome.text
    assert numbers(storage) == []
