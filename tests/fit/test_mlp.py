"""The perceptron: its epochs, training in this process, and Ray Train around it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.preprocessing import StandardScaler

import raypipe
from raypipe import schema
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit.mlp.minibatches import Batches
from raypipe.fit.mlp.network import Network, Workers, to_scorer
from raypipe.fit.mlp.search import Search, fit_scaling, load_search
from raypipe.fit.mlp.settings import MlpSettings, combinations
from raypipe.fit.mlp.shuffle import shuffled
from raypipe.fit.shards.checkpoint import Checkpoint
from raypipe.heads import Mlp, Scaling
from raypipe.heads.scorer import softmax
from raypipe.storage import FolderStorage
from raypipe.store.cache import flatten
from raypipe.store.coverage import publish
from raypipe.store.identity import create_store
from raypipe.store.index import read_index
from raypipe.store.partition import write_unit
from raypipe.store.snapshot import Part
from raypipe.training import in_process
from raypipe.training.share import HELD_OUT, LEFT_OUT, TRAIN, VALIDATION, Table, share
from tests.support.stores import items_of, make_spec

WIDTH, CLASSES = 12, 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """More are slower on networks this small where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Memory:
    """Rows in memory, as a `RowCache` gives them."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, (_, self.width), self.dtype = array, array.shape, array.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.array[start:stop]

    def expect(self, start: int, stop: int) -> None:
        pass


def cloud(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds that overlap a little."""
    centres = np.random.default_rng(99).normal(size=(CLASSES, WIDTH))
    noise = np.random.default_rng(seed)
    codes = noise.integers(0, CLASSES, rows)
    return (centres[codes] + noise.normal(size=(rows, WIDTH))).astype(np.float32), codes


@pytest.fixture(scope="module")
def batches() -> Batches:
    x, codes = cloud(240)
    return Batches(Memory(x), codes, CLASSES, shares=[180])


def search(batches: Batches, *tried: MlpSettings, weights: Any = None) -> Search:
    weights = torch.ones(CLASSES) if weights is None else weights
    return Search(batches, tried, Scaling.without("none"), weights, Workers())


SETTINGS = MlpSettings(hidden=(16,), dropout=0.3, minibatch=32, epochs=6)


@pytest.mark.parametrize("block", [64, 10**6])
def test_every_row_comes_once_and_in_a_new_order(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("raypipe.fit.mlp.shuffle.BLOCK_BYTES", block)
    monkeypatch.setattr("raypipe.fit.mlp.shuffle.POOL_BYTES", 4 * block)
    rows = Memory(np.arange(200, dtype=np.float32).reshape(100, 2))
    sizes = [30, 0, 7, 43]
    orders = []
    for seed in (1, 1, 2):
        random = np.random.default_rng(seed)
        parts = list(shuffled(rows, 20, sizes, random))
        assert [len(x) for x, _ in parts] == sizes
        numbers = np.concatenate([n for _, n in parts])
        np.testing.assert_array_equal(np.concatenate([x for x, _ in parts]), rows.array[numbers])
        assert sorted(numbers) == list(range(20, 100))
        orders.append(numbers.tolist())
    assert orders[0] == orders[1] != orders[2]
    assert np.abs(np.diff(orders[0])).mean() > 20  # neighbours do not stay together


def test_workers_take_as_many_steps_whatever_rows_they_have() -> None:
    x, codes = cloud(100)
    shares = [70, 30, 0]
    of_each = []
    for rank, count in enumerate(shares):
        one = Batches(Memory(x[:count]), codes[:count], CLASSES, shares, rank)
        of_each.append(list(one.training(minibatch=16, seed=3, epoch=0)))
    assert [len(found) for found in of_each] == [7, 7, 7]
    for step in zip(*of_each, strict=True):
        assert {batch.total for batch in step} == {sum(len(batch.y) for batch in step)}
        assert 13 <= step[0].total <= 16


def test_one_step_is_keras_rmsprop(batches: Batches) -> None:
    """rho 0.9, epsilon 1e-7 outside of the root, weighted loss over the number of rows."""
    settings = replace(SETTINGS, hidden=(), dropout=0.0, optimizer="rmsprop", epochs=1,
                       minibatch=180, learning_rate=0.01)  # fmt: skip
    weights = np.array([0.5, 1.0, 2.0])
    found = search(batches, settings, weights=torch.tensor(weights, dtype=torch.float32))
    torch.manual_seed(settings.seed)
    start = Network(WIDTH, CLASSES, settings)
    found.run(lambda: None)
    x, y = batches.rows.read(0, 180), batches.codes[:180]
    before = to_scorer(start.state())
    error = softmax(before.scores(x)) - np.eye(CLASSES)[y]
    gradient = (error * weights[y][:, None]).T @ x / 180
    step = 0.01 * gradient / (np.sqrt(0.1 * gradient**2) + 1e-7)
    after = to_scorer(found.kept)
    np.testing.assert_allclose(after.weights[0], before.weights[0] - step, atol=1e-5)
    limit = np.sqrt(6 / (WIDTH + CLASSES))  # Glorot
    assert 0.8 * limit < np.abs(before.weights[0]).max() <= limit
    assert not before.biases[0].any()


def test_one_step_on_a_sigmoid_per_class_is_keras_sgd(batches: Batches) -> None:
    """Binary cross-entropy is a mean over rows and outputs, and SGD has no momentum there."""
    settings = replace(SETTINGS, hidden=(), dropout=0.0, optimizer="sgd", momentum=0.0, epochs=1,
                       minibatch=180, learning_rate=0.5, loss="sigmoid")  # fmt: skip
    found = search(batches, settings)
    torch.manual_seed(settings.seed)
    start = to_scorer(Network(WIDTH, CLASSES, settings).state())
    found.run(lambda: None)
    after = to_scorer(found.kept, "sigmoid")
    x, y = batches.rows.read(0, 180), np.eye(CLASSES)[batches.codes[:180]]
    error = (1 / (1 + np.exp(-start.scores(x))) - y) / y.size
    np.testing.assert_allclose(after.weights[0], start.weights[0] - 0.5 * error.T @ x, atol=1e-6)
    np.testing.assert_allclose(after.biases[0], -0.5 * error.sum(0), atol=1e-6)
    each = 1 / (1 + np.exp(-(x @ after.weights[0].T + after.biases[0])))
    np.testing.assert_allclose(
        softmax(after.scores(x)), each / each.sum(1, keepdims=True), atol=1e-6
    )
    assert Mlp.restore(after.settings(), after.arrays()).loss == "sigmoid"


def test_one_step_on_a_single_sigmoid_is_keras_sgd(batches: Batches) -> None:
    two = Batches(batches.rows, batches.codes % 2, 2, shares=[180])
    settings = replace(SETTINGS, hidden=(), dropout=0.0, optimizer="sgd", momentum=0.0, epochs=1,
                       minibatch=180, learning_rate=0.5, loss="sigmoid")  # fmt: skip
    found = Search(two, (settings,), Scaling.without("none"), torch.ones(2), Workers())
    found.run(lambda: None)
    x, y = two.rows.read(0, 180), two.codes[:180]
    torch.manual_seed(settings.seed)
    start = Network(WIDTH, 2, settings).state()["layers.0.weight"].numpy()
    assert start.shape == (1, WIDTH)  # Glorot's bounds are those of one output
    p = 1 / (1 + np.exp(-x @ start[0]))
    after = start[0] - 0.5 * (p - y) @ x / 180
    bias = -0.5 * np.mean(p - y)
    right = 1 / (1 + np.exp(-(x @ after + bias)))
    head = to_scorer(found.kept, "sigmoid")
    np.testing.assert_allclose(softmax(head.scores(x))[:, 1], right, atol=1e-5)
    entry = found.record.curves[0]
    own = np.array(two.rows.read(180, 240)), two.codes[180:]
    chance = 1 / (1 + np.exp(-(own[0] @ after + bias)))
    right = -np.log(np.where(own[1] == 1, chance, 1 - chance)).mean()
    assert entry["validation_loss"] == pytest.approx(right, rel=1e-4)
    assert entry["validation_accuracy"] == pytest.approx(np.mean((chance > 0.5) == own[1]))


def test_the_last_epoch_is_kept_where_it_is_asked_for(batches: Batches) -> None:
    settings = replace(SETTINGS, learning_rate=0.3, epochs=8, patience=2, keep="last")
    found = search(batches, settings)
    found.run(lambda: None)
    losses = [entry["validation_loss"] for entry in found.record.curves]
    assert len(losses) == 8  # --patience stops nothing
    assert int(np.argmin(losses)) < 7
    assert found.record.finished[0]["epoch"] == 8
    best = search(batches, replace(settings, keep="best", patience=0))
    best.run(lambda: None)
    assert best.record.finished[0]["epoch"] == 1 + int(np.argmin(losses))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_a_search_goes_on_as_if_it_had_not_stopped(
    batches: Batches, tmp_path: Path, optimizer: Any
) -> None:
    tried = [replace(SETTINGS, optimizer=optimizer, dropout=d) for d in (0.2, 0.4)]
    whole = search(batches, *tried)
    whole.run(lambda: None)
    stopped = search(batches, *tried)
    count = 0

    def stop() -> None:
        nonlocal count
        count += 1
        if count == 8:  # the second combination's second epoch
            stopped.save(tmp_path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.run(stop)
    again = search(batches, *tried)
    again.resume(tmp_path)
    again.run(lambda: None)
    for name, value in whole.kept.items():
        torch.testing.assert_close(again.kept[name], value, rtol=0, atol=1e-6)
    curves = [[e["validation_loss"] for e in s.record.curves] for s in (whole, again)]
    assert curves[0] == curves[1]
    assert load_search(tmp_path)[0].combination == 1


def test_the_epoch_with_the_lowest_validation_loss_is_kept(batches: Batches) -> None:
    found = search(batches, replace(SETTINGS, learning_rate=0.05, epochs=60, patience=3))
    found.run(lambda: None)
    record = found.record
    losses = [entry["validation_loss"] for entry in record.curves]
    best = int(np.argmin(losses))
    assert record.finished[0] == record.curves[best]
    assert len(losses) == best + 4 < 60  # stopped early
    head = to_scorer(found.kept)
    x, y = batches.rows.read(180, 240), batches.codes[180:]
    scores = softmax(head.scores(x))
    assert -np.log(scores[np.arange(60), y]).mean() == pytest.approx(losses[best], rel=1e-5)
    accuracy = (scores.argmax(axis=1) == y).mean()
    assert accuracy == pytest.approx(record.curves[best]["validation_accuracy"])
    assert accuracy > 0.8
    restored = Mlp.restore(head.settings(), head.arrays())
    np.testing.assert_array_equal(restored.scores(x), head.scores(x))


def test_the_best_combination_is_kept(batches: Batches) -> None:
    grid = {"hidden": [(), (8, 4)], "learning_rate": [0.02, 1e-6]}
    tried = combinations(replace(SETTINGS, epochs=3), grid)
    assert [(s.hidden, s.learning_rate) for s in tried] == [
        ((), 0.02), ((), 1e-6), ((8, 4), 0.02), ((8, 4), 1e-6),
    ]  # fmt: skip
    found = search(batches, *tried)
    found.run(lambda: None)
    scores = [(e["validation_accuracy"], -e["validation_loss"]) for e in found.record.finished]
    assert found.record.kept == scores.index(max(scores))
    assert next(iter(found.kept.values())).shape[1] == WIDTH


def test_a_loss_that_is_no_number_ends_a_combination(batches: Batches) -> None:
    wild = replace(SETTINGS, optimizer="sgd", learning_rate=1e30)
    found = search(batches, wild, SETTINGS)
    found.run(lambda: None)
    assert found.record.finished[0] is None
    assert found.record.kept == 1


def test_moments_are_those_of_all_workers() -> None:
    x, codes = cloud(90)
    x[:, 3] = 7.1
    parts = [Batches(Memory(x[a:b]), codes[a:b], CLASSES, [b - a]) for a, b in ((0, 50), (50, 90))]
    flats: list[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> list[torch.Tensor]:
        flats.append(tensor)
        return [tensor]

    for part in parts:
        fit_scaling("standard", part, Workers(gather=note))
    together = fit_scaling("standard", parts[1], Workers(rank=1, count=2, gather=lambda _: flats))
    reference = StandardScaler().fit(x.astype(np.float64))
    np.testing.assert_allclose(together.mean, reference.mean_, rtol=1e-10)
    np.testing.assert_allclose(together.std, reference.scale_, rtol=1e-8)


# ----------------------------------------------------------------------------------- the command


def make_clouds(folder: Path, per_class: int = 60, *, bad: str | None = None) -> str:
    """A store of three classes in several partitions, with a view of each image besides."""
    spec = make_spec(views=2)
    storage = FolderStorage(folder)
    create_store(storage, spec, {"source": "test"}, "parquet")
    names = [f"{'abc'[k]}/{i:03d}" for k in range(CLASSES) for i in range(per_class)]
    centres = np.random.default_rng(99).normal(size=(CLASSES, WIDTH))
    parts = []
    for n, start in enumerate(range(0, len(names), 50)):
        some = names[start : start + 50]
        noise = np.random.default_rng(n).normal(size=(2 * len(some), WIDTH))
        x = np.repeat([centres["abc".index(name[0])] for name in some], 2, axis=0) + 1.2 * noise
        if bad in some:
            x[2 * some.index(bad), 3] = np.nan
        rejects = schema.REJECTS.empty_table()
        features = {"features": x.astype(np.float32)}
        files = write_unit(
            storage, f"u{n}", spec.fingerprint, items_of(some), features, rejects, "parquet"
        )
        parts += [Part(file) for file in files]
    publish(storage, spec.fingerprint, tuple(parts))
    return storage.uri


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_clouds(tmp_path_factory.mktemp("clouds"))


@pytest.mark.parametrize(("count", "memory"), [(1, 10**6), (4, 0)])
def test_shares_hold_every_row_once(clouds: str, count: int, memory: int) -> None:
    store = raypipe.open(clouds)
    index, data = read_index(store), store.to_numpy()
    groups = np.random.default_rng(0).integers(LEFT_OUT, HELD_OUT + 1, len(index)).astype(np.int8)
    codes = np.arange(len(index), dtype=np.int32)  # which tells rows apart
    stored = [np.concatenate(index.by_partition(values)) for values in (groups, codes)]
    table = Table(
        clouds, store.snapshot.number, "features", index.lengths, *stored, CLASSES, WIDTH, flatten,
    )  # fmt: skip
    shares = [share(table, rank, count, memory) for rank in range(count)]
    for group, pieces in ((TRAIN, "in_order"), (VALIDATION, "validation")):
        found = [batch for one in shares for batch in getattr(one, pieces)()]
        rows = np.concatenate([batch.y for batch in found])
        assert sorted(rows) == np.flatnonzero(groups == group).tolist()
        x = np.concatenate([batch.x for batch in found])
        np.testing.assert_array_equal(x, data.features[rows])
    assert np.ptp(shares[0].shares) <= 1


USUAL = {"head": "mlp", "hidden": "16", "dropout": 0.2, "minibatch": 32, "epochs": 4}


def test_train(clouds: str, tmp_path: Path, capfd: Any) -> None:
    model = raypipe.train(
        clouds,
        out=str(tmp_path),
        **{**USUAL, "epochs": 40},
        patience=2,
        learning_rate=0.02,
        grid=("hidden=16,none", "dropout=0.2,0.4"),
        class_weight="balanced",
        calibrate="temperature",
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.75
    assert (metrics["train_rows"], metrics["test_rows"]) == (270, 45)
    assert metrics["validation_rows"] == 20
    assert metrics["best_epoch"] <= metrics["epochs"] < 40
    assert len(metrics["grid"]) == 4
    best = max(metrics["grid"], key=lambda entry: (entry["mean"], -entry["loss"]))
    assert metrics["best_params"] == best["params"]
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert {row["combination"] for row in rows} == {"1", "2", "3", "4"}
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 300
    held_out = list(csv.DictReader((tmp_path / "holdout.csv").open()))
    assert len(held_out) == 45
    data = raypipe.open(clouds).to_numpy()
    saved = raypipe.load_model(str(tmp_path))
    np.testing.assert_allclose(
        saved.predict_proba(data.features), model.predict_proba(data.features), atol=1e-6
    )
    chance = dict(zip(data.ids[data.views == 0], saved.predict_proba(data.features[::2]).max(1),
                      strict=True))  # fmt: skip
    for row in held_out:
        assert float(row["probability"]) == pytest.approx(chance[row["id"]], abs=1e-5)
    assert not (tmp_path / "checkpoint").exists()
    out, err = capfd.readouterr()
    assert out == ""
    assert "combination 4/4" in err
    assert len(err.splitlines()) < 40


@pytest.mark.ci
def test_workers_train_what_this_process_does(
    clouds: str, tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """Two come to the same but for the order of rows; what one left is gone on from in_process."""
    usual = {**USUAL, "dropout": 0}
    alone = raypipe.train(clouds, out=str(tmp_path / "alone"), **usual)
    two = raypipe.train(clouds, out=str(tmp_path / "two"), **usual, workers=2)
    for name in ("validation_loss", "accuracy"):
        assert two.metrics[name] == pytest.approx(alone.metrics[name], rel=0.1)
    kept = tmp_path / "kept"
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "remove", lambda self: shutil.copytree(self.folder, kept))
        one = raypipe.train(clouds, out=str(tmp_path / "one"), **usual, workers=1)
    for name, array in alone.head.scorer.arrays().items():
        np.testing.assert_allclose(one.head.scorer.arrays()[name], array, atol=1e-6)
    kept.rename(tmp_path / "one" / "checkpoint")
    about = tmp_path / "one" / "checkpoint" / "fit.json"
    # as it was where --workers was not given, when that stood for one
    about.write_text(json.dumps(json.loads(about.read_text()) | {"workers": None}))
    capfd.readouterr()
    again = raypipe.train(clouds, out=str(tmp_path / "one"), **usual, resume=True)
    assert "going on from the checkpoint" in (said := capfd.readouterr().err)
    assert "epoch 1/" not in said
    assert "INFO" not in said  # Ray Train has no word in it
    for name, array in one.head.scorer.arrays().items():
        np.testing.assert_array_equal(again.head.scorer.arrays()[name], array)


def test_no_ray_is_started(clouds: str, tmp_path: Path) -> None:
    program = f"""
import sys, raypipe
raypipe.train({clouds!r}, out={str(tmp_path)!r}, head="mlp", epochs=1)
assert "ray" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def stop_at_the_second(patch: pytest.MonkeyPatch) -> None:
    """Have every epoch saved, and the process stopped once the second is."""
    patch.setattr(in_process, "CHECKPOINT_SECONDS", 0.0)
    real, saved = Checkpoint.save_files, []

    def save_files(self: Checkpoint, write: Any) -> None:
        real(self, write)
        saved.append(self)
        if len(saved) == 2:
            raise RuntimeError("power cut")

    patch.setattr(Checkpoint, "save_files", save_files)


def test_a_stopped_fit_goes_on(
    clouds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = raypipe.train(clouds, out=str(tmp_path / "whole"), **USUAL)
    with monkeypatch.context() as patch:
        stop_at_the_second(patch)
        with pytest.raises(RuntimeError, match="power cut"):
            raypipe.train(clouds, out=str(tmp_path / "cut"), **USUAL)
    with pytest.raises(UsageError, match="--resume: the unfinished fit .*combinations"):
        raypipe.train(clouds, out=str(tmp_path / "cut"), **{**USUAL, "epochs": 5}, resume=True)
    early = tmp_path / "early" / "checkpoint"  # of a fit that was stopped in its first checkpoint
    (early / "run" / ".new").mkdir(parents=True)
    shutil.copy(tmp_path / "cut" / "checkpoint" / "fit.json", early)
    raypipe.train(clouds, out=str(early.parent), **USUAL, resume=True)
    again = raypipe.train(
        clouds, out=str(tmp_path / "cut"), **USUAL, resume=True, actor_memory="1MiB"
    )
    for name, array in whole.head.scorer.arrays().items():
        np.testing.assert_allclose(again.head.scorer.arrays()[name], array, atol=1e-6)
    for name in ("whole", "cut", "early"):
        assert len((tmp_path / name / "curves.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"head": "logistic", "epochs": 3}, "--epochs goes with --head mlp; got --head logistic"),
        ({"cv": 3}, "--cv does not go with --head mlp"),
        ({"actors": "2"}, "--actors does not go with --head mlp, which trains in --workers"),
        ({"hidden": "256,128"}, "--hidden must be none, or the units"),
        ({"grid": "units=3"}, "--grid: expected NAME=VALUE.*hidden, dropout.*'units=3'"),
        ({"grid": "dropout=1"}, "--grid: dropout must be numbers from 0 and below 1; got '1'"),
        ({"validation_size": 0.001}, "--validation-size: 0.001 of 135 .* leaves 0 to validate"),
        ({"momentum": 0.5}, "--momentum goes with --optimizer sgd; got adam"),
        (
            {"validation_size": 0, "calibrate": "temperature"},
            "--calibrate temperature .* got --validation-size 0; give a larger one",
        ),
        ({"workers": 3}, "--workers: the cluster has 2 CPU cores, .*got 3; give at most 2"),
    ],
)
def test_wrong_use(
    clouds: str, tmp_path: Path, ray_session: None, given: dict[str, Any], words: str
) -> None:
    usual = {} if given.get("head") else {"head": "mlp"}
    with pytest.raises(UsageError, match=words):
        raypipe.train(clouds, out=str(tmp_path / "m"), **{**usual, **given})


@pytest.mark.parametrize("bad", ["a/001", "c/017"])
def test_features_that_are_no_numbers_are_named(tmp_path: Path, bad: str) -> None:
    """Whether the row is to be trained on or held out."""
    store = make_clouds(tmp_path / "store", 20, bad=bad)
    with pytest.raises(UsageError, match=f"1 row has NaN or infinite features: {bad}"):
        raypipe.train(store, out=str(tmp_path / "m"), head="mlp")


def test_no_finite_loss(clouds: str, tmp_path: Path) -> None:
    with pytest.raises(RaypipeError, match="left the range of numbers"):
        raypipe.train(clouds, out=str(tmp_path), **USUAL, optimizer="sgd", learning_rate=1e30)
