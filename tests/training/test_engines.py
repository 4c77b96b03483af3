"""`train` and `cluster` on shards in Ray actors: the results of the other engine, and survival."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from sklearn.preprocessing import StandardScaler, normalize

import raypipe
from raypipe.actors.shard_pool import RowsToFit, ShardPool, plan_shards
from raypipe.config import ClusterConfig
from raypipe.config.values import Actors
from raypipe.errors import UsageError
from raypipe.fit.engine import choose_engine
from raypipe.fit.kmeans.in_memory import Clusters, KMeansOptions
from raypipe.fit.kmeans.on_shards import fit_on_shards, scaling_of
from raypipe.fit.shards.checkpoint import Checkpoint
from raypipe.heads import Scaling
from raypipe.rows.excluded import read_excluded
from raypipe.store.index import read_index
from raypipe.store.reader import StoreReader
from raypipe.training.cluster_files import write_assignments
from raypipe.training.kmeans import _checkpoint
from tests.fit.test_multinomial import blobs
from tests.support.sharded import store_of

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> StoreReader:
    """900 rows of four classes, every tenth without a label, in seven partitions."""
    x, y = blobs(900, 20, 4, seed=3)
    labels = [None if n % 10 == 0 else "dcba"[c] for n, c in enumerate(y)]
    return store_of(tmp_path_factory.mktemp("engines"), x, labels)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every partition be a shard, so that there are several."""
    monkeypatch.setattr("raypipe.actors.shard_pool._SHARD_BYTES", 1)


def test_both_engines_train_the_same_model(store: StoreReader, tmp_path: Path) -> None:
    given = {"grid": "C=0.01,0.1,1", "tol": 1e-7, "calibrate": "temperature"}
    models = {
        engine: raypipe.train(store.uri, out=tmp_path / engine, engine=engine, **given)
        for engine in ("sklearn", "ray")
    }
    ours, theirs = models["ray"].metrics, models["sklearn"].metrics
    assert not set(theirs) - set(ours)
    for name in ("best_params", "train_rows", "test_rows", "unlabelled_rows", "split", "classes"):
        assert ours[name] == theirs[name]
    assert ours["accuracy"] == pytest.approx(theirs["accuracy"])
    assert ours["cv_accuracy"] == pytest.approx(theirs["cv_accuracy"])
    assert ours["near_duplicates"] == theirs["near_duplicates"]
    x = store.to_numpy().features
    expected = models["sklearn"].predict_proba(x)
    # On float32 rows scikit-learn stops where rounding hides the slope, short of --tol; against
    # its optimum in float64 the ray engine is tested apart.
    np.testing.assert_allclose(models["ray"].predict_proba(x), expected, atol=6e-4)
    rows = [list(csv.reader((tmp_path / e / "holdout.csv").open())) for e in models]
    assert [row[:3] for row in rows[0]] == [row[:3] for row in rows[1]]
    assert {p.name for p in (tmp_path / "ray").iterdir()} == {
        p.name for p in (tmp_path / "sklearn").iterdir()
    }


@pytest.mark.parametrize("scale", ["none", "standard-l2"])
def test_both_engines_find_the_same_clusters(
    store: StoreReader, tmp_path: Path, scale: Literal["none", "standard-l2"]
) -> None:
    x = store.to_numpy().features
    scaled = x if scale == "none" else normalize(StandardScaler().fit_transform(x))
    np.save(tmp_path / "start.npy", scaled[:6])
    found = {
        engine: raypipe.cluster(
            store.uri,
            out=tmp_path / engine,
            k=6,
            engine=engine,
            init=str(tmp_path / "start.npy"),
            scale=scale,
        )
        for engine in ("sklearn", "ray")
    }
    np.testing.assert_array_equal(found["ray"].labels, found["sklearn"].labels)
    np.testing.assert_allclose(found["ray"].centers, found["sklearn"].centers, atol=1e-4)
    np.testing.assert_allclose(found["ray"].distances, found["sklearn"].distances, atol=1e-3)
    assert found["ray"].inertia == pytest.approx(found["sklearn"].inertia, rel=1e-6)
    tables = [pq.read_table(tmp_path / engine / "clusters.parquet") for engine in found]
    assert tables[0].drop("distance").equals(tables[1].drop("distance"))
    np.testing.assert_allclose(tables[0]["distance"], tables[1]["distance"], atol=1e-3)
    metrics = [json.loads((tmp_path / e / "metrics.json").read_text()) for e in found]
    assert list(metrics[0]) == list(metrics[1])
    assert metrics[0]["ari"] == pytest.approx(metrics[1]["ari"])


def test_what_only_shards_have(store: StoreReader, tmp_path: Path) -> None:
    found = raypipe.cluster(
        store.uri, out=tmp_path / "a", k="2:5", distance="cosine", init="k-means||", n_init=2
    )
    np.testing.assert_allclose(np.linalg.norm(found.centers, axis=1), 1)
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert (metrics["engine"], metrics["distance"]) == ("ray", "cosine")
    assert [choice["k"] for choice in metrics["choices"]] == [2, 3, 4, 5]
    best = max(metrics["choices"], key=lambda choice: choice["silhouette"])
    assert metrics["k"] == best["k"] == len(found.sizes)


def test_choosing_k_in_memory(store: StoreReader, tmp_path: Path) -> None:
    found = raypipe.cluster(store.uri, out=tmp_path, k="2:10:2")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert [choice["k"] for choice in metrics["choices"]] == [2, 4, 6, 8, 10]
    best = max(metrics["choices"], key=lambda choice: choice["silhouette"])
    assert metrics["k"] == best["k"] == len(found.sizes)
    assert (metrics["choose"], metrics["engine"]) == ("silhouette", "sklearn")


def rows_of(store: StoreReader) -> RowsToFit:
    index = read_index(store)
    return RowsToFit(store, "features", index, np.zeros(len(index), np.int8))


class Pool(ShardPool):
    """Kills one of its actors' processes before a call."""

    def __init__(self, *given: Any, kill_at: int, **options: Any) -> None:
        self.calls, self.kill_at, self.killed = 0, kill_at, 0
        super().__init__(*given, **options)

    def _call(self, method: str, step: str, arguments: Any) -> list[Any]:
        self.calls += 1
        if self.calls == self.kill_at:
            self.killed = ray.get(self._actors[0].__ray_call__.remote(lambda _: os.getpid()))
            os.kill(self.killed, signal.SIGKILL)
        return super()._call(method, step, arguments)


def test_a_killed_actors_shards_are_read_again(store: StoreReader) -> None:
    options = KMeansOptions(k=7, seed=0, tol=0)
    nothing = Checkpoint(None, {}, resume=False)
    with ShardPool(rows_of(store), actors=Actors.parse("2")) as pool:
        whole, _ = fit_on_shards(pool, 900, options, scaling_of(pool, options), nothing)
    nothing = Checkpoint(None, {}, resume=False)
    with Pool(rows_of(store), actors=Actors.parse("1"), kill_at=6) as pool:
        scaled = scaling_of(pool, options)
        again, stored = fit_on_shards(pool, 900, options, scaled, nothing)
        assert pool.killed
    assert again.iterations == whole.iterations > 5
    np.testing.assert_array_equal(again.centers, whole.centers)
    np.testing.assert_array_equal(again.labels, whole.labels)
    assert sorted(stored) == list(range(900))


def test_shards_do_not_depend_on_actors_and_cover_all_rows(store: StoreReader) -> None:
    rows = rows_of(store)
    plans = plan_shards(rows, 20)
    assert [plan.number for plan in plans] == list(range(7))
    assert [plan.first for plan in plans] == np.cumsum([0, *rows.index.lengths[:-1]]).tolist()
    assert [part for plan in plans for part in plan.parts] == list(range(7))


def test_engines_are_chosen_by_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("raypipe.memory.available", lambda: 2**30)
    assert choose_engine("auto", rows=1000, width=100) == "sklearn"
    assert choose_engine("auto", rows=10**6, width=100) == "ray"
    why = capsys.readouterr().err
    assert "fitting on Ray, in shards: 1000000 rows of 100 values (381 MiB)" in why
    assert "in memory they take 1.86 GiB, of 1 GiB that are free" in why
    assert choose_engine("sklearn", rows=10**6, width=100) == "sklearn"
    assert choose_engine("auto", rows=10, width=1, only_ray="--distance cosine") == "ray"


@pytest.mark.parametrize(
    ("job", "given", "words"),
    [
        ("train", {"head": "svm", "engine": "ray"}, "--engine is for --head logistic; svm"),
        ("train", {"actor_memory": "lots"}, "--actor-memory must be a size as 4GiB"),
        ("train", {"engine": "ray", "actors": "99"}, "--actors: the cluster has room for 2"),
        ("train", {"engine": "ray", "grid": "gamma=1"}, "--grid"),
        ("train", {"engine": "ray", "cv": 200}, "--cv: 200 folds need 200"),
        ("cluster", {"k": "1:4"}, "--k must be a number from 1, or a range"),
        ("cluster", {"k": "9:4"}, "--k must be a number from 1, or a range"),
        ("cluster", {"k": "2:901"}, "--k: at most the number of images, 900; got 901"),
        ("cluster", {"k": "2:900"}, "--k: a range may go up to 899"),
        ("cluster", {"k": 3, "engine": "sklearn", "actors": "2"}, "--actors is for shards on Ray"),
        ("train", {"head": "knn", "resume": True}, "--resume goes with --head logistic and mlp"),
        ("train", {"actor_memory": "inf"}, "--actor-memory must be a size"),
        ("cluster", {"k": 3, "init": "none.npy"}, "--init: auto, k-means.*; got 'none.npy'"),
        ("cluster", {"k": 3, "distance": "cosine", "scale": "standard"}, "--distance cosine"),
        (
            "cluster",
            {"k": 3, "distance": "cosine", "engine": "sklearn"},
            "--engine sklearn has no --distance cosine",
        ),
    ],
)
def test_what_cannot_be(
    store: StoreReader, tmp_path: Path, job: str, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        getattr(raypipe, job)(store.uri, out=tmp_path, **given)


def test_centres_of_another_shape(store: StoreReader, tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.zeros((3, 7)))
    with pytest.raises(UsageError, match=r"--init: expected 3 centres of 20 numbers.*\(3, 7\)"):
        raypipe.cluster(
            store.uri, out=tmp_path / "out", k=3, init=str(tmp_path / "c.npy"), scale="none"
        )
    with pytest.raises(UsageError, match="--init: centres from a file are those of scaled feat"):
        raypipe.cluster(store.uri, out=tmp_path / "out", k=3, init=str(tmp_path / "c.npy"))


def test_a_checkpoint_belongs_to_the_rows_it_was_made_on(tmp_path: Path) -> None:
    x, _ = blobs(60, 4, 2)
    stores = [store_of(tmp_path / name, x + n) for n, name in enumerate("ab")]
    config = ClusterConfig(store="", out="", k=3, resume=True)
    every = read_excluded(None, [])
    _checkpoint(config, stores[0], "features", every, tmp_path)
    _checkpoint(config, stores[0], "features", every, tmp_path)
    with pytest.raises(UsageError, match="--resume: the unfinished fit .* another one .content: "):
        _checkpoint(config, stores[1], "features", every, tmp_path)
    (tmp_path / "l.txt").write_text("a.jpg")
    some = read_excluded(str(tmp_path / "l.txt"), [np.array(["a.jpg", "b.jpg"], object)])
    with pytest.raises(UsageError, match="--resume: the unfinished fit .* another one .exclude: "):
        _checkpoint(config, stores[0], "features", some, tmp_path)


def test_assignments_of_an_earlier_run_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for most, rows in ((4, 12), (4, 6), (10, 6), (4, 5)):  # a folder, a smaller one, a file, …
        monkeypatch.setattr("raypipe.training.cluster_files._FILE_ROWS", most)
        labels = np.arange(rows, dtype=np.int32)
        nothing = np.zeros(1)
        clusters = Clusters(
            labels, nothing, np.zeros(rows), nothing, 0.0, 1, Scaling.without("none")
        )
        write_assignments(np.array([f"{n}" for n in labels], object), clusters, tmp_path)
        table = pq.read_table(tmp_path / "clusters.parquet")
        assert table["cluster"].to_pylist() == labels.tolist()
        assert (tmp_path / "clusters.parquet").is_dir() == (rows > most)


def test_held_out_rows_have_to_be_numbers_too(tmp_path: Path) -> None:
    x, y = blobs(200, 5, 2)
    plain = store_of(tmp_path / "plain", x, [str(c) for c in y])
    raypipe.train(plain.uri, out=tmp_path / "m", grid="C=1")
    held = int(next(csv.DictReader((tmp_path / "m" / "holdout.csv").open()))["id"])
    x[held, 1] = np.nan
    store = store_of(tmp_path / "store", x, [str(c) for c in y])
    with pytest.raises(UsageError, match=f"1 row has NaN or infinite features: {held:08d}"):
        raypipe.train(store.uri, out=tmp_path / "n", engine="ray")


@pytest.mark.parametrize("job", ["train", "cluster"])
def test_features_that_are_no_numbers(tmp_path: Path, job: str) -> None:
    x, y = blobs(120, 5, 2)
    x[[7, 50], 2] = np.nan, np.inf
    store = store_of(tmp_path / "store", x, [str(c) for c in y])
    given = {"k": 3} if job == "cluster" else {}
    with pytest.raises(UsageError, match="NaN or infinite features: .*00000007") as caught:
        getattr(raypipe, job)(store.uri, out=tmp_path / "out", engine="ray", **given)
    assert "rows have NaN" in str(caught.value)
