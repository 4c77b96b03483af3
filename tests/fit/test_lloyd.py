"""k-means on shards, checked against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from raypipe.fit.checkpoint import Checkpoint
from raypipe.fit.lloyd import Lloyd, Partition, _means, fit_lloyd
from raypipe.fit.seeding import plus_plus, sample_rows, scalable_plus_plus
from raypipe.heads import Scaling
from tests.support.sharded import LocalShards, store_of


def nothing() -> Checkpoint:
    return Checkpoint(None, {}, resume=False)


def blobs(rows: int, width: int, count: int, spread: float = 0.35) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(0)
    truth = noise.integers(0, count, rows)
    x = noise.normal(size=(count, width))[truth] + spread * noise.normal(size=(rows, width))
    return (x + 3).astype(np.float32), truth


def sharded(folder: Path, x: np.ndarray, holders: int = 2, **options) -> LocalShards:
    return LocalShards(store_of(folder, x), np.zeros(len(x)), holders=holders, **options)


def centred(x: np.ndarray) -> Scaling:
    return Scaling("standard", x.astype(float).mean(0), np.ones(x.shape[1]))


def run(shards: LocalShards, how: Lloyd, start: np.ndarray) -> tuple[Partition, np.ndarray, float]:
    found = fit_lloyd(shards, how, [start], nothing())
    parts = shards.each("assign", how.scaling, found.centers)
    return found, np.concatenate([part[0] for part in parts]), float(sum(p[2] for p in parts))


@pytest.mark.parametrize("tol", [1e-4, 0.0])
@pytest.mark.parametrize("memory", [2**40, 0])
def test_the_same_start_gives_scikit_learns_end(tmp_path: Path, tol: float, memory: int) -> None:
    x, _ = blobs(1500, 16, 12)
    start = x[:12].astype(float)
    scaling = centred(x)
    shards = sharded(tmp_path, x, memory=memory)
    found, labels, inertia = run(shards, Lloyd(scaling, tol=tol), start - scaling.mean)
    reference = KMeans(12, init=start.astype(np.float32), n_init=1, tol=tol).fit(x)
    np.testing.assert_array_equal(labels, reference.labels_)
    assert inertia == pytest.approx(reference.inertia_, rel=1e-6)
    assert found.converged
    assert found.iterations == reference.n_iter_
    np.testing.assert_allclose(found.centers + scaling.mean, reference.cluster_centers_, atol=1e-5)


def test_empty_clusters_get_the_farthest_rows_as_in_scikit_learn(tmp_path: Path) -> None:
    x, _ = blobs(600, 5, 6)
    start = np.vstack([x[:4], np.full((2, 5), 1e3), x[5:7]]).astype(float)
    scaling = centred(x)
    _, labels, inertia = run(sharded(tmp_path, x), Lloyd(scaling), start - scaling.mean)
    reference = KMeans(8, init=start.astype(np.float32), n_init=1).fit(x)
    assert len(set(labels)) == 8
    assert adjusted_rand_score(labels, reference.labels_) == 1
    assert inertia == pytest.approx(reference.inertia_, rel=1e-6)


def test_any_number_of_holders_gives_the_same_bits(tmp_path: Path) -> None:
    x, _ = blobs(900, 8, 5)
    ends = []
    for holders in (1, 2, 4):
        shards = sharded(tmp_path / str(holders), x, holders)
        ends.append(run(shards, Lloyd(centred(x)), x[:5] - x.mean(0)))
    for other in ends[1:]:
        np.testing.assert_array_equal(other[0].centers, ends[0][0].centers)
        np.testing.assert_array_equal(other[1], ends[0][1])


def test_the_best_of_several_runs_is_kept(tmp_path: Path) -> None:
    x, _ = blobs(800, 6, 9, spread=0.1)
    shards = sharded(tmp_path, x)
    how = Lloyd(centred(x))
    sample = sample_rows(shards, how.scaling, 800, 800, seed=1)
    np.testing.assert_allclose(sample, x - how.scaling.mean, atol=1e-6)
    starts = plus_plus(sample, 9, [1, 2, 3, 4])
    apart = [run(shards, how, start)[2] for start in starts]
    together = fit_lloyd(shards, how, starts, nothing())
    parts = shards.each("assign", how.scaling, together.centers)
    assert sum(float(part[2]) for part in parts) == pytest.approx(min(apart))


@pytest.mark.parametrize("memory", [2**40, 0])
def test_scalable_seeding_finds_well_separated_clusters(tmp_path: Path, memory: int) -> None:
    x, truth = blobs(3000, 10, 40, spread=0.02)
    scaling = centred(x)
    starts = []
    for holders in (1, 3):
        shards = sharded(tmp_path / str(holders), x, holders, memory=memory)
        first = sample_rows(shards, scaling, 3000, 1, seed=0)
        starts.append(scalable_plus_plus(shards, scaling, first, 40, seed=0))
    np.testing.assert_array_equal(*starts)
    _, labels, _ = run(shards, Lloyd(scaling), starts[0])
    assert adjusted_rand_score(truth, labels) > 0.95


def test_seeding_does_not_depend_on_what_an_actor_remembers(tmp_path: Path) -> None:
    x, _ = blobs(2000, 6, 30, spread=0.5)
    scaling = Scaling.without("l2")  # not centred, so that rounding shows

    class Forgetful(LocalShards):
        def total(self, step: str, *arguments: object) -> object:
            for holder in self.holders:
                for shard in holder._shards:
                    shard.memo.clear()
            return super().total(step, *arguments)

    store = store_of(tmp_path, x)
    found = []
    for kind in (LocalShards, Forgetful):
        shards = kind(store, np.zeros(len(x)))
        first = sample_rows(shards, scaling, 2000, 1, seed=0)
        found.append(scalable_plus_plus(shards, scaling, first, 30, seed=0))
    np.testing.assert_array_equal(*found)


def test_spherical_centres_that_lose_all_rows_stay() -> None:
    before = np.eye(3)
    sums = np.array([[3.0, 4.0, 0.0], [0.0, 2.0, 0.0], [-1.5e-8, 0.0, 2.2e-8]])
    counts = np.array([5.0, 2.0, 0.0])
    found = _means(sums, counts, before, spherical=True)
    np.testing.assert_allclose(found, [[0.6, 0.8, 0], [0, 1, 0], [0, 0, 1]])


def test_spherical_centres_have_unit_length_and_the_largest_cosine(tmp_path: Path) -> None:
    x, truth = blobs(1000, 12, 6, spread=0.2)
    x = (x - 3) * np.random.default_rng(3).uniform(0.1, 10, (1000, 1)).astype(np.float32)
    shards = sharded(tmp_path, x)
    how = Lloyd(Scaling.without("l2"), spherical=True)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    found, labels, _ = run(shards, how, plus_plus(unit, 6, [3])[0])
    np.testing.assert_allclose(np.linalg.norm(found.centers, axis=1), 1)
    np.testing.assert_array_equal(labels, (unit @ found.centers.T).argmax(1))
    assert adjusted_rand_score(truth, labels) > 0.9


def test_a_stopped_run_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    x, _ = blobs(1200, 8, 9)
    shards = sharded(tmp_path / "store", x)
    how, start = Lloyd(centred(x), tol=0), x[:9] - x.mean(0)
    whole = fit_lloyd(shards, how, [start], nothing())
    folder = tmp_path / "checkpoint"

    class Failing(LocalShards):
        calls = 0

        def total(self, step: str, *arguments: object) -> object:
            self.calls += 1
            if self.calls == 5:
                raise ConnectionError
            return super().total(step, *arguments)

    failing = Failing.__new__(Failing)
    failing.__dict__ = shards.__dict__ | {"calls": 0}
    with pytest.raises(ConnectionError):
        fit_lloyd(failing, how, [start], Checkpoint(folder, {"k": 9}, resume=True))
    again = Checkpoint(folder, {"k": 9}, resume=True)
    assert int(again.state["iterations"][0]) == 3
    resumed = fit_lloyd(shards, how, [start], again)
    np.testing.assert_array_equal(resumed.centers, whole.centers)
    assert resumed.iterations == whole.iterations
