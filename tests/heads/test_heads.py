"""Heads predict what scikit-learn does, from arrays; grids, calibration, and what they are told."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy.optimize import approx_fprime
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from sklearn.svm import LinearSVC

import raypipe
from raypipe import memory
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit import engine
from raypipe.fit.engine import check_memory, large_model
from raypipe.fit.evaluate import duplicates
from raypipe.fit.evaluate.calibrate import calibrated, fit_calibration
from raypipe.fit.evaluate.scores import calibration_error, log_loss, reliability_bins
from raypipe.fit.fitted import Fitted
from raypipe.fit.grid import parse_grid
from raypipe.fit.in_memory.gradient import gradient_norm
from raypipe.fit.in_memory.grid_search import Settings, fit_search
from raypipe.fit.shards.sums import moments_of
from raypipe.heads import Head, Linear, Scaling, as_rows, channel_axis
from raypipe.heads.model import TrainedModel, load_model, save_model
from raypipe.heads.scorer import softmax
from tests.support import stores

CASES: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "logistic": ("logistic", ("C=0.5",), LogisticRegression(C=0.5, max_iter=1000)),
    "forest": ("forest", ("n_estimators=20",), RandomForestClassifier(20, random_state=3)),
    "deep": (
        "forest",
        ("n_estimators=7", "max_depth=2", "max_features=0.5"),
        RandomForestClassifier(7, max_depth=2, max_features=0.5, random_state=3),
    ),
    "uniform": ("knn", ("n_neighbors=5",), KNeighborsClassifier(5)),
    "distance": (
        "knn",
        ("n_neighbors=4", "weights=distance"),
        KNeighborsClassifier(4, weights="distance"),
    ),
}
SCALERS = {"none": FunctionTransformer, "standard": StandardScaler, "l2": Normalizer}


def blobs(classes: int = 3, rows: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes, so that probabilities are neither 0 nor 1."""
    noise = np.random.default_rng(seed)
    codes = np.arange(rows) % classes
    x = noise.normal(size=(rows, 8)) * np.linspace(0.5, 4, 8) + 5
    x[np.arange(rows), codes] += 1.5
    return x.astype(np.float32), np.array([f"c{code}" for code in codes], dtype=object)


def folds_of(x: np.ndarray, y: np.ndarray) -> list[Any]:
    return list(StratifiedKFold(3, shuffle=True, random_state=1).split(x, y))


def fitted(head: str, grid: tuple[str, ...], classes: int = 3, **settings: Any) -> Fitted:
    x, y = blobs(classes)
    return fit_search(
        x,
        y,
        settings=Settings(head, seed=3, **settings),
        grid=parse_grid(head, grid),
        folds=folds_of(x, y),
    )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("scale", ["none", "standard", "l2"])
@pytest.mark.parametrize("case", CASES)
def test_probabilities_are_scikit_learns(case: str, scale: str, classes: int) -> None:
    kind, grid, estimator = CASES[case]
    found = fitted(kind, grid, classes, scale=scale)
    rows, labels = blobs(classes)
    if (kind, scale) == ("logistic", "none"):
        rows = rows.astype(np.float64)  # float32 may end such a fit too early
    reference = make_pipeline(SCALERS[scale](), estimator).fit(rows, labels)
    x = np.vstack([blobs(classes, seed=7)[0], blobs(classes)[0][:5]])  # and known rows
    np.testing.assert_allclose(
        found.head.predict_proba(x),
        reference.predict_proba(x),
        atol=1e-5 if scale == "l2" else 2e-6,
    )
    assert found.head.kind == kind
    assert found.head.classes == tuple(reference.classes_)
    assert found.head.predict_proba(x[:0]).shape == (0, classes)


@pytest.mark.parametrize("step", [StandardScaler(), Normalizer()], ids=["standard", "l2"])
def test_arrays_and_tensors_are_scaled_as_in_scikit_learn(step: Any) -> None:
    x = np.random.default_rng(0).normal(2, 3, (60, 6)).astype(np.float32)
    x[:, 2] = 3.3  # constant, but for rounding
    x[7], x[8], x[9] = 0, x[8] * 1e-8, x[9] * 1e-5  # without a direction, and hardly with one
    if isinstance(step, StandardScaler):
        scaling = Scaling("standard", *moments_of([x[:25], x[25:]], 6).of([0]))
    else:
        scaling = Scaling.without("l2")
    before, expected = x.copy(), step.fit_transform(x)
    np.testing.assert_allclose(scaling.apply(x), expected, rtol=1e-4, atol=1e-6)
    found = scaling.apply(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("classes", [2, 3])
def test_svm_scores_are_the_decision_function(classes: int) -> None:
    found = fitted("svm", ("C=0.1",), classes)
    svm = LinearSVC(C=0.1, random_state=3, dual="auto")
    reference = make_pipeline(StandardScaler(), svm).fit(*blobs(classes))
    x = blobs(classes, seed=7)[0]
    scores, expected = found.head.scores(x), reference.decision_function(x)
    if classes == 2:
        np.testing.assert_allclose(scores, np.stack([-expected / 2, expected / 2], 1), atol=1e-5)
    else:
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_neighbours_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from raypipe.heads import neighbours

    found = fitted("knn", ("n_neighbors=9", "weights=distance")).head
    x = blobs(seed=7)[0]
    whole = found.predict_proba(x)
    monkeypatch.setattr(neighbours, "_QUERIES", 7)
    monkeypatch.setattr(neighbours, "_VALUES", 50)
    np.testing.assert_allclose(found.predict_proba(x), whole, atol=1e-12)


def test_balanced_classes_and_the_best_of_the_grid() -> None:
    x, y = blobs()
    few = np.flatnonzero((y != "c2") | (np.arange(len(y)) % 4 == 0))
    x, y = x[few], y[few]
    found = fit_search(
        x,
        y,
        settings=Settings("logistic", class_weight="balanced"),
        grid=parse_grid("logistic", ("C=0.01,1",)),
        folds=folds_of(x, y),
    )
    assert [entry["params"] for entry in found.grid] == [{"C": 0.01}, {"C": 1.0}]
    best = max(found.grid, key=lambda entry: entry["mean"])
    assert (found.best_params, found.cv_accuracy) == (best["params"], best["mean"])
    balanced = LogisticRegression(**found.best_params, class_weight="balanced", max_iter=1000)
    reference = make_pipeline(StandardScaler(), balanced).fit(x, y)
    np.testing.assert_allclose(found.head.predict_proba(x), reference.predict_proba(x), atol=1e-5)


def spec_of(head: Head) -> TrainedModel:
    return TrainedModel(head, stores.make_spec(), "features", {"source": "x"}, {"accuracy": 1.0})


@pytest.mark.parametrize(
    ("kind", "calibration"),
    [
        ("logistic", None),
        ("svm", "sigmoid"),
        ("forest", "isotonic"),
        ("knn", "temperature"),
    ],
)
def test_saved_and_loaded(kind: str, calibration: Any, tmp_path: Path) -> None:
    found = fitted(kind, ())
    head = calibrated(found, blobs()[1], calibration)
    head = replace(head, spatial="average", channels="first")
    save_model(spec_of(head), tmp_path)
    loaded = load_model(tmp_path).head
    x = blobs(seed=7)[0]
    np.testing.assert_array_equal(loaded.predict_proba(x), head.predict_proba(x))
    assert (loaded.spatial, loaded.channels, loaded.kind) == ("average", "first", kind)
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "arrays.safetensors"}


def test_models_of_other_versions(tmp_path: Path) -> None:
    head = fitted("logistic", ("C=1",)).head
    save_model(spec_of(head), tmp_path)
    content = json.loads((tmp_path / "model.json").read_text())
    for key in ("arrays_sha256", "trained_on_sha256", "sha256"):  # which those did not have
        del content[key]
    old = {"kind": "logistic", "classes": list(head.classes), "scale": "standard"}
    (tmp_path / "model.json").write_text(json.dumps(content | {"format": 1, "head": old}))
    linear, scaling = head.scorer, head.scaling
    assert isinstance(linear, Linear)
    arrays = {"mean": scaling.mean, "std": scaling.std}
    arrays |= {"coef": linear.coef, "intercept": linear.intercept}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(arrays, tmp_path / "arrays.safetensors")
    x = blobs(seed=7)[0]
    loaded = load_model(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(x), head.predict_proba(x))
    (tmp_path / "model.json").write_text(json.dumps(content | {"format": 3}))
    with pytest.raises(RaypipeError, match="written by a newer version"):
        load_model(tmp_path)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize("kind", ["svm", "forest"])
@pytest.mark.parametrize("classes", [2, 3])
def test_calibrations_are_scikit_learns(method: Any, kind: str, classes: int) -> None:
    x, y = blobs(classes)
    estimator = {
        "svm": LinearSVC(C=0.1, random_state=3, dual="auto"),
        "forest": RandomForestClassifier(20, min_samples_leaf=5, random_state=3),
    }[kind]
    trained = make_pipeline(StandardScaler(), estimator).fit(x, y)
    other, truth = blobs(classes, seed=5)
    reference = CalibratedClassifierCV(FrozenEstimator(trained), method=method).fit(other, truth)
    head = fitted(
        kind, ("C=0.1",) if kind == "svm" else ("n_estimators=20", "min_samples_leaf=5"), classes
    ).head
    codes = np.array([int(name[1:]) for name in truth])
    head = replace(head, calibration=fit_calibration(method, head.scores(other), codes, kind))
    new = blobs(classes, seed=9)[0]
    found, expected = head.predict_proba(new), reference.predict_proba(new)
    np.testing.assert_allclose(found, expected, atol=2e-3 if method == "temperature" else 1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_calibration_takes_scores_out_of_fold() -> None:
    x, y = blobs()
    found = fitted("svm", ("C=0.1",))
    assert found.out_of_fold is not None
    scored = found.out_of_fold()
    assert sorted(scored.rows) == list(range(len(x)))
    svm = make_pipeline(StandardScaler(), LinearSVC(C=0.1, random_state=3, dual="auto"))
    expected = cross_val_predict(svm, x, y, cv=folds_of(x, y), method="decision_function")
    np.testing.assert_allclose(scored.scores, expected[scored.rows], atol=1e-5)


@pytest.mark.parametrize("kind", ["temperature", "sigmoid", "isotonic"])
def test_calibration_mends_overconfident_scores(kind: Any) -> None:
    noise = np.random.default_rng(0)
    logits = noise.normal(size=(4000, 4)) * 1.5
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    codes = (chances.cumsum(1) < noise.random((4000, 1))).sum(1)
    fit, rest = slice(0, 2000), slice(2000, None)
    raw = 5 * logits
    calibration = fit_calibration(kind, raw[fit], codes[fit], "mlp")
    before, after = softmax(raw[rest]), calibration.apply(raw[rest])
    if kind == "temperature":
        assert calibration.arrays["temperature"][0] == pytest.approx(5, rel=0.1)
        assert log_loss(after, codes[rest]) < log_loss(chances[rest], codes[rest]) + 0.01
    assert log_loss(after, codes[rest]) < log_loss(before, codes[rest]) / 2
    errors = [calibration_error(reliability_bins(p, codes[rest])) for p in (before, after)]
    assert errors[1] < errors[0] / 2


def test_isotonic_where_no_class_has_a_chance() -> None:
    scores = np.array([[0.0, 1.0], [1.0, 0.0]] * 4)
    calibration = fit_calibration("isotonic", scores, np.array([1, 0] * 4), "svm")
    np.testing.assert_allclose(calibration.apply(np.array([[-1.0, -1.0]])), [[0.5, 0.5]])


def test_reliability_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.9, 0.1], [0.55, 0.45], [0.2, 0.8]])
    bins = reliability_bins(probabilities, np.array([0, 1, 0, 1]))
    assert [entry["count"] for entry in bins] == [0, 0, 0, 0, 0, 1, 0, 1, 1, 1]
    assert bins[8] == {
        "lower": 0.8, "upper": 0.9, "count": 1, "mean_confidence": 0.9, "accuracy": 0.0,
    }  # fmt: skip
    assert calibration_error(bins) == pytest.approx((0.45 + 0.2 + 0.9 + 0.05) / 4)


@pytest.mark.parametrize("classes", [2, 3])
def test_gradient_norm_is_that_of_the_objective(classes: int) -> None:
    x, y = blobs(classes, rows=30)
    codes = np.array([int(name[1:]) for name in y])
    rows = 1 if classes == 2 else classes
    values = np.random.default_rng(0).normal(0, 0.1, size=rows * 9)

    def head_of(flat: np.ndarray) -> Head:
        coef, intercept = flat[: rows * 8].reshape(rows, 8), flat[rows * 8 :]
        names = tuple(f"c{k}" for k in range(classes))
        return Head(names, "flatten", Scaling.without("none"), Linear("logistic", coef, intercept))

    def objective(flat: np.ndarray) -> float:
        chances = head_of(flat).predict_proba(x.astype(float))
        return float(0.5 * (flat[: rows * 8] ** 2).sum() + 0.7 * len(y) * log_loss(chances, codes))

    expected = np.abs(approx_fprime(values, objective, 1e-7)).max()
    expected /= 0.7 * len(y)  # as a mean over rows
    assert gradient_norm(head_of(values), x, y, 0.7) == pytest.approx(expected, rel=1e-3)
    converged = fitted("logistic", ("C=1",), classes)
    assert converged.converged
    assert converged.details["gradient_norm"] < 0.05
    early = fitted("logistic", ("C=1",), classes, max_iter=1)
    assert not early.converged
    assert early.details["gradient_norm"] > 10 * converged.details["gradient_norm"]


def test_grids() -> None:
    assert parse_grid(
        "forest", ("n_estimators=10,20", "max_depth=none,3", "max_features=sqrt,0.5")
    ) == {
        "n_estimators": [10, 20],
        "max_depth": [None, 3],
        "max_features": ["sqrt", 0.5],
    }
    given = ("hidden=256,512x128", "dropout=0,0.5", "weight_decay=0", "optimizer=sgd")
    assert parse_grid("mlp", given)["hidden"] == [(256,), (512, 128)]
    for head in ("logistic", "svm", "forest", "knn"):
        assert parse_grid(head, ())


@pytest.mark.parametrize(
    ("head", "entry", "words"),
    [
        ("svm", "gamma=1", "with NAME one of C for --head svm; got 'gamma=1'"),
        ("forest", "n_estimator=1", "max_features for --head forest.*did you mean n_estimators"),
        ("forest", "n_estimators=1.5", "n_estimators must be whole numbers from 1; got '1.5'"),
        ("forest", "max_features=2", "max_features must be sqrt, log2, or shares above 0"),
        ("forest", "max_depth=0", "max_depth must be whole numbers from 1, or none"),
        ("knn", "n_neighbors=0", "n_neighbors must be whole numbers from 1"),
        ("knn", "weights=gauss", "weights must be uniform or distance; got 'gauss'"),
        (
            "mlp",
            "hidden=12x",
            "hidden must be none, or the units of each hidden layer, as 256 or 512x128",
        ),
        ("mlp", "dropout=1", "dropout must be numbers from 0 and below 1"),
        ("mlp", "optimizer=lbfgs", "optimizer must be adam or adamw or sgd"),
        ("logistic", "C=inf", "C must be positive numbers; got 'inf'"),
    ],
)
def test_wrong_grids(head: str, entry: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_grid(head, (entry,))


def test_more_neighbours_than_rows() -> None:
    x, y = blobs(rows=15)
    settings, folds = Settings("knn"), folds_of(x, y)
    with pytest.raises(UsageError, match="n_neighbors must be at most 10, .* got 11"):
        fit_search(
            x, y, settings=settings, grid=parse_grid("knn", ("n_neighbors=3,11",)), folds=folds
        )
    found = fit_search(x, y, settings=settings, grid=parse_grid("knn", ()), folds=folds)
    assert {entry["params"]["n_neighbors"] for entry in found.grid} == {1, 5}


def test_positions_and_channels() -> None:
    x = np.arange(2 * 3 * 4 * 5, dtype=np.float16).reshape(2, 3, 4, 5)
    np.testing.assert_allclose(as_rows(x, "average", "last"), x.mean((1, 2), dtype=np.float32))
    np.testing.assert_allclose(as_rows(x, "average", "first"), x.mean((2, 3), dtype=np.float32))
    np.testing.assert_allclose(as_rows(x[0], "average", "last"), x[0].mean(1, dtype=np.float32))
    assert as_rows(x, "flatten").shape == (2, 60)
    assert as_rows(x[0, 0], "average").shape == (4, 5)
    assert as_rows(x, "average").dtype == np.float32
    assert channel_axis("hwc", (7, 7, 64)) == channel_axis("none", (197, 768)) == "last"
    assert channel_axis("none", (64, 7, 7)) == channel_axis("hwc", (768, 197)) == "first"


def group(folder: Path, names: tuple[str, str, str], limit: str, used: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cache}\n")


def test_memory_within_control_groups(tmp_path: Path) -> None:
    assert memory.available(tmp_path) > 0  # no groups at all
    (tmp_path / "proc/self").mkdir(parents=True)
    listed = tmp_path / "proc/self/cgroup"
    second = ("memory.max", "memory.current", "inactive_file")
    listed.write_text("0::/job/step\n")
    group(tmp_path / "sys/fs/cgroup/job/step", second, "max", 9, 0)
    group(tmp_path / "sys/fs/cgroup/job", second, "5000", 3000, 500)
    assert memory.available(tmp_path) == 2500
    first = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    listed.write_text("3:cpu:/\n2:memory:/out/of/sight\n1:name=systemd:/\n")
    group(tmp_path / "sys/fs/cgroup/memory", first, "4000", 3000, 0)
    assert memory.available(tmp_path) == 1000
    assert memory.readable(3 * 2**29) == "1.5 GiB"


def test_features_that_do_not_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.memory, "available", lambda: 2**30)
    big = (2**20, (7, 7, 64), "flatten", "last")
    with pytest.raises(UsageError, match=r"--head svm: .* about 61.2 GiB .*; 1 GiB .*logistic"):
        check_memory("svm", *big)
    check_memory("logistic", *big)
    check_memory("forest", 2**10, (7, 7, 64), "flatten", "last")
    check_memory("knn", 2**14, (7, 7, 64), "average", "last")
    with pytest.raises(UsageError, match="--head knn"):
        check_memory("knn", 2**15, (7, 7, 64), "flatten", "last")
    assert "takes 2 GiB" in str(large_model("knn", 2**20, 512))
    assert large_model("knn", 2**10, 512) is None
    assert large_model("forest", 2**20, 512) is None


def test_near_duplicates_are_left_out_where_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = blobs()[0]
    found = duplicates.near_duplicates(x[:2], x)
    assert found is not None
    assert found.mask.tolist() == [True, True]
    monkeypatch.setattr(duplicates, "MOST_DUPLICATES_WORK", 2 * x.size - 1)
    assert duplicates.near_duplicates(x[:2], x) is None


def labelled_store(folder: Path, count: int = 40) -> str:
    names = [f"{label}/{i}" for label in ("a", "mmmm") for i in range(count)]
    storage, _ = stores.make_store(folder, [stores.items_of(sorted(names))], stores.make_spec())
    return str(storage.uri)


@pytest.mark.parametrize("head", ["svm", "forest", "knn"])
def test_train_and_predict_from_a_store(head: str, tmp_path: Path) -> None:
    store = labelled_store(tmp_path / "store")
    small = {"forest": ("n_estimators=10",)}.get(head, ())
    model = raypipe.train(store, out=tmp_path / "m", head=head, grid=small, scale="none")
    # All rows of a class are near each other.
    assert (model.metrics["head"], model.metrics["accuracy_with_duplicates"]) == (head, 1.0)
    reliability = model.metrics["reliability"]
    assert reliability["calibration"] == ("sigmoid" if head == "svm" else "none")
    assert (reliability["before"] is None) == (head != "svm")
    rows = list(csv.DictReader((tmp_path / "m" / "reliability.csv").open()))
    assert sum(int(row["count"]) for row in rows) == model.metrics["test_rows"] == 20
    table = raypipe.predict(str(tmp_path / "m"), store, out=str(tmp_path / "p.csv"))
    labels = [name.partition("/")[0] for name in table["id"].to_pylist()]
    assert table["label"].to_pylist() == labels
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert not [n for n in names if n.endswith((".pkl", ".joblib", ".pickle"))]


def test_average_over_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def maps(names: list[str], spec: Any) -> dict[str, np.ndarray]:
        values = np.array([stores.value_of(name) for name in names], np.float32)
        noise = np.random.default_rng(0).normal(size=(len(names), 4, 4, 2))
        return {"features": (values[:, None, None, None] + noise).astype(np.float32)}

    monkeypatch.setattr(stores, "features_of", maps)
    store = labelled_store(tmp_path / "s")
    model = raypipe.train(store, out=tmp_path / "m", spatial="average", grid="C=1")
    head, x = model.head, raypipe.open(store).to_numpy().features
    assert isinstance(head.scorer, Linear)
    assert head.channels == "first"  # the spec's pooling is not hwc
    assert head.scorer.coef.shape == (1, 4)
    np.testing.assert_allclose(model.predict_proba(x), model.predict_proba(x.mean((2, 3))))
    monkeypatch.setattr(engine.memory, "available", lambda: 1000)
    with pytest.raises(UsageError, match="--head forest: 80 rows of 32 values"):
        raypipe.train(store, out=tmp_path / "f", head="forest")
    assert not (tmp_path / "f").exists()


def test_labels_share_their_text(tmp_path: Path) -> None:
    names = ["loose", *(f"{label}/{i}" for label in "ab" for i in range(5))]
    make: Callable[..., Any] = stores.make_store
    storage, _ = make(tmp_path, [stores.items_of(sorted(names))], stores.make_spec())
    data = raypipe.open(str(storage.uri)).to_numpy()
    assert data.labels.tolist() == ["a"] * 5 + ["b"] * 5 + [None]
    assert len({id(label) for label in data.labels}) == 3
    assert data.splits.tolist() == [None] * 11


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"head": "svm", "calibrate": "none"}, "--calibrate none: the scores of --head svm"),
        ({"head": "knn", "class_weight": "balanced"}, "--class-weight balanced: --head knn"),
        ({"head": "forest", "tol": 0.1}, "--tol goes with --head logistic and svm; got .*forest"),
        ({"head": "svm", "grid": "gamma=1"}, "--grid: expected NAME=VALUE"),
        ({"head": "tree"}, "--head must be logistic, .* or mlp"),
    ],
)
def test_options_that_do_not_go_together(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        raypipe.train("/nowhere", out=tmp_path, **given)
