"""Predicting at scale: like a plain loop over the features, resumable, never twice."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import polars
import pytest
from sklearn.metrics import classification_report

import raypipe
from raypipe.cli.options import resolve
from raypipe.config import InspectConfig, PredictConfig
from raypipe.errors import UsageError
from raypipe.flow.plan import make_plan
from raypipe.heads.model import load_model
from raypipe.jobs import inspect
from raypipe.jobs import predict as job
from raypipe.rows.listing import Listing
from raypipe.store.coverage import publish
from tests.conftest import TINY, draw, draw_folder, options
from tests.support.stores import items_of, make_spec, make_store, write

SPEC = make_spec(("features", "map"), views=2)
NAMES = [f"{kind}/{number:04d}" for number in range(20) for kind in ("ape", "bee", "cat")]
UNITS = [NAMES[:25], NAMES[25:26], NAMES[26:], ["loose", "bad!"]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of 61 images with two views each, in four partitions; one image has no label."""
    folder = tmp_path_factory.mktemp("features") / "store"
    make_store(folder, [items_of(names) for names in UNITS], SPEC)
    return folder


@pytest.fixture(scope="module")
def models(store: Path) -> Path:
    """Two models: `one` and `other`."""
    for name, values in (("one", "C=1"), ("other", "C=0.1")):
        out = str(store.parent / name)
        raypipe.train(str(store), out=out, layer="features", grid=values)
    return store.parent


def predict(model: Path, source: Path, out: Path, **given: object) -> dict[str, object]:
    options = {"model": str(model), "source": str(source), "out": str(out), **given}
    return job.run(resolve(PredictConfig, options, environment={})).summary


@pytest.fixture(scope="module")
def predictions(store: Path, models: Path, ray_session: None) -> Path:
    """A store of predictions, to be copied and not changed."""
    out = store.parent / "predictions"
    summary = predict(models / "one", store, out, top_k=2, probabilities=True, evaluate=True)
    assert (summary["rows"], summary["rejects"], summary["snapshot"]) == (61, 0, 1)
    assert (summary["predicted"], summary["decoded"]) == (61, 0)
    return out


GIVEN = {"top_k": 2, "probabilities": True}


def test_store_and_file_are_what_the_model_says(
    store: Path, models: Path, predictions: Path, tmp_path: Path
) -> None:
    model = raypipe.load_model(models / "one")
    data = raypipe.open(store).to_numpy("features")
    data = data[data.views == 0]
    expected = model.predict_proba(data.features)
    order = np.argsort(-expected, axis=1)
    names = np.array(model.classes, object)

    table = raypipe.open(predictions).to_arrow()
    assert table["id"].to_pylist() == data.ids.tolist()
    assert table["label"].to_pylist() == data.labels.tolist()
    assert table["predicted"].to_pylist() == names[order[:, 0]].tolist()
    assert table["predicted_2"].to_pylist() == names[order[:, 1]].tolist()
    assert str(table["probability"].type) == "float"
    kept = raypipe.open(predictions).to_numpy()  # the probabilities, as if they were features
    np.testing.assert_array_equal(kept.features, expected.astype(np.float32))

    predict(models / "one", store, tmp_path / "p.csv", top_k=2)
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert list(rows[0]) == ["id", "label", "probability", "label_2", "probability_2"]
    assert [row["id"] for row in rows] == data.ids.tolist()
    assert [row["label"] for row in rows] == table["predicted"].to_pylist()
    for name, rank in (("probability", 0), ("probability_2", 1)):
        values = np.take_along_axis(expected, order[:, [rank]], axis=1)[:, 0]
        assert [float(row[name]) for row in rows] == values.astype(float).round(6).tolist()
        np.testing.assert_array_equal(table[name].to_numpy(), values.astype(np.float32))


def test_others_read_the_partitions(predictions: Path) -> None:
    frame = pandas.read_parquet(predictions / "data")
    assert len(frame) == 61
    assert set(frame["predicted"]) <= {"ape", "bee", "cat"}
    wide = polars.read_parquet(predictions / "data" / "*.parquet")
    np.testing.assert_allclose(np.stack(wide["probabilities"].to_list()).sum(1), 1, atol=1e-6)
    shown = inspect.run(InspectConfig(store=str(predictions)))
    assert shown.summary["features"]["probabilities"] == [3]
    assert sum(shown.summary["predicted"].values()) == 61
    assert "predicted () text" in shown.text
    assert shown.summary["spec"]["head"]["top_k"] == 2
    assert shown.summary["provenance"]["classes"] == ["ape", "bee", "cat"]


def test_what_is_there_is_not_predicted_again(
    store: Path, models: Path, predictions: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "features", tmp_path / "predictions"
    shutil.copytree(store, source)
    shutil.copytree(predictions, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    summary = predict(models / "one", source, out, **GIVEN)
    assert (summary["predicted"], summary["snapshot"]) == (0, 1)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*")} == before

    storage = raypipe.open(source).storage  # grows, and one of its images changes
    new = items_of(["ape/0001", "bee/9999"], etag=["2", "1"])
    publish(storage, SPEC.fingerprint, tuple(write(storage, SPEC, "new", new, "parquet")))
    with pytest.raises(UsageError, match=r"was made from .*store; .* 1 of its rows; give --moved"):
        predict(models / "one", source, out, **GIVEN)
    summary = predict(models / "one", source, out, moved=True, **GIVEN)
    assert (summary["predicted"], summary["changed"], summary["rows"]) == (2, 1, 62)
    ids = raypipe.open(out).to_arrow(["id"])["id"].to_pylist()
    assert sorted(ids) == sorted(raypipe.open(source).to_numpy("map").ids[::2])


def test_finished_partitions_of_a_run_that_was_stopped_are_kept(
    store: Path, models: Path, predictions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "predictions"
    shutil.copytree(predictions, out)
    shutil.rmtree(out / "snapshots")
    lost = min(out.glob("data/*"), key=lambda path: path.stat().st_size)
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("data/*")}
    summary = predict(models / "one", store, out, **GIVEN)
    assert (summary["predicted"], summary["reused"], summary["rows"]) == (1, 60, 61)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert lost.exists()  # under the same name
    left, right = (raypipe.open(folder).to_arrow() for folder in (predictions, out))
    assert left.equals(right)


def test_units_are_the_partitions(store: Path) -> None:
    listing = Listing(items_of(names).combine_chunks().to_batches()[0] for names in UNITS)
    everything = make_plan(listing, None, SPEC, by_batch=True)
    assert [(unit.batch, unit.count) for unit in everything.units] == [
        (0, 25), (1, 1), (2, 34), (3, 2),
    ]  # fmt: skip
    rest = make_plan(listing, items_of([*UNITS[0][1:], *UNITS[1]]), SPEC, by_batch=True)
    assert [(unit.batch, unit.count) for unit in rest.units] == [(0, 1), (2, 34), (3, 2)]


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        ("one", {"top_k": 3, "probabilities": True}, r"another spec \(head.top_k: 2 → 3\); give"),
        ("one", {"top_k": 2, "threshold": 0.5}, "head.probabilities: True → False; head.threshold"),
        ("other", GIVEN, r"holds predictions of another spec \(head.sha256: \w+… → \w+…\)"),
        ("one", {**GIVEN, "where": "map=1:5"}, "head.where: .* → map=1:5; output map: None"),
    ],
)
def test_another_model_or_other_options_are_refused(
    store: Path, models: Path, predictions: Path, model: str, given: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        predict(models / model, store, predictions, **given)


@pytest.mark.parametrize(
    ("out", "given", "words"),
    [
        ("p.csv", {"prune": True}, "--prune goes with a folder as --out"),
        ("p.csv", {"probabilities": True}, "--probabilities goes with a folder"),
        ("p", {"order": "natural"}, "--order goes with a file ending in .csv or .parquet"),
        ("p", {"short_ids": True}, "--short-ids goes with a file"),
        ("p", {"class_names": "imagenet"}, "--class-names goes with a file"),
        ("p.csv", {"class_names": "imagenet"}, "--class-names imagenet goes with --where"),
        ("p", {"probability_of": "ape"}, "--probability-of goes with a file"),
        ("p.csv", {"probability_of": "ape", "threshold": 0.5}, "not go with --threshold"),
        ("p.csv", {"probability_of": "ape", "evaluate": True}, "not go with --evaluate"),
        ("p.csv", {"probability_of": "ape", "where": "map=1"}, "not go with --where"),
        ("p.csv", {"where": "map=9:1"}, "--where must be COLUMN=LOW:HIGH"),
        ("p", {"where": "features=1"}, "--where: 'features' has many numbers"),
        ("p", {"where": "mp=1"}, "--where: the model's features have no column 'mp'"),
        ("p", {"label": "folder"}, "--label goes with images; SOURCE is a store"),
        ("p.json", {}, "--out must end in .csv or .parquet, or be a folder"),
        ("one", {}, "holds a model; give another folder"),
        ("store", {}, "lies inside the source"),
        ("p", {"threshold": 1.5}, "--threshold must be a number > 0 and ≤ 1"),
    ],
)
def test_wrong_use(
    store: Path, models: Path, tmp_path: Path, out: str, given: dict[str, object], words: str
) -> None:
    place = store.parent / out if out in ("one", "store") else tmp_path / out
    with pytest.raises(UsageError, match=words):
        predict(models / "one", store, place, **given)
    assert not list(tmp_path.iterdir())


def test_partitions_in_hdf5_are_read_as_well(store: Path, models: Path, tmp_path: Path) -> None:
    make_store(tmp_path / "hdf5", [items_of(names) for names in UNITS], SPEC, "hdf5")
    for source, name in ((store, "parquet.csv"), (tmp_path / "hdf5", "hdf5.csv")):
        predict(models / "one", source, tmp_path / name, where="map=500:600", evaluate=True)
    assert (tmp_path / "hdf5.csv").read_bytes() == (tmp_path / "parquet.csv").read_bytes()


def test_predictions_are_no_features(
    store: Path, models: Path, predictions: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="holds predictions; give images or features"):
        predict(models / "one", predictions, tmp_path / "p.csv")
    plain = tmp_path / "plain"
    predict(models / "one", store, plain)
    with pytest.raises(UsageError, match="holds predictions, not features; its columns are predic"):
        raypipe.train(plain, out=tmp_path / "m")


def test_evaluate(store: Path, models: Path, predictions: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    data = raypipe.open(store).to_arrow(["id", "label", "view", "map", "features"]).to_pandas()
    data = data[data["view"] == 0]
    best = raypipe.load_model(models / "one").predict_proba(np.stack(data["features"])).max(axis=1)
    least, most = float(np.median(best)), int(data["map"].quantile(0.7))
    given = {"threshold": least, "where": f"map=:{most}"}
    summary = predict(models / "one", store, out, evaluate=True, **given)
    rows = {row["id"]: row for row in csv.DictReader(out.open())}
    images = data.to_dict("records")
    for row, probability in zip(images, best, strict=True):
        found = rows[row["id"]]
        assert int(found["map"]) == row["map"]
        low = np.float32(probability) < np.float32(least)
        status = "filtered" if row["map"] > most else "below_threshold" if low else "ok"
        assert found["status"] == status
        assert bool(found["label"]) == (status == "ok")
    assert set(summary["status"]) == {"ok", "filtered", "below_threshold"}
    assert summary["labels"] == {
        name: sum(row["label"] == name for row in rows.values()) for name in summary["labels"]
    }
    scored = [(r["label"], rows[r["id"]]["label"]) for r in images if isinstance(r["label"], str)]
    truth, predicted = zip(*(pair for pair in scored if pair[1]), strict=True)
    scores = summary["evaluation"]
    assert scores["accuracy"] == np.mean(np.array(truth) == np.array(predicted))
    assert scores["report"] == classification_report(
        truth, predicted, labels=["ape", "bee", "cat"], zero_division=0, output_dict=True
    )
    assert (scores["rows"], scores["unlabelled_rows"]) == (len(truth), 1)
    assert scores["undecided_rows"] == 60 - len(truth)

    metrics = json.loads((predictions / "metrics.json").read_text())
    assert (metrics["rows"], metrics["unlabelled_rows"], metrics["snapshot"]) == (60, 1, 1)
    assert np.sum(metrics["confusion"]) == 60


def test_a_class_that_no_image_has_is_open_in_the_page(models: Path, tmp_path: Path) -> None:
    make_store(tmp_path / "store", [items_of(["ape/1", "ape/2", "bee/1"])], SPEC)
    out = tmp_path / "p.csv"
    scores = predict(models / "one", tmp_path / "store", out, evaluate=True, report=True)
    assert scores["evaluation"]["report"]["cat"]["recall"] is None
    page = (tmp_path / "p.report.html").read_text()
    (row,) = re.findall(r'<tr><th scope="row">cat</th>.*?</tr>', page, re.DOTALL)
    assert row.count("–</td>") >= 2


def test_labels_the_model_does_not_know_end_an_evaluation(models: Path, tmp_path: Path) -> None:
    names = ["ape/1", *(f"{kind}/1" for kind in "uvwxyz")]
    make_store(tmp_path / "store", [items_of(names)], SPEC)
    for out in ("p.csv", "p"):
        with pytest.raises(
            UsageError,
            match="not know 'u', .* and 1 more; its classes are 'ape', .*; take other im",
        ):
            predict(models / "one", tmp_path / "store", tmp_path / out, evaluate=True)
        assert not (tmp_path / out).exists()


class Witness:
    """A head that says whether torch is there, and needs no features."""

    classes = ("no", "yes")

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return np.tile([[0.9, 0.1], [0.1, 0.9]]["torch" in sys.modules], (len(features), 1))


def witnessed(model: str, store: str, out: str) -> str:
    """Predict with a witness in place of the model's head; return what it said, by label."""

    def load(folder: Path, place: str) -> object:
        return replace(load_model(folder, place), head=Witness())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "load_model", load)
        return json.dumps(predict(Path(model), store, Path(out))["labels"])


@pytest.mark.ci
def test_tasks_that_read_a_store_do_without_torch(
    store: Path, models: Path, tmp_path: Path, ray_session: str
) -> None:
    """As a job of its own, whose workers have not worked for another one."""
    code = f"import sys; from {__name__} import witnessed; print(witnessed(*sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(models / "one"), str(store), str(tmp_path / "p")],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_ADDRESS": ray_session, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"no": 61}


def test_one_file_from_a_store_takes_neither_ray_nor_torch(
    store: Path, models: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, raypipe; raypipe.predict(*sys.argv[1:3], out=sys.argv[3]); "
        "print(sorted({'torch', 'ray', 'sklearn'} & set(sys.modules)))"
    )
    arguments = [str(models / "one"), str(store), str(tmp_path / "p.csv")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_images_in_one_pass(tmp_path: Path, ray_session: None) -> None:
    photos = draw_folder(tmp_path / "photos", 8)
    layers = ("features=block2", "kind=logits:argmax")
    features = raypipe.extract(photos, out=tmp_path / "features", **options(layer=layers))
    raypipe.train(features.uri, out=tmp_path / "model", layer="features", grid="C=1", cv=2)
    (photos / "circle" / "bad.png").write_text("no image")
    draw("square", 1).save(photos / "new.png")  # without a label
    out = tmp_path / "predictions"
    kinds = sorted(set(features.to_numpy("kind").features.tolist()))
    given = {"where": f"kind={kinds[0]}", "actors": "1", "backbone": TINY}

    with pytest.raises(UsageError, match="--actors: the cluster has room for 2 replicas"):
        predict(tmp_path / "model", photos, out, **given | {"actors": "64"})
    assert not list(out.rglob("*"))
    first = predict(tmp_path / "model", photos, out, evaluate=True, **given)
    assert (first["rows"], first["rejects"], first["decoded"]) == (25, 1, 26)
    scores = first["evaluation"]
    assert (scores["unlabelled_rows"], scores["rows"] + scores["undecided_rows"]) == (1, 24)
    again = predict(tmp_path / "model", photos, out, **given)
    assert (again["decoded"], again["snapshot"], again["labels"]) == (0, 1, first["labels"])
    same = predict(tmp_path / "model", features.uri, out, **given)  # the features they are made of
    assert (same["predicted"], same["gone"]) == (0, 2)

    made = raypipe.open(out).to_pandas().set_index("id")
    stored = predict(tmp_path / "model", features.uri, tmp_path / "p.parquet", where=given["where"])
    assert set(stored["status"]) <= {"ok", "filtered"}
    table = pandas.read_parquet(tmp_path / "p.parquet").set_index("id")
    made = made.loc[table.index]
    assert made["status"].tolist() == table["status"].tolist()
    assert made["kind"].tolist() == table["kind"].tolist()
    assert made["predicted"].fillna("").tolist() == table["label"].fillna("").tolist()
    np.testing.assert_allclose(made["probability"], table["probability"], atol=1e-4)
    assert raypipe.open(out).rejects()["reason"].to_pylist() == ["not_an_image"]

    shutil.rmtree(photos / "stripes")
    (photos / "circle" / "bad.png").unlink()
    pruned = predict(tmp_path / "model", photos, out, prune=True, **given)
    assert (pruned["rows"], pruned["rejects"], pruned["pruned"]) == (17, 0, 9)
