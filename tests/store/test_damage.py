"""Damage that is no broken file: another one in its place, an edited number, a lost part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import raypipe
from raypipe.errors import RaypipeError
from raypipe.heads.model import load_model
from raypipe.storage import FolderStorage
from raypipe.storage.checked_json import read_checked, with_checksum
from raypipe.store.history import read_runs, record_run
from raypipe.store.partition import Format
from raypipe.store.reader import StoreReader
from raypipe.store.retention import pin, pins, unpin
from tests.support.stores import items_of, make_spec, make_store

NAMES = [[f"{label}/{unit}{n}" for label in "ab" for n in range(4)] for unit in range(3)]


def filled(folder: Path, form: Format = "parquet") -> FolderStorage:
    storage, _ = make_store(folder, [items_of(names) for names in NAMES], make_spec(), form)
    return storage


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
def test_another_file_in_its_place(form: Format, tmp_path: Path) -> None:
    storage = filled(tmp_path / "store", form)
    first, second, _ = storage.list("data")
    storage.put(first, storage.read(second))  # whole, of as many rows, and of another unit
    store = StoreReader(storage.uri)
    for read in (store.label_counts, lambda: store.shapes, store.to_numpy):
        with pytest.raises(RaypipeError, match="part-u0.* is damaged: .*repair"):
            read()


@pytest.mark.parametrize("name", ["rows", "dropped", "number", "created"])
def test_an_edited_snapshot(name: str, tmp_path: Path) -> None:
    storage = filled(tmp_path / "store")
    (path,) = storage.list("snapshots")
    content = json.loads(storage.read(path))
    if name == "dropped":
        content["partitions"][0]["dropped"] = [1]
    else:
        content[name] = content[name] + type(content[name])("1")
    storage.put(path, json.dumps(content, indent=1).encode())
    with pytest.raises(RaypipeError, match="00000001.json is damaged"):
        StoreReader(storage.uri)


def test_checked_json() -> None:
    data = with_checksum(json.dumps({"a": 1, "b": "é"}, indent=1, ensure_ascii=False))
    found = read_checked(data, ())
    assert (found["a"], found["b"]) == (1, "é")
    for at in range(len(data) - 1):  # the last is the end of the line
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(ValueError):
            read_checked(bytes(changed), ("a", "b"))
    assert read_checked(b'{"a": 1}', ("a", "b")) == {"a": 1}  # of an earlier version
    for wrong in (b"", b"[]", b"[" * 10**5, b'{"a": 1, "c": 2}'):
        with pytest.raises(ValueError):
            read_checked(wrong, ("a", "b"))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"snapshot": "x"}', b"[" * 10**5])
def test_a_damaged_pin(content: bytes, tmp_path: Path) -> None:
    storage = filled(tmp_path / "store")
    pin(storage, "mine", 1)
    storage.put("pins/mine.json", content)
    with pytest.raises(RaypipeError, match=r"mine.json is damaged, .*raypipe pin .* mine"):
        pins(storage)
    pin(storage, "mine", 1)
    assert pins(storage) == {"mine": 1}
    storage.put("pins/mine.json", content)
    unpin(storage, "mine")
    assert pins(storage) == {}


def test_damaged_records_of_runs_are_left_out(tmp_path: Path) -> None:
    storage = filled(tmp_path / "store")
    whole = {"finished": "2026-01-01T00:00:00", "images": 1, "seconds": 1.0}
    record_run(storage, 1, whole | {"images_per_second": 1.0})
    assert [run["images"] for run in read_runs(storage, 1)] == [1]
    for content in (b"", b"[]", b"{}", json.dumps(whole).encode(), b'{"finished": 1}'):
        storage.put("runs/00000001.json", content)
        assert read_runs(storage, 1) == []
        assert raypipe.report(storage.uri, out=str(tmp_path / "r.html"))


def test_a_store_that_has_lost_its_spec_is_no_folder_of_images(tmp_path: Path) -> None:
    storage = filled(tmp_path / "store")
    raypipe.train(storage.uri, out=str(tmp_path / "model"), cv=2, grid=("C=1",), test_size=0.5)
    storage.delete("spec.json")
    with pytest.raises(RaypipeError, match="is a store without its spec.json; restore it"):
        raypipe.predict(str(tmp_path / "model"), storage.uri, out=str(tmp_path / "p.csv"))


def test_an_edited_model(tmp_path: Path) -> None:
    storage = filled(tmp_path / "store")
    raypipe.train(storage.uri, out=str(tmp_path / "model"), cv=2, grid=("C=1",), test_size=0.5)
    path = tmp_path / "model" / "model.json"
    whole = path.read_text()
    assert load_model(path.parent).classes == ("a", "b")
    for before, after in (('"a"', '"c"'), ("arrays_sha256", "arrays_sha257"), ("std", "l2")):
        path.write_text(whole.replace(before, after, 1))
        with pytest.raises(RaypipeError, match="is damaged"):
            load_model(path.parent)
    content = json.loads(whole)
    del content["sha256"], content["trained_on_sha256"]  # as before there was one
    path.write_text(json.dumps(content))
    assert load_model(path.parent).classes == ("a", "b")


def test_a_damaged_table_of_results(tmp_path: Path) -> None:
    storage = filled(tmp_path / "store")
    out = tmp_path / "model"
    raypipe.train(storage.uri, out=str(out), cv=2, grid=("C=1",), test_size=0.5)
    (out / "near_duplicates.csv").write_text("id,label\na,b\n")
    with pytest.raises(RaypipeError, match="a file of .* is not as it was written"):
        raypipe.report(str(out), out=str(tmp_path / "r.html"))


@pytest.mark.ci
def test_a_model_that_was_copied_in_part(tmp_path: Path) -> None:
    storage = filled(tmp_path / "store")
    whole, model, out = tmp_path / "whole", tmp_path / "model", tmp_path / "p.csv"
    raypipe.train(storage.uri, out=str(whole), cv=2, grid=("C=1",), test_size=0.5)
    raypipe.predict(str(whole), storage.uri, out=str(out))
    expected, refused, said = out.read_bytes(), [], []
    for file in sorted(whole.iterdir()):
        for share in (None, 0.0, 0.5):
            shutil.rmtree(model, ignore_errors=True)
            shutil.copytree(whole, model)
            data = file.read_bytes()
            (model / file.name).unlink()
            if share is not None:
                (model / file.name).write_bytes(data[: int(len(data) * share)])
            try:
                raypipe.predict(str(model), storage.uri, out=str(out))
            except RaypipeError as error:
                said.append(str(error))
                refused.append(file.name)
            else:
                assert out.read_bytes() == expected
    vital = ("arrays.safetensors", "model.json", "trained_on.npy")
    assert [refused.count(name) for name in vital] == [3, 3, 3]
    assert set(refused) == set(vital)
    assert all(str(model) in line and "\n" not in line for line in said)
