"""The store's promises, without Ray: whole partitions, snapshots, exactly once."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe import schema
from raypipe.errors import RaypipeError, UsageError
from raypipe.flow.plan import apart, make_plan
from raypipe.rows.listing import Listing
from raypipe.spec import Output, Spec
from raypipe.storage import FolderStorage, Storage
from raypipe.store.adoption import adopt
from raypipe.store.coverage import cover, merge, publish
from raypipe.store.identity import create_store, is_store
from raypipe.store.partition import Format, write_unit
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import Part, newest, numbers

SPEC = Spec(backbone="b", weights_sha256="w", outputs=(Output(column="features", layer="l"),))
OTHER = SPEC.model_copy(update={"outputs": (Output(column="features", layer="l", pool="max"),)})


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    storage = FolderStorage(tmp_path / "store")
    create_store(storage, SPEC, {"source": "test"})
    return storage


def items_of(versions: dict[str, str]) -> pa.Table:
    rows = [
        {"id": i, "uri": f"/{i}", "etag": v, "label": i[0]} for i, v in sorted(versions.items())
    ]
    return pa.Table.from_pylist(rows, schema=schema.ITEMS)


def listing(versions: dict[str, str]) -> Listing:
    return Listing(items_of(versions).to_batches())


def is_bad(table: pa.Table) -> np.ndarray:
    pairs = zip(table["id"].to_pylist(), table["etag"].to_pylist(), strict=True)
    return np.array([i.endswith("!") or etag == "bad" for i, etag in pairs], dtype=bool)


def value_of(identity: str, etag: str) -> float:
    return float(hash((identity, etag)) % 1000)


def work(
    storage: Storage, items: Listing, *, stop_after: int | None = None, form: Format = "parquet"
) -> tuple[Part, ...]:
    """What a run does, with a number for a feature; items that end in `!` are rejects,
    and so is version `bad` of any item."""
    base = cover(storage, newest(storage, SPEC.fingerprint).parts)
    adopted = adopt(storage, base, items, SPEC.fingerprint)
    plan = make_plan(items, merge(base, adopted).rows, SPEC)
    written = []
    for unit in apart(storage, plan.units)[:stop_after]:
        bad = is_bad(unit.items)
        good = unit.items.filter(pa.array(~bad))
        pairs = zip(good["id"].to_pylist(), good["etag"].to_pylist(), strict=True)
        values = np.array([[value_of(*p)] * 3 for p in pairs], np.float32).reshape(-1, 3)
        extra = pa.array(["corrupt"] * int(bad.sum()), pa.string())
        rejects = unit.items.filter(pa.array(bad))
        rejects = rejects.append_column("reason", extra).append_column("message", extra)
        rejects = rejects.cast(schema.REJECTS)
        features = {"features": values}
        files = write_unit(storage, unit.id, SPEC.fingerprint, good, features, rejects, form)
        written += [Part(file) for file in files]
    return (*adopted.parts, *written)


def run(storage: FolderStorage, versions: dict[str, str], *, prune: bool = False) -> None:
    items = listing(versions)
    parts = work(storage, items)
    gone = None
    if prune:
        base = cover(storage, newest(storage, SPEC.fingerprint).parts)
        gone = make_plan(items, base.rows, SPEC).gone
    publish(storage, SPEC.fingerprint, parts, gone)


def content(storage: Storage, snapshot: int | None = None) -> dict[str, tuple[str, float]]:
    """What readers see, and a check that it is consistent."""
    store = StoreReader(storage.uri, snapshot)
    table = store.to_arrow() if store.snapshot.data else None
    found = {}
    if table is not None:
        values = store.to_numpy().features
        assert len(set(table["id"].to_pylist())) == len(table) == len(store)
        for i, e, v in zip(table["id"].to_pylist(), table["etag"].to_pylist(), values, strict=True):
            assert v.tolist() == [value_of(i, e)] * 3
            found[i] = e
    rejects = store.rejects()
    assert len(rejects) == store.snapshot.rejects
    assert not set(rejects["id"].to_pylist()) & set(found)
    return found | dict(zip(rejects["id"].to_pylist(), rejects["etag"].to_pylist(), strict=True))


def test_rows_and_rejects_are_all_items(storage: FolderStorage) -> None:
    versions = {"a1": "1", "a2!": "1", "b1": "1", "b2!": "1"}
    run(storage, versions)
    assert content(storage) == versions
    store = StoreReader(storage.uri)
    assert (len(store), store.snapshot.rejects) == (2, 2)
    assert store.label_counts() == {"a": 1, "b": 1}


def test_nothing_new_makes_no_snapshot(storage: FolderStorage) -> None:
    run(storage, {"a": "1", "b!": "1"})
    run(storage, {"a": "1", "b!": "1"})
    assert numbers(storage) == [1]


def test_new_changed_and_gone(storage: FolderStorage) -> None:
    run(storage, {"a": "1", "b": "1", "c!": "1"})
    run(storage, {"a": "2", "b": "1", "c!": "1", "d": "1"})
    assert content(storage) == {"a": "2", "b": "1", "c!": "1", "d": "1"}
    run(storage, {"b": "1", "d": "1"})
    assert content(storage) == {"a": "2", "b": "1", "c!": "1", "d": "1"}
    run(storage, {"b": "1", "d": "1"}, prune=True)
    assert content(storage) == {"b": "1", "d": "1"}


def test_old_snapshots_stay_as_they_were(storage: FolderStorage) -> None:
    run(storage, {"a": "1", "b": "1"})
    reader = StoreReader(storage.uri)
    run(storage, {"a": "2"}, prune=True)
    assert content(storage, 1) == {"a": "1", "b": "1"}
    assert content(storage) == {"a": "2"}
    assert reader.snapshot.number == 1
    assert len(reader.to_arrow()) == 2


def test_unlisted_partitions_are_invisible_and_then_reused(storage: FolderStorage) -> None:
    versions = {f"a{i:03d}": "1" for i in range(200)}
    parts = work(storage, listing(versions), stop_after=2)
    assert numbers(storage) == []
    assert content(storage) == {}
    again = work(storage, listing(versions))
    assert {p.file for p in parts} <= {p.file for p in again}
    publish(storage, SPEC.fingerprint, again)
    assert content(storage) == versions


def test_reuse_does_not_depend_on_how_items_were_cut(storage: FolderStorage) -> None:
    versions = {f"b{i:03d}": "1" for i in range(200)}
    work(storage, listing(versions), stop_after=2)
    shifted = {"a": "1", **versions, "b005": "2"}  # one in front, one changed since
    before = set(storage.list("data"))
    run(storage, shifted)
    assert content(storage) == shifted
    new = [n for n in storage.list("data") if n not in before]
    rows = sum(pq.read_metadata(storage.path(n)).num_rows for n in new)
    assert rows == 200 + 2 - 128


def test_a_published_partition_is_never_replaced(storage: FolderStorage) -> None:
    """Another run may see a unit differently: a read that failed, another cap on pixels."""
    run(storage, {"a": "1", "b": "1"})
    before = StoreReader(storage.uri)
    part = before.snapshot.data[0].file
    one = before.to_arrow().select(schema.ITEMS.names).slice(0, 1)
    reject = one.append_column("reason", pa.array(["x"])).append_column("message", pa.array(["x"]))
    values = {"features": np.zeros((1, 3), np.float32)}
    files = write_unit(
        storage, part.unit, SPEC.fingerprint, one, values, reject.cast(schema.REJECTS)
    )
    assert files == [part]
    assert before.to_arrow().equals(StoreReader(storage.uri).to_arrow())
    publish(storage, SPEC.fingerprint, tuple(Part(file) for file in files))
    assert numbers(storage) == [1]


def test_an_unlabelled_unit_is_not_one_labelled_none(storage: FolderStorage) -> None:
    rows = [{"id": "x", "uri": "/x", "etag": "1", "label": label} for label in (None, "None")]
    units = {
        make_plan(
            Listing(pa.Table.from_pylist([row], schema=schema.ITEMS).to_batches()), None, SPEC
        )
        .units[0]
        .id
        for row in rows
    }
    assert len(units) == 2


def test_strange_files_among_snapshots_are_left_alone(storage: FolderStorage) -> None:
    run(storage, {"a": "1"})
    storage.put("snapshots/README.txt", b"mine")
    assert content(storage) == {"a": "1"}


def test_partitions_of_another_spec_or_origin_are_left_alone(storage: FolderStorage) -> None:
    rows = items_of({"a": "1"})
    empty = schema.REJECTS.empty_table()
    values = {"features": np.zeros((1, 3), np.float32)}
    write_unit(storage, "f" * 32, OTHER.fingerprint, rows, values, empty)
    pq.write_table(pa.table({"x": [1]}), storage.path("data/part-mine.parquet"))
    storage.put("data/notes.txt", b"not a partition")
    run(storage, {"a": "1"})
    assert content(storage) == {"a": "1"}


def test_two_publishers_lose_nothing_and_count_nothing_twice(storage: FolderStorage) -> None:
    first = listing({"a": "1", "b": "1"})
    second = listing({"b": "1", "c": "1"})
    parts = [work(storage, items) for items in (first, second)]
    barrier = threading.Barrier(2)

    def go(mine: tuple[Part, ...]) -> None:
        barrier.wait()
        publish(storage, SPEC.fingerprint, mine)

    threads = [threading.Thread(target=go, args=(mine,)) for mine in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(storage) == {"a": "1", "b": "1", "c": "1"}
    assert numbers(storage) == [1, 2]


changes = st.lists(
    st.tuples(
        st.dictionaries(
            st.sampled_from(["a", "b", "c!", "d", "e!"]), st.sampled_from(["1", "2", "bad"])
        ),
        st.sampled_from(["run", "prune", "killed"]),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(changes)
def test_any_history_leaves_exactly_the_items(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[dict[str, str], str]]
) -> None:
    storage = FolderStorage(tmp_path_factory.mktemp("history"))
    create_store(storage, SPEC, {})
    expected: dict[str, str] = {}
    for versions, how in history:
        if how == "killed":  # everything written, nothing published
            work(storage, listing(versions))
            continue
        run(storage, versions, prune=how == "prune")
        expected = versions if how == "prune" else {**expected, **versions}
        assert content(storage) == expected


def test_another_spec_is_refused_with_the_difference(storage: FolderStorage) -> None:
    with pytest.raises(UsageError, match="output features: l:avg → l:max"):
        create_store(storage, OTHER, {})
    create_store(storage, SPEC, {})


def test_no_store(tmp_path: Path) -> None:
    assert not is_store(str(tmp_path))
    with pytest.raises(UsageError, match="no store at"):
        StoreReader(str(tmp_path))


def test_damaged_and_newer_stores(storage: FolderStorage) -> None:
    content = json.loads(storage.read("spec.json"))
    storage.put("spec.json", json.dumps(content | {"format": 99}).encode())
    with pytest.raises(UsageError, match="store format 99"):
        StoreReader(storage.uri)
    storage.put("spec.json", b"{")
    with pytest.raises(RaypipeError, match="damaged"):
        StoreReader(storage.uri)


def test_missing_snapshot_and_missing_partition(storage: FolderStorage) -> None:
    run(storage, {"a": "1"})
    with pytest.raises(UsageError, match="no snapshot 7; there are: 1"):
        StoreReader(storage.uri, 7)
    store = StoreReader(storage.uri)
    storage.path(store.snapshot.data[0].file.path).unlink()
    with pytest.raises(RaypipeError, match="is missing"):
        store.to_arrow()


@pytest.fixture
def partition(storage: FolderStorage) -> str:
    run(storage, {f"a{i}": "1" for i in range(5)})
    return str(storage.path(StoreReader(storage.uri).snapshot.data[0].file.path))


def test_pandas_reads_arrays(partition: str) -> None:
    frame = pd.read_parquet(partition)
    assert len(frame) == 5
    assert all(np.asarray(row).shape == (3,) for row in frame["features"])


def test_polars_reads_arrays(partition: str) -> None:
    frame = pl.read_parquet(partition)
    assert len(frame) == 5
    assert frame["features"].to_numpy().shape == (5, 3) or all(
        len(row) == 3 for row in frame["features"].to_list()
    )


def test_duckdb_reads_arrays(partition: str) -> None:
    rows = duckdb.sql(
        f"select id, len(features), features from '{partition}' order by id"
    ).fetchall()
    assert [row[:2] for row in rows] == [(f"a{i}", 3) for i in range(5)]
    assert list(rows[0][2]) == [value_of("a0", "1")] * 3


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(4,), (2, 3, 3)])
def test_features_come_back_bit_by_bit(
    storage: FolderStorage, dtype: str, shape: tuple[int, ...]
) -> None:
    values = np.random.default_rng(0).normal(size=(6, *shape)).astype(dtype)
    rows = items_of({f"a{i}": "1" for i in range(6)})
    empty = schema.REJECTS.empty_table()
    files = write_unit(storage, "u", SPEC.fingerprint, rows, {"features": values}, empty)
    publish(storage, SPEC.fingerprint, tuple(Part(file) for file in files))
    store = StoreReader(storage.uri)
    back = store.to_numpy().features
    assert back.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back, values)
    assert store.shapes == {"features": shape}
    assert len(store.to_pandas()) == 6
    assert repr(store).startswith("<Store ")


@pytest.mark.parametrize("reason", ["unavailable", "changed", "damaged"])
def test_what_may_pass_is_tried_again(storage: FolderStorage, reason: str) -> None:
    items = Listing(items_of({"a": "1", "b": "1"}).to_batches())
    rejected = items_of({"b": "1"}).append_column(
        schema.REJECTS.field("reason"), pa.array([reason])
    )
    rejected = rejected.append_column(schema.REJECTS.field("message"), pa.array(["no answer"]))
    features = {"features": np.ones((1, 2), np.float32)}
    files = write_unit(storage, "u1", SPEC.fingerprint, items_of({"a": "1"}), features, rejected)
    # As a killed run leaves it, and then published.
    left = adopt(storage, cover(storage, ()), items, SPEC.fingerprint)
    assert left.rows["id"].to_pylist() == ["a"]
    publish(storage, SPEC.fingerprint, tuple(Part(file) for file in files))
    base = cover(storage, newest(storage, SPEC.fingerprint).parts)
    plan = make_plan(items, base.rows, SPEC)
    assert [unit.items["id"].to_pylist() for unit in plan.units] == [["b"]]
    done = write_unit(
        storage, "u2", SPEC.fingerprint, items_of({"b": "1"}), features, rejected.slice(0, 0)
    )
    snapshot = publish(storage, SPEC.fingerprint, tuple(Part(file) for file in done))
    assert (snapshot.rows, snapshot.rejects) == (2, 0)
    # It changes while its server is down: the old row stays, and it is tried again.
    changed = Listing(items_of({"a": "1", "b": "2"}).to_batches())
    lost = rejected.set_column(2, schema.REJECTS.field("etag"), pa.array(["2"]))
    none = {"features": np.ones((0, 2), np.float32)}
    tried = write_unit(storage, "u3", SPEC.fingerprint, items_of({}), none, lost)
    snapshot = publish(storage, SPEC.fingerprint, tuple(Part(file) for file in tried))
    assert (snapshot.rows, snapshot.rejects) == (2, 0)
    again = make_plan(changed, cover(storage, snapshot.parts).rows, SPEC)
    assert [unit.items["id"].to_pylist() for unit in again.units] == [["b"]]


def test_a_drive_that_was_gone_when_it_was_listed_replaces_nothing(storage: FolderStorage) -> None:
    """As a table lists its images: each row is there, but no file."""
    run(storage, {"a": "1", "b": "1"})
    lost = items_of({"a": schema.MISSING, "c": schema.MISSING})
    for name in ("reason", "message"):
        lost = lost.append_column(name, pa.array(["unreadable"] * 2))
    none = {"features": np.ones((0, 3), np.float32)}
    files = write_unit(
        storage, "u", SPEC.fingerprint, items_of({}), none, lost.cast(schema.REJECTS)
    )
    snapshot = publish(storage, SPEC.fingerprint, tuple(map(Part, files)))
    assert (snapshot.rows, snapshot.rejects) == (2, 1)


def test_a_unit_that_nothing_came_of_is_tried_again_and_again(storage: FolderStorage) -> None:
    """Its partition, which says that the server did not answer, must not be taken for an answer."""
    items = listing({"a": "1", "b": "1"})
    base = cover(storage, newest(storage, SPEC.fingerprint).parts)
    lost = items_of({"a": "1", "b": "1"}).append_column("reason", pa.array(["unavailable"] * 2))
    lost = lost.append_column("message", pa.array(["no answer"] * 2)).cast(schema.REJECTS)
    none = {"features": np.ones((0, 3), np.float32)}
    names = set()
    for _ in range(3):
        (unit,) = apart(storage, make_plan(items, base.rows, SPEC).units)
        names.add(unit.id)
        files = write_unit(storage, unit.id, SPEC.fingerprint, items_of({}), none, lost)
        publish(storage, SPEC.fingerprint, tuple(map(Part, files)))
        base = cover(storage, newest(storage, SPEC.fingerprint).parts)
    assert len(names) == 3
    run(storage, {"a": "1", "b": "1"})
    snapshot = newest(storage, SPEC.fingerprint)
    assert (snapshot.rows, snapshot.rejects) == (2, 0)


def test_rejects_are_tried_again_when_asked_for(storage: FolderStorage) -> None:
    run(storage, {"a": "1", "b!": "1", "c!": "1"})
    items = listing({"a": "1", "b!": "1", "c!": "1"})
    parts = newest(storage, SPEC.fingerprint).parts
    assert not make_plan(items, cover(storage, parts).rows, SPEC).units
    base = cover(storage, parts, retry=True)
    (unit,) = apart(storage, make_plan(items, base.rows, SPEC).units)
    assert unit.items["id"].to_pylist() == ["b!", "c!"]
    good = unit.items.slice(0, 1)
    bad = unit.items.slice(1)
    for name in ("reason", "message"):
        bad = bad.append_column(name, pa.array(["corrupt"]))
    features = {"features": np.ones((1, 3), np.float32)}
    files = write_unit(storage, unit.id, SPEC.fingerprint, good, features, bad.cast(schema.REJECTS))
    added = tuple(map(Part, files))
    # Another run publishes meanwhile, so that the base is read again.
    run(storage, {"a": "1", "b!": "1", "c!": "1", "d": "1"})
    after = publish(storage, SPEC.fingerprint, added, None, base, retry=True)
    assert (after.rows, after.rejects) == (3, 1)


def test_of_two_specs_at_once_one_is_the_stores(tmp_path: Path) -> None:
    """Whoever comes second is refused, and has written nothing."""
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        together = threading.Barrier(8)

        def refused(spec: Spec, folder: Path = folder, together: Any = together) -> str:
            together.wait()
            try:
                create_store(FolderStorage(folder), spec, {"source": "test"})
            except UsageError as error:
                return str(error)
            return ""

        specs = (SPEC, OTHER) * 4
        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(refused, specs))
        there = json.loads((folder / "spec.json").read_text())["fingerprint"]
        assert [not one for one in said] == [spec.fingerprint == there for spec in specs]
        assert all("of another spec" in one for one in said if one)
        assert [path.name for path in folder.iterdir()] == ["spec.json"]
