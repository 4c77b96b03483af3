"""Logistic regression on shards, checked against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from raypipe.fit.evaluate.holdout import Holdout
from raypipe.fit.logistic.path import LogisticPath, PathResult
from raypipe.fit.shards.groups import group_rows
from tests.support.sharded import LocalShards, store_of


def blobs(rows: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes, so that the optimum is finite and not trivial."""
    noise = np.random.default_rng(seed)
    y = noise.integers(0, classes, rows)
    centers = noise.normal(size=(classes, width)) * 0.6
    return (centers[y] + noise.normal(size=(rows, width))).astype(np.float32), y


def fit(
    folder: Path, x: np.ndarray, y: np.ndarray, holders: int = 1, memory: int = 2**40, **options
) -> tuple[PathResult, LogisticPath]:
    classes = len(set(y))
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(x, y))
    parts = Holdout("stratified", np.arange(len(x)), np.arange(0), folds)
    groups = group_rows(parts, y, classes)
    store = store_of(folder, x, [f"{c:02d}" for c in y])
    shards = LocalShards(store, groups.of_row, y, holders, len(groups), memory=memory)
    given = {"penalties": [1.0], "scale": "standard", **options}
    path = LogisticPath(shards, groups, **given)
    return path.fit(), path


def objective(x: np.ndarray, y: np.ndarray, coef: np.ndarray, intercept: np.ndarray, c: float):
    """scikit-learn's objective in float64, as a mean over rows."""
    z = x.astype(float) @ coef.T + intercept
    if z.shape[1] == 1:
        z = np.hstack([np.zeros_like(z), z])
    top = z.max(axis=1, keepdims=True)
    loss = np.log(np.exp(z - top).sum(axis=1)) + top[:, 0] - z[np.arange(len(y)), y]
    return loss.mean() + (coef**2).sum() / (2 * c * len(y))


@pytest.mark.parametrize("classes", [2, 5, 20])
@pytest.mark.parametrize("c", [0.01, 10.0])
def test_the_optimum_is_scikit_learns(tmp_path: Path, classes: int, c: float) -> None:
    x, y = blobs(3000, 24, classes)
    x *= np.logspace(-3, 3, 24, dtype=np.float32)  # very different scales
    found, _ = fit(tmp_path, x, y, penalties=[c], tol=1e-7)
    scaled = StandardScaler().fit_transform(x.astype(float))
    reference = LogisticRegression(C=c, tol=1e-9, max_iter=5000).fit(scaled, y)
    best = objective(scaled, y, reference.coef_, reference.intercept_, c)
    assert found.converged
    assert found.loss == pytest.approx(best, rel=1e-6)
    ours = objective(scaled, y, found.model.coef[0], found.model.intercept[0], c)
    assert ours == pytest.approx(best, rel=1e-6)
    np.testing.assert_allclose(found.scaling.mean, x.astype(float).mean(0), rtol=1e-5, atol=1e-6)
    z = scaled @ found.model.coef[0].T + found.model.intercept[0]
    predicted = (z[:, 0] > 0).astype(int) if classes == 2 else z.argmax(1)
    assert np.mean(predicted == reference.predict(scaled)) >= 0.999


@pytest.mark.ci
def test_ill_conditioned_features_without_scaling(tmp_path: Path) -> None:
    x, y = blobs(1500, 20, 20)
    noise = np.random.default_rng(5)
    mixed = x @ noise.normal(size=(20, 20)) @ np.diag(np.logspace(0, -1, 20)) + 1
    x = mixed.astype(np.float32)
    found, _ = fit(tmp_path, x, y, penalties=[1.0], scale="none", tol=1e-6, max_iter=5000)
    reference = LogisticRegression(C=1.0, tol=1e-9, max_iter=500, solver="newton-cholesky").fit(
        x.astype(float), y
    )
    best = objective(x, y, reference.coef_, reference.intercept_, 1.0)
    assert found.loss == pytest.approx(best, rel=1e-6)
    z = x @ found.model.coef[0].T + found.model.intercept[0]
    assert np.mean(z.argmax(1) == reference.predict(x.astype(float))) >= 0.999


def test_the_search_is_scikit_learns(tmp_path: Path) -> None:
    x, y = blobs(900, 30, 4)
    values = [0.001, 0.01, 0.1, 1.0]
    found, _ = fit(tmp_path, x, y, penalties=values, tol=1e-6)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-6)),
        {"logisticregression__C": values},
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
    ).fit(x, y)
    assert found.best == search.best_params_["logisticregression__C"]
    for fold in range(3):
        expected = search.cv_results_[f"split{fold}_test_score"]
        np.testing.assert_allclose(found.accuracies[:, fold], expected, atol=1 / 300 + 1e-9)
    classifier = search.best_estimator_[-1]
    np.testing.assert_allclose(found.model.coef[0], classifier.coef_, atol=2e-4)


@pytest.mark.parametrize("scale", ["standard", "none", "l2"])
def test_class_weights_and_scalings(tmp_path: Path, scale: str) -> None:
    x, y = blobs(1200, 10, 3)
    keep = (y > 0) | (np.arange(1200) % 10 == 0)
    x, y = x[keep], y[keep]
    found, path = fit(tmp_path, x, y, scale=scale, balanced=True, tol=1e-7)
    scaled = path.scaling.apply(x.astype(float))
    model = LogisticRegression(tol=1e-9, max_iter=5000, class_weight="balanced").fit(scaled, y)
    np.testing.assert_allclose(found.model.coef[0], model.coef_, atol=1e-4)


def test_any_number_of_holders_and_rows_in_files_give_the_same_bits(tmp_path: Path) -> None:
    x, y = blobs(700, 12, 3)
    options = {"penalties": [0.1, 1.0], "tol": 1e-5}
    first, _ = fit(tmp_path / "1", x, y, holders=1, **options)
    for holders, memory in ((2, 2**40), (4, 2**40), (3, 0)):
        other, path = fit(tmp_path / f"{holders}", x, y, holders=holders, memory=memory, **options)
        assert (path.shards.in_memory == 0) == (memory == 0)
        np.testing.assert_array_equal(other.model.coef, first.model.coef)
        np.testing.assert_array_equal(other.accuracies, first.accuracies)


def test_half_precision_features(tmp_path: Path) -> None:
    x, y = blobs(2000, 16, 5)
    half, _ = fit(tmp_path / "h", x.astype(np.float16), y, tol=1e-6)
    rounded, _ = fit(tmp_path / "r", x.astype(np.float16).astype(np.float32), y, tol=1e-6)
    full, _ = fit(tmp_path / "f", x, y, tol=1e-6)
    assert half.loss == pytest.approx(rounded.loss, rel=1e-6)
    assert half.loss == pytest.approx(full.loss, rel=1e-3)


def test_stopping_early_is_known(tmp_path: Path) -> None:
    x, y = blobs(500, 10, 4)
    found, _ = fit(tmp_path, x, y, penalties=[100.0], max_iter=2, tol=1e-8)
    assert not found.converged
    assert found.gradient > 1e-8
    assert found.iterations <= 2
