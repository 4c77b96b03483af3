"""The tutorial of Flowers17, step by step in Keras and scikit-learn, against the recipe."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report
from sklearn.model_selection import GridSearchCV

import raypipe
from tests.backbone.keras_networks import keras, made, saved
from tests.conftest import Here
from tests.recipes.photographs import take
from tests.recipes.test_recipes import RECIPES

CLASSES = ("bluebell", "crocus", "tulip")


def extracted(model: Any, paths: list[Path]) -> np.ndarray:
    """Return the tutorial's features, (n, 25088)."""
    images = [keras.utils.load_img(path, target_size=(224, 224)) for path in paths]
    batch = np.stack([keras.utils.img_to_array(image) for image in images])
    batch = keras.applications.imagenet_utils.preprocess_input(batch)
    return model.predict(batch, batch_size=32, verbose=0).reshape(len(paths), 512 * 7 * 7)


def trained(file: Path) -> tuple[GridSearchCV, np.ndarray, str]:
    """Return the tutorial's search on a file, probabilities of its other rows, and the report."""
    with h5py.File(file, "r") as db:
        i = int(db["labels"].shape[0] * 0.75)
        grid = {"C": [0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0]}
        search = GridSearchCV(LogisticRegression(), grid, cv=3)  # n_jobs changes nothing of it
        search.fit(db["features"][:i], db["labels"][:i])
        predicted = search.predict(db["features"][i:])
        names = db["label_names"].asstr()[:]
        report = classification_report(db["labels"][i:], predicted, target_names=names)
        return search, search.predict_proba(db["features"][i:]), report


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("count", [18, pytest.param(60, marks=pytest.mark.ci)])
def test_one_command_does_what_the_tutorial_does(
    count: int, tmp_path: Path, ray_session: None, here: Here
) -> None:
    names = [f"{CLASSES[n % 3]}/image_{n:04d}.jpg" for n in range(count)]
    source = take(tmp_path / "flowers17", names, len(CLASSES))
    model = made("vgg16", 224)
    weights, out = saved(model, tmp_path / "vgg16_notop.h5"), tmp_path / "out"
    recipe = str(RECIPES / "flowers17-vgg16.yaml")
    told = here(
        *("run", recipe, "--source", str(source), "--out", str(out)),
        *("--set", f"extract.weights={weights}", "--set", "extract.actors=1"),
    )
    assert told.returncode == 0, told.stderr

    with h5py.File(out / "features.h5", "r") as db:
        assert db["features"].dtype == np.float64
        assert db["features"].shape == (count, 25088)
        assert db["labels"].dtype.kind == "i"
        assert h5py.check_string_dtype(db["label_names"].dtype) is not None
        assert tuple(db["label_names"].asstr()[:]) == CLASSES
        ids = db["ids"].asstr()[:].tolist()
        assert [CLASSES[label] for label in db["labels"]] == [i.split("/")[0] for i in ids]
        found = db["features"][:]
    assert sorted(ids) == sorted(names) != ids
    some = slice(None, None, 1 if count < 60 else 3)
    right = extracted(model, [source / name for name in ids[some]])
    assert (np.abs(found[some] - right) <= 1e-4 * np.abs(right).max(0)).all()

    search, scored, report = trained(out / "features.h5")
    metrics = raypipe.load_model(out / "model").metrics
    assert metrics["best_params"] == search.best_params_
    means = [point["mean"] for point in metrics["grid"]]
    np.testing.assert_allclose(means, search.cv_results_["mean_test_score"])
    assert (out / "model" / "report.txt").read_text() == report
    with (out / "model" / "holdout.csv").open() as content:
        held = list(csv.DictReader(content))
    assert [row["id"] for row in held] == ids[int(0.75 * count) :]
    assert [row["predicted"] for row in held] == [CLASSES[k] for k in scored.argmax(1)]
    given = [float(row["probability"]) for row in held]
    np.testing.assert_allclose(given, scored.max(1), atol=1e-4)
    page = (out / "report.html").read_text()
    assert all(f">{title} of " in page for title in ("Features", "Classifier"))
