"""Rows of partitions kept for many passes, and the index that says which they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raypipe.errors import UsageError
from raypipe.store.cache import RowCache
from raypipe.store.coverage import publish
from raypipe.store.index import read_index
from raypipe.store.partition import Format
from raypipe.store.pick import check_finite
from raypipe.store.reader import StoreReader
from tests.support import stores
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


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
def test_rows_that_are_no_numbers_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Format
) -> None:
    values = {"3": np.nan, "5": np.inf}
    monkeypatch.setattr(stores, "value_of", lambda name, view: values.get(name[-1], 1.0) + view)
    storage, _ = make_store(
        tmp_path, [items_of(NAMES[:8]), items_of(NAMES[8:])], make_spec(views=2), form
    )
    store = StoreReader(storage.uri)
    index, data = read_index(store), store.to_numpy()
    bad = sorted(name for name in NAMES if name[-1] in values)
    words = f"{2 * len(bad)} rows have NaN or infinite features: {bad[0]}, {bad[0]}, {bad[1]}"
    with pytest.raises(UsageError, match=words):
        check_finite(store, "features", index, np.arange(len(index)))
    with pytest.raises(UsageError, match=words):
        data.check_finite()
    good = np.flatnonzero(np.isfinite(data.features).all(axis=1))
    check_finite(store, "features", index, good)  # what is left out may be anything
    with pytest.raises(UsageError, match=f"1 row has .*: {bad[1]};"):
        check_finite(store, "features", index, np.flatnonzero(index.ids == bad[1])[:1])
