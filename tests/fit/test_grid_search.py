"""Fits in memory end where scikit-learn's do in float64, or say that they have not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from raypipe.fit.fitted import Fitted
from raypipe.fit.in_memory.grid_search import Settings, fit_search
from tests.fit.test_multinomial import blobs, fit


def unscaled(offset: float, spread: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of very different sizes, or far from zero, in float32."""
    x, y = blobs(900, 30, 6)
    sizes = np.logspace(-spread / 2, spread / 2, 30)
    return (x * sizes + offset).astype(np.float32), y


def search(x: np.ndarray, y: np.ndarray, scale: str, **settings: float) -> Fitted:
    folds = list(StratifiedKFold(3).split(x, y))
    labels = np.array([f"{code:02d}" for code in y], object)
    asked = Settings("logistic", scale, **settings)  # type: ignore[arg-type]
    return fit_search(x, labels, settings=asked, grid={"C": [1.0]}, folds=folds)


@pytest.mark.parametrize(("offset", "spread"), [(0, 3), (50, 0), (1000, 2), (0, 5)])
def test_unscaled_features_are_fitted_in_float64(offset: float, spread: int) -> None:
    x, y = unscaled(offset, spread)
    found = search(x, y, "none", max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = LogisticRegression(C=1.0, max_iter=300).fit(x.astype(np.float64), y)
    np.testing.assert_array_equal(found.head.scorer.coef, right.coef_)
    assert found.converged == (right.n_iter_[0] < 300)
    assert found.details["gradient_norm"] <= 1.1e-4 or not found.converged


def test_a_fit_that_float32_ends_goes_on_in_float64() -> None:
    x, y = blobs(900, 30, 6)
    found = search(x, y, "standard", tol=1e-7, max_iter=3000)
    assert found.converged
    assert found.details["gradient_norm"] <= 1.1e-7
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    right = LogisticRegression(C=1.0, tol=1e-9, max_iter=3000).fit(scaled, y)
    np.testing.assert_allclose(found.head.scorer.coef, right.coef_, atol=1e-4)


def test_what_rounding_ends_in_float64_has_not_converged(tmp_path: Path) -> None:
    """No gradient that float64 can compute is so small."""
    x, y = blobs(900, 30, 6)
    found = search(x, y, "standard", tol=1e-300, max_iter=3000)
    assert found.ended_early
    assert not found.converged
    shards, _ = fit(tmp_path, x, y, tol=1e-300, max_iter=3000)
    assert not shards.converged
    assert shards.iterations < 3000


@pytest.mark.ci
def test_both_engines_find_the_same_optimum_of_unscaled_features(tmp_path: Path) -> None:
    x, y = blobs(300, 8, 3)
    x = (x * np.logspace(-1, 1, 8) + 5).astype(np.float32)
    memory = search(x, y, "none", tol=1e-6, max_iter=20000)
    shards, _ = fit(tmp_path, x, y, scale="none", tol=1e-6, max_iter=20000)
    assert memory.converged
    assert shards.converged
    scores = x.astype(np.float64) @ memory.head.scorer.coef.T + memory.head.scorer.intercept
    others = x.astype(np.float64) @ shards.model.coef[0].T + shards.model.intercept[0]
    centred = [z - z.mean(axis=1, keepdims=True) for z in (scores, others)]
    np.testing.assert_allclose(*centred, atol=1e-3 * np.abs(centred[0]).max())
