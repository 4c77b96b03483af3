"""Exports: every format, order and split; whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from raypipe.config import ExportConfig
from raypipe.errors import RaypipeError, UsageError
from raypipe.jobs.export import run
from raypipe.rows.splits import by_hash
from raypipe.store import exports as engine
from raypipe.store.coverage import publish
from raypipe.store.reader import StoreReader
from tests.support.stores import WIDTH, items_of, make_spec, make_store, value_of, write

NAMES = [f"{'ab'[i % 2]}/{i}.jpg" for i in range(40)] + ["loose.jpg"]
SPLITS = [("train", "test", None)[i % 3] for i in range(41)]
SPEC = make_spec(("features", "map"))


def make(folder: Path, form: Any = "parquet", names: list[str] = NAMES, **spec: Any) -> str:
    items = items_of(names, split=SPLITS[: len(names)])
    units = [items.slice(start, 7) for start in range(0, len(names), 7)]
    made = make_spec(("features", "map"), **spec)
    return make_store(folder, units, made, form)[0].uri


@pytest.fixture(params=["parquet", "hdf5"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return make(tmp_path / "store", request.param)


def go(store: str, out: Path, to: Any, **options: Any) -> dict[str, Any]:
    summary = run(ExportConfig(store=store, out=str(out), to=to, **options)).summary
    folder = out.parent
    assert not list(folder.glob(".tmp*"))
    assert all(Path(path).is_file() for path in summary["out"])
    return summary


def read(path: Path) -> dict[str, Any]:
    """Any of the formats as ids, labels, views and features."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            names = file["label_names"].asstr()[:]
            return {
                "ids": file["ids"].asstr()[:].tolist(),
                "labels": [names[c] if c >= 0 else None for c in file["labels"][:]],
                "views": file["view"][:].tolist(),
                "features": file["features"][:],
            }
    if path.suffix == ".npy":
        names = np.load(path.with_suffix(".label_names.npy"))
        views = path.with_suffix(".views.npy")
        ids = np.load(path.with_suffix(".ids.npy"))
        codes = np.load(path.with_suffix(".labels.npy"))
        assert (ids.dtype.kind, codes.dtype) == ("U", np.int64)
        return {
            "ids": ids.tolist(),
            "labels": [names[c] if c >= 0 else None for c in codes],
            "views": np.load(views).tolist() if views.exists() else [0] * len(ids),
            "features": np.load(path),
        }
    frame = pd.read_csv(path)
    assert list(frame.columns[:5]) == ["id", "label", "split", "view", "f0"]
    return {
        "ids": frame["id"].tolist(),
        "labels": [None if pd.isna(label) else label for label in frame["label"]],
        "views": frame["view"].tolist(),
        "features": frame.filter(regex="^f[0-9]").to_numpy(np.float32),
    }


def check(found: dict[str, Any], column: str = "features") -> None:
    assert found["labels"] == [i[0] if "/" in i else None for i in found["ids"]]
    pairs = zip(found["ids"], found["views"], strict=True)
    values = np.array([value_of(name, view) for name, view in pairs], np.float32)
    if column == "map":
        assert found["features"].reshape(-1).tolist() == values.tolist()
    else:
        assert (found["features"] == values[:, None] + np.arange(WIDTH)).all()


FILES = {"hdf5": "x.h5", "npy": "x.npy", "csv": "x.csv"}


@pytest.mark.parametrize("to", FILES)
def test_all_rows_by_id(store: str, tmp_path: Path, to: str) -> None:
    path = tmp_path / FILES[to]
    summary = go(store, path, to, layer="features")
    found = read(path)
    check(found)
    assert found["ids"] == sorted(NAMES)
    assert (summary["rows"], summary["shape"]) == (41, [41, WIDTH])
    assert summary["out"][0] == str(path)
    before = path.read_bytes()
    go(store, path, to, layer="features", order="shuffle")  # replaces what is there
    assert path.read_bytes() != before


@pytest.mark.parametrize("to", FILES)
def test_argmax_and_halves(tmp_path: Path, to: str) -> None:
    store = make(tmp_path / "store", dtype="float16")
    path = tmp_path / FILES[to]
    assert go(store, path, to, layer="map")["shape"] == [41]
    found = read(path)
    check(found, "map")
    if to != "csv":
        assert (found["features"].shape, found["features"].dtype) == ((41,), np.int32)
    go(store, path, to)
    found = read(path)
    check(found)
    assert to == "csv" or found["features"].dtype == np.float16


@pytest.mark.parametrize("to", FILES)
def test_views(tmp_path: Path, to: str) -> None:
    store = make(tmp_path / "store", "hdf5", views=3)
    path = tmp_path / FILES[to]
    go(store, path, to, order="natural")
    found = read(path)
    check(found)
    assert found["views"] == [0, 1, 2] * 41
    assert found["ids"][:9] == [n for n in NAMES[:5:2] for _ in range(3)]
    out = path.with_name("s" + path.suffix)
    summary = go(store, out, to, split="hash", split_sizes="0.5,0.5")
    assert sum(summary["splits"].values()) == 123
    assert all(count % 3 == 0 for count in summary["splits"].values())


def test_orders_are_the_same_for_every_cut_of_the_store(tmp_path: Path) -> None:
    stores = [make(tmp_path / "one"), make(tmp_path / "two", names=NAMES[::-1])]
    for order in ("natural", "shuffle"):
        found = []
        for number, store in enumerate(stores):
            path = tmp_path / f"{number}.npy"
            go(store, path, "npy", order=order, seed=3)
            found.append(read(path)["ids"])
        assert found[0] == found[1]
    assert found[0] != sorted(NAMES)


@pytest.mark.parametrize("to", FILES)
def test_store_splits(store: str, tmp_path: Path, to: str) -> None:
    path = tmp_path / FILES[to]
    outcome = run(ExportConfig(store=store, out=str(path), to=to, split="store"))
    assert outcome.summary["splits"] == {"train": 14, "test": 14}
    assert outcome.summary["left_out"] == 13
    assert "13 rows without a split: left out" in outcome.text
    assert not path.exists()
    for split in ("train", "test"):
        found = read(tmp_path / f"x.{split}{path.suffix}")
        check(found)
        assert found["ids"] == sorted(n for n, s in zip(NAMES, SPLITS, strict=True) if s == split)


def test_hash_and_stratified_splits_share_their_codes(store: str, tmp_path: Path) -> None:
    for mode, sizes in {"hash": [0.8, 0.1, 0.1], "stratified": "0.6,0.4"}.items():
        if mode == "stratified":
            store = make(tmp_path / "labelled", names=NAMES[:40])
        summary = go(store, tmp_path / "y.npy", "npy", split=mode, split_sizes=sizes)
        ids = []
        for name, count in summary["splits"].items():
            found = read(tmp_path / f"y.{name}.npy")
            check(found)
            assert len(found["ids"]) == count
            assert np.load(tmp_path / f"y.{name}.label_names.npy").tolist() == ["a", "b"]
            ids += found["ids"]
            if mode == "hash":
                assert set(by_hash(found["ids"], sizes)) == {name}
        assert len(ids) == len(set(ids)) == summary["rows"]
    assert summary["splits"] == {"train": 24, "test": 16}


def test_features_pass_piece_by_piece(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_PIECE_BYTES", 8 * 5 * 12)
    go(store, tmp_path / "x.csv", "csv", order="shuffle")
    check(read(tmp_path / "x.csv"))


def test_dropped_rows_stay_out(tmp_path: Path) -> None:
    store = make(tmp_path / "store")
    items = items_of([NAMES[3]], etag=["2"])
    reader = StoreReader(store)
    parts = write(reader.storage, SPEC, "new", items, "parquet")
    publish(reader.storage, SPEC.fingerprint, tuple(parts))
    go(store, tmp_path / "x.npy", "npy")
    found = read(tmp_path / "x.npy")
    check(found)
    assert len(found["ids"]) == 41
    go(store, tmp_path / "old.npy", "npy", snapshot=1)
    check(read(tmp_path / "old.npy"))


def test_nothing_appears_if_it_fails(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine, "_scatter", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RaypipeError, match=r"x\.npy is not written: No space left"):
        go(store, tmp_path / "x.npy", "npy")
    assert sorted(tmp_path.iterdir()) == before


def test_rare_classes_are_left_out_of_every_file(tmp_path: Path) -> None:
    names = [*(f"a/{i}.jpg" for i in range(6)), "b/1.jpg", "b/2.jpg", "c/1.jpg"]
    store = make(tmp_path / "store", names=names, views=3)
    with pytest.raises(UsageError, match=r"got 'b' \(2\), 'c' \(1\); .*--min-per-class 3"):
        go(store, tmp_path / "x.npy", "npy", split="stratified")
    given = {"split": "stratified", "split_sizes": "0.5,0.25,0.25", "min_per_class": 3}
    summary = go(store, tmp_path / "x.h5", "hdf5", **given)
    assert summary["rare_classes"] == {"b": 2, "c": 1}
    assert (summary["rows"], summary["left_out"]) == (18, 0)
    found = [i for path in summary["out"] for i in read(Path(path))["ids"]]
    assert set(found) == set(names[:6])
    whole = go(store, tmp_path / "y.npy", "npy", min_per_class=2)
    assert (whole["rows"], whole["rare_classes"]) == (24, {"c": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "x.csv"}, "--out: a file ending in .npy goes with --to npy; got"),
        ({"out": "no/x.npy"}, "--out: no folder"),
        ({"out": "store/x.npy"}, "lies inside the store"),
        ({"out": "folder.npy"}, "is a folder"),
        ({"layer": "other"}, "--layer: no 'other'"),
        ({"snapshot": 9}, "no snapshot 9"),
        ({"split": "stratified"}, "at least 3 items of each class.*unlabelled"),
    ],
)
def test_wrong_use(store: str, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    (tmp_path / "folder.npy").mkdir()
    given = {"out": "x.npy", **options}
    given["out"] = str(tmp_path / given["out"])
    with pytest.raises(UsageError, match=message):
        run(ExportConfig(store=store, to="npy", **given))
    assert not (tmp_path / "x.npy").exists()


def test_wrong_stores(tmp_path: Path) -> None:
    empty = make_store(tmp_path / "empty", [], SPEC)[0].uri
    with pytest.raises(UsageError, match="no features yet"):
        go(empty, tmp_path / "x.npy", "npy")
    two = make_store(tmp_path / "two", [items_of(["a"])], make_spec(("l1", "l2")))[0].uri
    with pytest.raises(UsageError, match="--layer: the store has several: l1, l2; name one"):
        go(two, tmp_path / "x.npy", "npy")
    with pytest.raises(UsageError, match="recorded no splits; use stratified or hash"):
        go(two, tmp_path / "x.npy", "npy", layer="l1", split="store")
    go(two, tmp_path / "x.npy", "npy", layer="l2", split="hash")  # a part may be empty
    assert sum(len(np.load(tmp_path / f"x.{s}.npy")) for s in ("train", "validation", "test")) == 1
    go(two, tmp_path / "x.csv", "csv", layer="l2", split="hash")
    go(two, tmp_path / "x.h5", "hdf5", layer="l2", split="hash")
