"""Formats, views, splits, outputs and servers of an extraction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import raypipe
from raypipe.config import ExtractConfig, InspectConfig
from raypipe.errors import RaypipeError, UsageError
from raypipe.images.augment import view
from raypipe.jobs import inspect
from raypipe.jobs.extract import run as run_extract
from raypipe.reports.contents import store_facts
from raypipe.runtime.ray_dataset import Store
from raypipe.sources import remote
from raypipe.spec import Augment
from raypipe.store.history import read_runs
from raypipe.store.partition import DATA
from tests.conftest import TINY, draw, draw_folder, options

pytestmark = pytest.mark.usefixtures("ray_session")

VIEWS = {"augment": 3, "rotate": 30.0, "shift": 0.1, "flip": True, "interpolation": "nearest"}


def extract(source: Path, out: Path, **changes: object) -> Store:
    return raypipe.extract(str(source), out=str(out), **options(**changes))


@pytest.mark.ci
def test_views_are_the_same_however_the_work_is_cut(photos: Path, tmp_path: Path) -> None:
    small = draw_folder(tmp_path / "small", 2)
    one = extract(small, tmp_path / "one", **VIEWS)
    assert len(one) == 24  # 6 images, 4 rows each
    data = one.to_numpy()
    assert data.views.tolist() == [0, 1, 2, 3] * 6
    # Other company, other units, a second run that adds to the first.
    for path in sorted(small.rglob("*.png")):
        target = tmp_path / "grown" / path.relative_to(small)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        if path.stem == "0000" and path.parent.name == "square":
            extract(tmp_path / "grown", tmp_path / "two", **VIEWS)
    again = extract(tmp_path / "grown", tmp_path / "two", **VIEWS).to_numpy()
    np.testing.assert_array_equal(again.ids, data.ids)
    np.testing.assert_array_equal(again.features, data.features)
    # Each is the feature of the view's own pixels.
    augment = Augment(views=3, rotate=30.0, shift=0.1, flip=True)
    name = "square/0001.png"
    pixels = np.asarray(Image.open(small / name).resize((32, 32), Image.Resampling.NEAREST))
    (tmp_path / "turned").mkdir()
    Image.fromarray(view(pixels, augment, name, 2)).save(tmp_path / "turned" / "v.png")
    plain = extract(tmp_path / "turned", tmp_path / "three", interpolation="nearest")
    row = (data.ids == name) & (data.views == 2)
    np.testing.assert_allclose(data.features[row][0], plain.to_numpy().features[0], atol=1e-6)


def test_random_views_in_place_of_the_image(tmp_path: Path) -> None:
    small = draw_folder(tmp_path / "small", 2)
    both = extract(small, tmp_path / "both", **VIEWS).to_numpy()
    alone = extract(small, tmp_path / "alone", **VIEWS, original=False)
    data = alone.to_numpy()
    assert data.views.tolist() == [0, 1, 2] * 6
    np.testing.assert_allclose(data.features, both.features[both.views > 0], atol=1e-6)
    model = str(tmp_path / "model")
    given = {"head": "mlp", "epochs": 1, "test_size": 0.5, "validation_size": 0}
    raypipe.train(str(tmp_path / "alone"), out=model, **given)
    with pytest.raises(UsageError, match="holds random views of images alone .--no-original"):
        raypipe.predict(model, str(tmp_path / "alone"), out=str(tmp_path / "p.csv"))


def test_orientation_is_ignored_where_that_is_asked_for(tmp_path: Path) -> None:
    """Photographs that their EXIF turns give the features of their pixels as they are stored."""
    turned, plain = tmp_path / "turned", tmp_path / "plain"
    turned.mkdir()
    plain.mkdir()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = turned / f"{orientation}.jpg"
        draw("square", orientation, (41, 30)).save(path, exif=exif)
        with Image.open(path) as image:
            Image.fromarray(np.asarray(image)).save(plain / f"{orientation}.jpg.png")
    right = extract(plain, tmp_path / "right").to_numpy().features
    given = extract(turned, tmp_path / "ignored", orientation="ignore").to_numpy()
    np.testing.assert_array_equal(given.features, right)
    upright = extract(turned, tmp_path / "upright").to_numpy().features
    same = [bool(np.array_equal(a, b)) for a, b in zip(upright, right, strict=True)]
    assert same == [True] + [False] * 7


def test_a_changed_image_replaces_all_of_its_views(tmp_path: Path) -> None:
    source = draw_folder(tmp_path / "photos", 2)
    before = extract(source, tmp_path / "store", **VIEWS).to_numpy()
    draw("circle", 99).save(source / "circle" / "0001.png")
    (source / "square" / "0000.png").write_bytes(b"no image")
    store = extract(source, tmp_path / "store", **VIEWS)
    after = store.to_numpy()
    assert store.rejects()["id"].to_pylist() == ["square/0000.png"]
    assert len(after) == 20
    same = np.isin(before.ids, ["circle/0001.png", "square/0000.png"], invert=True)
    other = after.ids != "circle/0001.png"
    np.testing.assert_array_equal(before.features[same], after.features[other])
    changed = after.features[~other]
    assert len(changed) == 4
    assert not np.allclose(changed, before.features[before.ids == "circle/0001.png"])


def test_hdf5_store_has_one_file_over_all(photos: Path, tmp_path: Path) -> None:
    parquet = extract(photos, tmp_path / "parquet", layer=("a=block1:hwc", "b=block2"))
    hdf5 = extract(photos, tmp_path / "hdf5", layer=("a=block1:hwc", "b=block2"), format="hdf5")
    for column in ("a", "b"):
        one, two = parquet.to_numpy(column), hdf5.to_numpy(column)
        np.testing.assert_array_equal(one.ids, two.ids)
        np.testing.assert_array_equal(one.labels, two.labels)
        np.testing.assert_array_equal(one.features, two.features)
    with h5py.File(tmp_path / "hdf5" / "features.h5") as before:
        assert before["a"].shape == (24, 16, 16, 8)
        kept = before["b"][:]
        draw("circle", 5).save(photos / "circle" / "new.png")
        extract(photos, tmp_path / "hdf5", layer=("a=block1:hwc", "b=block2"), format="hdf5")
        np.testing.assert_array_equal(before["b"][:], kept)  # the reader keeps what it has opened
    with h5py.File(tmp_path / "hdf5" / "features.h5") as after:
        assert after["b"].shape == (25, 16)
        names = [i.decode() for i in after["ids"][:]]
        assert sorted(names) == sorted(
            p.relative_to(photos).as_posix() for p in photos.rglob("*.png")
        )
    with pytest.raises(UsageError, match="--format: the partitions of .* are hdf5; got parquet"):
        extract(photos, tmp_path / "hdf5", layer=("a=block1:hwc", "b=block2"))


def test_killed_hdf5_run_is_taken_up(photos: Path, tmp_path: Path) -> None:
    store = extract(photos, tmp_path / "store", format="hdf5")
    before = store.to_numpy().features
    for path in (tmp_path / "store" / "snapshots").iterdir():
        path.unlink()  # as a run leaves it that was killed before it published
    (tmp_path / "store" / "features.h5").unlink()
    again = extract(photos, tmp_path / "store", format="hdf5")
    assert len(list((tmp_path / "store" / DATA).iterdir())) == 1
    np.testing.assert_array_equal(again.to_numpy().features, before)
    assert (tmp_path / "store" / "features.h5").exists()


def test_class_number_is_a_plain_column(photos: Path, tmp_path: Path) -> None:
    layers = ("features=flat", "class=logits:argmax", "scores=logits")
    store = extract(photos, tmp_path / "store", layer=layers)
    table = store.to_arrow()
    assert str(table.schema.field("class").type) == "int32"
    scores = store.to_numpy("scores").features
    np.testing.assert_array_equal(table["class"].to_numpy(), scores.argmax(1))
    with pytest.raises(UsageError, match="--layer: the store has several: features, class, scores"):
        store.to_numpy()
    with pytest.raises(UsageError, match="--layer: the store has several: features, class, scores"):
        raypipe.export(store.uri, out=tmp_path / "x.npy", to="npy")
    raypipe.export(store.uri, out=tmp_path / "x.npy", to="npy", layer="class")
    assert np.load(tmp_path / "x.npy").shape == (24,)
    model = raypipe.train(store.uri, out=tmp_path / "m", layer="features", grid="C=1", cv=2)
    predicted = raypipe.predict(
        tmp_path / "m", photos, out=tmp_path / "p.csv", actors="1", backbone=TINY
    )
    stored = raypipe.predict(tmp_path / "m", store.uri, out=tmp_path / "q.csv")
    assert predicted["label"].equals(stored["label"])
    assert model.column == "features"


def test_splits_and_selection(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        draw_folder(tmp_path / "photos" / part, 3, ("circle", "square"))
    store = extract(tmp_path / "photos", tmp_path / "store", split="folder", glob=("*.png",))
    counts = {name: len(store.to_numpy(split=name)) for name in ("train", "validation", "test")}
    assert counts == {"train": 6, "validation": 6, "test": 6}
    rows = store.to_ray(columns=["id", "features"], split="test").take_all()
    assert sorted(row["id"] for row in rows) == store.to_numpy(split="test").ids.tolist()
    assert set(rows[0]) == {"id", "features"}
    model = raypipe.train(store.uri, out=tmp_path / "m", grid="C=1,10")
    assert (model.metrics["split"], model.metrics["test_rows"]) == ("store", 6)
    with pytest.raises(UsageError, match="SOURCE: no images in .* match none"):
        extract(tmp_path / "photos", tmp_path / "other", glob=("none*",))


def test_what_is_not_selected_is_not_gone(photos: Path, stored: Path) -> None:
    (photos / "square" / "0001.png").unlink()
    some = extract(photos, stored, glob=("circle/*",), prune=True)
    assert len(some) == 23


def test_only_rejects_are_predicted_as_rejects(stored: Path, tmp_path: Path) -> None:
    raypipe.train(stored, out=tmp_path / "m", grid="C=1", cv=2)
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(b"no image")
    with pytest.raises(RaypipeError, match="not one of 1 image became a row"):
        raypipe.predict(tmp_path / "m", bad, out=tmp_path / "p.csv", backbone=TINY)
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 1
    assert "not_an_image" in (tmp_path / "p.rejects.csv").read_text()


@pytest.fixture
def server(photos: Path) -> Iterator[ThreadingHTTPServer]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(photos)))
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def test_images_from_a_server(
    server: ThreadingHTTPServer,
    photos: Path,
    stored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.png"))
    root = f"http://127.0.0.1:{server.server_port}"
    rows = [f"{name},{root}/{name},{name.split('/')[0]}" for name in [*names, "circle/none.png"]]
    manifest = tmp_path / "images.csv"
    manifest.write_text("id,url,label\n" + "\n".join(rows) + "\n")
    store = extract(manifest, tmp_path / "remote")
    assert store.rejects()["message"].to_pylist()[0].startswith("404 ")
    local = raypipe.open(stored).to_numpy()
    found = store.to_numpy()
    np.testing.assert_array_equal(found.ids, local.ids)
    np.testing.assert_array_equal(found.labels, local.labels)
    np.testing.assert_array_equal(found.features, local.features)

    server.shutdown()
    server.server_close()
    quick = [f"{name}2,{root}/{name},x" for name in names]
    manifest.write_text("id,url,label\n" + "\n".join(quick) + "\n")
    monkeypatch.setattr(remote, "RETRIES", 1, raising=False)
    with pytest.raises(RaypipeError, match="did not answer"):
        extract(manifest, tmp_path / "down")
    assert not list((tmp_path / "down").rglob("snapshots/*"))


def test_a_dry_run_says_what_a_run_does(photos: Path, stored: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    given = {name: value for name, value in options().items() if name != "actors"}
    ahead = raypipe.extract(str(photos), out=str(out), dry_run=True, **given)
    assert not out.exists()
    assert (ahead["pending"], ahead["done"], ahead["exists"]) == (24, 0, False)
    assert ahead["bytes"] == 24 * 16 * 4
    assert ahead["images_per_second"] > 0
    assert ahead["estimated_seconds"] == pytest.approx(24 / ahead["images_per_second"], abs=0.1)
    out = stored
    assert len(raypipe.open(out).snapshot.data) == ahead["units"]
    before = sorted(path.name for path in out.rglob("*"))
    draw("circle", 5).save(photos / "circle" / "new.png")
    (photos / "square" / "0001.png").unlink()
    again = raypipe.extract(str(photos), out=str(out), dry_run=True, **options())
    assert sorted(path.name for path in out.rglob("*")) == before
    assert (again["pending"], again["done"], again["gone"]) == (1, 23, 1)
    assert again["replicas"] == 1
    with pytest.raises(UsageError, match="preprocess"):
        raypipe.extract(str(photos), out=str(out), dry_run=True, **options(size=40))
    (photos / "circle" / "new.png").write_bytes(b"none")
    unreadable = raypipe.extract(str(photos), out=str(out), dry_run=True, **options())
    assert unreadable["estimated_seconds"] is None


def test_a_dry_run_in_words(photos: Path, tmp_path: Path) -> None:
    config = ExtractConfig(source=str(photos), out=str(tmp_path / "s"), dry_run=True, **options())
    lines = run_extract(config).text.splitlines()
    assert lines[0].endswith("would be created (nothing was written)")
    assert [line.split()[-1] for line in lines[1:3]] == ["24", "0"]
    assert lines[-1].startswith("time")


def test_runs_leave_a_record(photos: Path, stored: Path) -> None:
    extract(photos, stored)  # nothing new: no snapshot, no record
    draw("circle", 5).save(photos / "circle" / "new.png")
    (photos / "circle" / "bad.png").write_bytes(b"none")
    store = extract(photos, stored)
    first, second = read_runs(store.storage, store.snapshot.number)
    assert (first["snapshot"], first["images"], first["rejects"]) == (1, 24, {})
    assert (second["snapshot"], second["images"]) == (2, 2)
    assert sum(second["rejects"].values()) == 1
    assert set(first["work_seconds"]) == {"read", "decode", "compute", "write"}
    assert len(read_runs(store.storage, 1)) == 1
    (stored / "runs" / "00000002.json").write_text("{")  # cut off
    assert len(read_runs(store.storage, 2)) == 1


def test_what_a_label_file_does_not_match_is_in_the_summary(tmp_path: Path) -> None:
    source = draw_folder(tmp_path / "small", 1)
    (tmp_path / "l.csv").write_text("square/0000,A\nsquare/0009,B\n")
    given = options(label=f"file:{tmp_path / 'l.csv'}")
    config = ExtractConfig(source=str(source), out=str(tmp_path / "out"), **given)
    outcome = run_extract(config)
    found = {
        "an image that the label file does not name": 2,
        "a row of the label file that names no image": 1,
    }
    assert outcome.summary["labels_not_found"] == found
    assert "no label: 2 × an image that the label file does not name" in outcome.text
    shown = inspect.run(InspectConfig(store=str(tmp_path / "out")))
    assert shown.summary["labels_not_found"] == found
    assert "1 a row of the label file that names no image" in shown.text
    assert ("labels not found", "; ".join(f"{n} × {why}" for why, n in found.items())) in (
        store_facts(outcome.value)
    )
    assert sorted(map(str, outcome.value.to_numpy().labels)) == ["A", "None", "None"]
