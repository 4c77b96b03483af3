"""Rows of partitions kept for many passes, and the index that says which they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raypipe.store.coverage import publish
from raypipe.store.index import read_index
from raypipe.store.reader import StoreReader
from raypipe.store.rows import RowCache
from tests.support.stores import WIDTH, items_of, make_spec, make_store, value_of, write

NAMES = [f"{'cab'[n % 3]}/{n * 7 % 20:02d}" for n in range(20)]


@pytest.fixture
def store(tmp_path: Path) -> StoreReader:
    units = [items_of(NAMES[:8]), items_of(NAMES[8:9]), items_of(NAMES[9:])]
    storage, _ = make_store(tmp_path, units, make_spec(views=2))
    return StoreReader(storage.uri)


def test_the_index_has_the_rows_of_to_numpy(store: StoreReader) -> None:
    index, data = read_index(store), store.to_numpy()
    assert len(index) == len(data) == 40
    for name in ("ids", "labels", "splits", "views"):
        np.testing.assert_array_equal(getattr(index, name), getattr(data, name))
    assert index.lengths == (16, 2, 22)
    parts = index.by_partition(data.features[:, 0])
    stored = [np.concatenate([p["features"].combine_chunks().to_numpy_ndarray() for p in part])
              for part in ([*store.iter_part(i, ["features"])] for i in range(3))]  # fmt: skip
    for part, rows in zip(parts, stored, strict=True):
        np.testing.assert_array_equal(part, rows[:, 0])
    np.testing.assert_array_equal(np.concatenate(stored)[index.order], data.features)
    assert index.ids_of_stored([16, 0]) == [NAMES[8], NAMES[0]]


def test_replaced_rows_are_not_in_the_index(tmp_path: Path) -> None:
    spec = make_spec()
    storage, _ = make_store(tmp_path, [items_of(NAMES[:8])], spec)
    again = items_of(NAMES[2:4], etag=["2", "2"])
    publish(storage, spec.fingerprint, tuple(write(storage, spec, "u9", again, "parquet")))
    index = read_index(StoreReader(storage.uri))
    assert sorted(index.ids) == sorted(NAMES[:8])
    assert index.lengths == (6, 2)


@pytest.mark.parametrize("memory", [10**6, 0])
def test_rows_by_group_in_memory_or_in_a_file(store: StoreReader, memory: int) -> None:
    groups = [np.array([n % 3 - 1 for n in range(length)], np.int8) for length in (16, 22)]
    cache = RowCache(store, "features", [0, 2], groups, memory=memory)
    flat = np.concatenate(groups)
    names = [(name, view) for name in [*NAMES[:8], *NAMES[9:]] for view in range(2)]
    wanted = [*np.flatnonzero(flat == 0), *np.flatnonzero(flat == 1)]
    assert cache.order.tolist() == wanted
    assert cache.starts.tolist() == [0, (flat == 0).sum(), (flat >= 0).sum()]
    assert (cache.array is None) == (memory == 0)
    cache.expect(3, 9)
    rows = np.concatenate([cache.read(0, 5), cache.read(5, len(cache))])
    assert rows.shape == (len(wanted), WIDTH)
    np.testing.assert_array_equal(rows[:, 0], [value_of(*names[n]) for n in wanted])
    cache.close()


def test_rows_that_are_no_numbers_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support import stores

    monkeypatch.setattr(
        stores, "value_of", lambda name, view: np.nan if name.endswith("3") else 1.0
    )
    storage, _ = make_store(tmp_path, [items_of(NAMES)], make_spec())
    store = StoreReader(storage.uri)
    bad = [n for n, name in enumerate(NAMES) if name.endswith("3")]
    cache = RowCache(store, "features", [0], [np.zeros(20, np.int8)], memory=0)
    assert (cache.bad, cache.bad_count) == (bad, len(bad))
    assert read_index(store).ids_of_stored(cache.bad) == [NAMES[n] for n in bad]
    left_out = np.zeros(20, np.int8)
    left_out[bad] = -1
    assert RowCache(store, "features", [0], [left_out], memory=0).bad_count == 0
