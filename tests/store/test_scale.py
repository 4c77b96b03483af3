"""Stores of very many partitions cost what they must, and the benchmark of scale is right."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import fake_backbone
from benchmarks.scale import listings, stores
from benchmarks.scale.flows import Flow, by_actors, by_images, by_length
from benchmarks.scale.sections import Section, save, slope
from benchmarks.scale.watch import Memory, own_mib
from raypipe import schema
from raypipe.backbone import restore
from raypipe.backbone.loading import load
from raypipe.flow.plan import make_plan
from raypipe.rows.listing import Listing
from raypipe.storage import FolderStorage
from raypipe.store import adoption, compaction, coverage, parquet
from raypipe.store.adoption import adopt
from raypipe.store.coverage import cover, merge, publish
from raypipe.store.partition import File, describe
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import Part, Snapshot, newest, numbers
from tests.support.stores import items_of, make_spec, make_store, write

SPEC = make_spec()
NAMES = [f"a/{i:02}" for i in range(20)] + ["bad1!", "bad2!"]


@pytest.fixture
def store(tmp_path: Path) -> FolderStorage:
    """Four partitions of features and two of rejects."""
    return make_store(tmp_path / "store", [items_of(NAMES[i::4]) for i in range(4)], SPEC)[0]


def listed(names: list[str]) -> Listing:
    return Listing(items_of(names).to_batches())


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The partitions whose items are read."""
    found: list[str] = []
    original = coverage.part_rows

    def noted(storage: FolderStorage, part: Part, **options: Any) -> Any:
        found.append(part.file.path)
        return original(storage, part, **options)

    for module in (adoption, coverage):
        monkeypatch.setattr(module, "part_rows", noted)
    return found


def test_what_is_covered_comes_in_one_piece(store: FolderStorage) -> None:
    covered = cover(store, newest(store, SPEC.fingerprint).parts)
    assert sorted(covered.rows["id"].to_pylist()) == sorted(NAMES)
    assert {covered.rows[name].num_chunks for name in covered.rows.column_names} == {1}
    for part, row, name in zip(
        *(covered.rows[c].to_pylist() for c in ("part", "row", "id")), strict=True
    ):
        file = covered.parts[part].file.path
        assert parquet.read_table(store.path(file), ["id"])["id"][row].as_py() == name


def test_publishing_reads_what_is_known_no_second_time(
    store: FolderStorage, read: list[str]
) -> None:
    base = cover(store, newest(store, SPEC.fingerprint).parts)
    more = tuple(write(store, SPEC, "more", items_of(["new", "a/03"], etag=["2", "2"]), "parquet"))
    read.clear()
    snapshot = publish(store, SPEC.fingerprint, more, pa.array(["a/10"]), base)
    assert read == [part.file.path for part in more]
    assert snapshot.rows == 20 + 1 - 1
    # The same as without what was known.
    other = publish(store, SPEC.fingerprint, (), pa.array(["a/11"]), base)
    assert other.rows == 19


def test_publishing_reads_again_what_another_run_has_published(
    store: FolderStorage, read: list[str]
) -> None:
    base = cover(store, newest(store, SPEC.fingerprint).parts)
    theirs = write(store, SPEC, "theirs", items_of(["their", "both"]), "parquet")
    publish(store, SPEC.fingerprint, tuple(theirs))
    mine = write(store, SPEC, "mine", items_of(["mine", "both"]), "parquet")
    read.clear()
    snapshot = publish(store, SPEC.fingerprint, tuple(mine), None, base)
    assert theirs[0].file.path in read
    everything = cover(store, snapshot.parts).rows["id"].to_pylist()
    assert sorted(everything) == sorted([*NAMES, "their", "mine", "both"])


def test_files_lying_about_are_not_opened_where_nothing_is_missing(
    store: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, SPEC, "left", items_of(["left"]), "parquet")
    base = cover(store, newest(store, SPEC.fingerprint).parts)
    opened = mock.Mock(wraps=adoption._unlisted)
    monkeypatch.setattr(adoption, "_unlisted", opened)
    assert adopt(store, base, listed(NAMES), SPEC.fingerprint).parts == ()
    assert not opened.called
    found = adopt(store, base, listed([*NAMES, "left"]), SPEC.fingerprint)
    assert found.rows["id"].to_pylist() == ["left"]
    assert opened.called


def test_dropping_rows_leaves_other_parts_as_they_are(store: FolderStorage) -> None:
    base = cover(store, newest(store, SPEC.fingerprint).parts)
    less = merge(base, cover(store, ()), pa.array(["a/05", "bad1!"]))
    changed = [part for part in less.parts if part not in base.parts]
    assert [len(part.dropped) for part in changed] == [1]
    assert len(less.parts) == len(base.parts) - 1  # one had nothing but that reject
    assert sorted(less.rows["id"].to_pylist()) == sorted({*NAMES} - {"a/05", "bad1!"})


def test_a_file_is_described_as_it_was_when_written(
    store: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.store.seals._PIECE_BYTES", 1000)
    for part in newest(store, SPEC.fingerprint).parts:
        assert describe(store, part.file.path, part.file.unit) == part.file
        assert describe(store, part.file.path, part.file.unit, part.file.rows) == part.file


def test_a_snapshot_is_json_with_a_line_for_each_partition() -> None:
    files = [File(f"data/part-{i}.parquet", f'u"{i}', 10, 100, "ab") for i in range(3)]
    for count in range(4):
        parts = tuple(Part(file, tuple(range(i))) for i, file in enumerate(files[:count]))
        snapshot = Snapshot(7, "f", parts, "2026-01-01")
        data = snapshot.to_json()
        assert Snapshot.from_json(data) == snapshot
        assert json.loads(data)["rows"] == snapshot.rows
        assert sum(b"part-" in line for line in data.splitlines()) == count


def test_snapshots_of_earlier_versions_can_be_read() -> None:
    file = {"path": "data/p", "unit": "u", "rows": 2, "bytes": 3, "sha256": "s", "dropped": [1]}
    about = {"number": 1, "created": "", "fingerprint": "f", "rows": 1, "rejects": 0}
    data = json.dumps(about | {"partitions": [file]}, indent=1).encode()
    assert Snapshot.from_json(data).parts == (Part(File("data/p", "u", 2, 3, "s"), (1,)),)


def test_opening_a_store_again_parses_no_snapshot_again(
    store: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = mock.Mock(wraps=Snapshot.from_json)
    monkeypatch.setattr(Snapshot, "from_json", parsed)
    snapshots = [StoreReader(store.uri).snapshot for _ in range(3)]
    assert parsed.call_count == 1
    assert len({id(snapshot) for snapshot in snapshots}) == 1
    publish(store, SPEC.fingerprint, (), pa.array(["a/05"]))
    assert len(StoreReader(store.uri)) == len(StoreReader(store.uri, 1)) - 1


def test_a_store_made_anew_in_the_same_place_is_read_anew(tmp_path: Path) -> None:
    for count in (3, 5):
        make_store(tmp_path / "store", [items_of(NAMES[:count])], SPEC)
        assert len(StoreReader(str(tmp_path / "store"))) == count
        shutil.rmtree(tmp_path / "store")


@given(st.lists(st.integers(0, 700), max_size=60), st.integers(1, 1000))
def test_groups_to_merge_are_runs_below_the_size(sizes: list[int], target: int) -> None:
    parts = [Part(File(f"data/{i}", str(i), 1, size, "")) for i, size in enumerate(sizes)]
    groups = compaction._groups(parts, target)
    assert sorted(p.file.path for g in groups for p in g) == sorted(p.file.path for p in parts)
    small = [group for group in groups if group[0].file.bytes < target / 2]
    for group in small:
        assert sum(part.file.bytes for part in group) <= target
    for one, following in pairwise(small):  # none could have taken one more
        assert sum(part.file.bytes for part in one) + following[0].file.bytes > target


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 40))
def test_rows_are_grouped_whatever_pieces_they_come_in(pieces: list[int], length: int) -> None:
    total = sum(pieces)
    rows = pa.table({"x": pa.array(np.arange(total, dtype=np.int64))})
    starts = np.cumsum([0, *pieces])

    def stream() -> Iterator[pa.Table]:
        for start, count in zip(starts, pieces, strict=False):
            yield rows.slice(start, count)

    with mock.patch.object(parquet, "_GROUP_BYTES", 8 * length):
        groups = list(parquet._groups(rows.schema, stream()))
    assert pa.concat_tables(groups).equals(rows)
    assert [len(g) for g in groups[:-1]] == [length] * (len(groups) - 1)
    assert len(groups[-1]) <= length
    assert len(groups) == 1 or len(groups[-1])


def test_the_fake_network_takes_its_time_wherever_it_is_set_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(fake_backbone.COST_VARIABLE, "0.002")
    backbone = load(f"{fake_backbone.__file__}:network", "random", ("features",))
    monkeypatch.delenv(fake_backbone.COST_VARIABLE)
    assert backbone.network is not None  # it travels as it is
    images = torch.rand(16, 3, fake_backbone.SIZE, fake_backbone.SIZE)
    started = time.monotonic()
    features = restore(backbone)(images)["features"]
    assert time.monotonic() - started >= 16 * 0.002
    assert features.shape == (16, fake_backbone.WIDTH)
    assert features.std() > 0


def flow(images: int, units: int, actors: int, seconds: float, own: float) -> Flow:
    """Actors in step: `seconds` per unit."""
    rounds = np.arange(1, units // actors + 1)
    arrivals = (100 + np.repeat(rounds, actors) * seconds).tolist()
    found = {"units": units, "arrivals": arrivals, "handed": 90.0, "decode": own, "forward": 0.0}
    taken = Memory([0.0, 101.0, 102.0], [900.0, 500.0, 550.0])
    memory = {"driver": taken, "replica": taken}
    return Flow({"images": images, "actors": actors, "nodes": 1, "cost": 0.1}, found, memory)


def test_figures_of_a_flow() -> None:
    found = flow(images=640, units=64, actors=4, seconds=2.0, own=0.1)
    assert found.ideal == pytest.approx(40)
    assert found.steady == pytest.approx(20, rel=0.05)
    assert found.rest == pytest.approx(0.5, abs=0.03)
    assert found.working == pytest.approx(16 * 2.0)
    assert found.until_first == pytest.approx(12)
    assert found.most("driver") == 550
    assert found.most("raylet") == 0
    alone = flow(images=10, units=1, actors=1, seconds=1.0, own=0.1)
    assert alone.steady == pytest.approx(10)


def test_tables_of_flows_and_their_costs() -> None:
    # 3 ms per unit and 0.2 ms per image
    large = [flow(n, n // 100, 1, 0.003 + 0.02, 1e-9) for n in (1000, 10_000, 100_000)]
    small = [flow(n, n // 4, 1, 0.003 + 0.0008, 1e-9) for n in (1000, 4000)]
    growth, memory = by_images(large, small)
    assert "200 µs per image and 3.0 ms per unit" in growth.text
    assert len(growth.rows) == len(memory.rows) == 5
    assert "differs by 0.0%" in memory.text
    assert "(1 is ideal)" in by_actors([flow(64 * a, 8 * a, a, 1.0, 0.1) for a in (1, 2)]).text
    assert by_length(small).rows[0][0] == "4"


def test_results_of_other_benchmarks_stay(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"other": 1}')
    section = Section("T", "text", ("a", "b"), (("1", "2"),))
    save([section], path)
    rows = [["a", "b"], ["1", "2"]]
    expected = {"other": 1, "scale": [{"title": "T", "text": "text", "table": rows}]}
    assert json.loads(path.read_text()) == expected
    assert "1  2" in str(section)


def test_slopes_and_memory() -> None:
    assert slope([10, 100, 1000], [3, 30, 300]) == pytest.approx(1)
    assert 10 < own_mib() < 100_000


def test_measurements_of_stores_and_listings_run() -> None:
    found = stores.measure(partitions=12, rows=3)
    assert {"adopt", "cover", "publish one more", "of"} <= set(found)
    assert stores.opening(20)["bytes"] > 1000
    for kind in ("folder", "csv"):
        assert {"list", "plan", "plan again"} <= set(listings.measure(kind, 30))


def test_what_the_benchmark_writes_is_a_store(tmp_path: Path) -> None:
    from raypipe.store.identity import create_store

    storage = FolderStorage(tmp_path)
    create_store(storage, stores.SPEC, {"source": "generated"})
    files = stores._units(storage, 3, range(20))
    publish(storage, stores.SPEC.fingerprint, tuple(map(Part, files)))
    covered = cover(storage, newest(storage, stores.SPEC.fingerprint).parts)
    assert len(covered.rows) == 60
    assert numbers(storage) == [1]
    with Listing(stores._items(covered.rows)) as listing:
        assert make_plan(listing, covered.rows, stores.SPEC).pending == 0
    assert schema.ID in covered.rows.column_names
