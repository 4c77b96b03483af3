"""The reader: splits, classes, pieces, PyTorch; and what `inspect` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from raypipe.config import InspectConfig
from raypipe.errors import UsageError
from raypipe.jobs.inspect import run
from raypipe.spec import Preprocess
from raypipe.store.coverage import publish
from raypipe.store.reader import StoreReader
from tests.support.stores import WIDTH, items_of, make_spec, make_store, value_of, write

SPEC = make_spec(("features", "map"), views=2)
NAMES = [f"{'ab'[i % 2]}/{i:02}" for i in range(20)] + ["loose"]
SPLITS = [("train", "test", None)[i % 3] for i in range(21)]


@pytest.fixture(params=["parquet", "hdf5"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> StoreReader:
    items = items_of(NAMES, split=SPLITS)
    units = [items.slice(start, 4) for start in range(0, 21, 4)]
    storage, _ = make_store(tmp_path / "store", units, SPEC, request.param)
    changed = items_of(["a/00"], etag=["2"], split=["train"])
    parts = write(storage, SPEC, "new", changed, request.param)
    publish(storage, SPEC.fingerprint, tuple(parts))
    return StoreReader(storage.uri)


def in_split(split: str | None) -> list[str]:
    pairs = zip(NAMES, SPLITS, strict=True)
    return sorted(n for n, s in pairs if split in (None, s) for _ in range(2))


def test_counts(store: StoreReader) -> None:
    assert store.split_counts() == {"test": 14, "train": 14, None: 14}
    assert store.label_counts() == {"a": 20, "b": 20, None: 2}
    assert store.classes == ["a", "b"]


@pytest.mark.parametrize("split", [None, "train", "test"])
def test_splits(store: StoreReader, split: str | None) -> None:
    wanted = in_split(split)
    data = store.to_numpy("features", split)
    assert data.ids.tolist() == wanted
    assert data.features[:, 0].tolist() == [
        value_of(i, v) for i, v in zip(data.ids, data.views, strict=True)
    ]
    assert store.to_arrow(["id"], split)["id"].to_pylist() == wanted
    assert store.to_arrow(["id"], split).column_names == ["id"]
    assert store.to_pandas(["id", "label"], split)["id"].tolist() == wanted
    batches = list(store.iter_batches(["id"], split))
    assert sorted(i for b in batches for i in b["id"].to_pylist()) == wanted
    assert all(b.column_names == ["id"] and len(b) for b in batches)
    assert len(next(store.iter_batches(None, split)).column_names) == 8


def test_unknown_splits(store: StoreReader, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="split: no 'valid' in .*; it has test, train"):
        store.to_numpy(split="valid")
    with pytest.raises(UsageError, match="split: no 'valid'"):
        next(store.iter_batches(split="valid"))
    with pytest.raises(UsageError, match="split: no 'valid'"):
        store.to_torch(split="valid")
    plain = make_store(tmp_path / "plain", [items_of(NAMES)], SPEC)[0]
    with pytest.raises(UsageError, match="its source recorded none"):
        StoreReader(plain.uri).to_arrow(split="train")


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("split", [None, "train"])
def test_torch_gives_each_row_once(store: StoreReader, split: str | None, workers: int) -> None:
    dataset = store.to_torch(split=split)
    assert len(dataset) == len(in_split(split))
    assert dataset.classes == ["a", "b"]
    found: list[tuple[str, float]] = []
    for batch in DataLoader(dataset, batch_size=5, num_workers=workers):
        assert batch["features"].shape[1:] == (WIDTH,)
        for name, value, code in zip(batch["id"], batch["features"], batch["label"], strict=True):
            assert ["a", "b", None][code] == (name[0] if "/" in name else None)
            found.append((name, float(value[0])))
    pairs = zip(NAMES, SPLITS, strict=True)
    names = [n for n, s in pairs if split in (None, s)]
    assert sorted(found) == sorted((n, value_of(n, v)) for n in names for v in range(2))


def test_torch_takes_other_columns(store: StoreReader) -> None:
    row = next(iter(store.to_torch("map")))
    assert row["features"].shape == ()
    with pytest.raises(UsageError, match="--layer"):
        store.to_torch("nothing")


def test_inspect(store: StoreReader) -> None:
    outcome = run(InspectConfig(store=store.uri))
    summary: dict[str, Any] = json.loads(json.dumps(outcome.summary))
    assert summary["format"] == store.format
    assert (summary["rows"], summary["items"], summary["views"]) == (42, 21, 2)
    assert summary["splits"] == {"test": 14, "train": 14, "": 14}
    assert summary["columns"][1] == {
        "column": "map",
        "layer": "map",
        "pool": "argmax",
        "shape": [],
        "dtype": "int32",
    }
    assert "42: 21 images × 2 views" in outcome.text
    assert f"features ({WIDTH},) float32: features, avg" in outcome.text
    assert store.format in outcome.text


def test_inspect_says_what_it_does_not_show(tmp_path: Path) -> None:
    spec = make_spec(preprocess=Preprocess(std=(0.2290 * 255, 0.224 * 255, 0.225 * 255)))
    names = ["a/1.jpg", *(f"{n:02}!" for n in range(13))]  # the latter are rejects
    storage, _ = make_store(tmp_path / "store", [items_of(names)], spec)
    text = run(InspectConfig(store=storage.uri)).text
    assert "09!" in text
    assert "10!" not in text
    assert "… and 3 more" in text
    assert "splits     none" in text
    assert "(none)" not in text
    assert "57.12" in text
    assert "57.120000" not in text


def test_inspect_an_empty_store(tmp_path: Path) -> None:
    storage = make_store(tmp_path / "store", [], SPEC)[0]
    assert "no rows yet" in run(InspectConfig(store=storage.uri)).text
