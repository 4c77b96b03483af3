"""What --exclude leaves out is as if it had never been in the store."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

import raypipe
from raypipe.cli.next_step import last_line
from raypipe.config import DedupeConfig, SimilarConfig, TrainConfig
from raypipe.errors import UsageError
from raypipe.jobs import dedupe, similar, train
from tests.conftest import Here
from tests.support.stores import make_spec, make_store, one_picture

NAMES = [f"{label}/{n}.jpg" for label in ("cat", "dog", "owl") for n in range(12)]
OUT = NAMES[::5]


@pytest.fixture(scope="module", params=[1, 2])
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of images, with views or without; one that lacks some; and a list of these."""
    folder, spec = tmp_path_factory.mktemp("stores"), make_spec(views=request.param)
    kept = [name for name in NAMES if name not in OUT]
    for name, names in (("all", NAMES), ("some", kept)):
        units = [one_picture(folder, some) for some in (names[:20], names[20:])]
        make_store(folder / name, units, spec)
    (folder / "list.txt").write_text("\n".join([*OUT, "gone.jpg"]))
    return folder


def both(stores: Path, call: Callable[..., Any]) -> tuple[Any, Any]:
    """Return what is made of the whole store with the list, and of the store that lacks it."""
    exclude = stores / "list.txt"
    return call(str(stores / "all"), "a", exclude=exclude), call(str(stores / "some"), "b")


def test_train(stores: Path, tmp_path: Path) -> None:
    def fit(store: str, out: str, **more: Any) -> Any:
        return raypipe.train(store, out=tmp_path / out, head="logistic", cv=2, **more)

    both(stores, fit)
    one, other = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in "ab")
    names = {"store", "content", "seconds", "excluded"}
    assert {k: v for k, v in one.items() if k not in names} == {
        k: v for k, v in other.items() if k not in names
    }
    held = [(tmp_path / name / "holdout.csv").read_text() for name in "ab"]
    assert held[0] == held[1]
    assert one["excluded"]["images"] == len(OUT)
    assert one["excluded"]["not_found"] == 1
    assert other["excluded"] is None
    raypipe.report(tmp_path / "a", out=tmp_path / "a.html")
    assert f"8 images, by {stores / 'list.txt'}" in (tmp_path / "a.html").read_text()


def test_cluster(stores: Path, tmp_path: Path) -> None:
    def fit(store: str, out: str, **more: Any) -> Any:
        return raypipe.cluster(store, out=tmp_path / out, k=3, engine="sklearn", **more)

    one, other = both(stores, fit)
    np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)
    every = raypipe.open(stores / "all").to_numpy().features
    own = raypipe.open(stores / "some").to_numpy()
    scaler = StandardScaler().fit(own.features[own.views == 0])
    np.testing.assert_array_equal(one.found.scaling.mean, scaler.mean_)
    np.testing.assert_array_equal(np.load(tmp_path / "a" / "scaling.npy")[1], scaler.scale_)
    np.testing.assert_array_equal(one.predict(every), other.predict(every))
    assert "3 clusters" in one._repr_html_()  # one of which is empty
    tables = [(tmp_path / name / "clusters.csv").read_text() for name in "ab"]
    assert tables[0] == tables[1]
    assert json.loads((tmp_path / "a" / "metrics.json").read_text())["excluded"]["images"] == 8
    raypipe.report(one, out=tmp_path / "a.html")
    assert f"8 images, by {stores / 'list.txt'}" in (tmp_path / "a.html").read_text()
    with pytest.raises(UsageError, match="--k: at most the number of images, 28; got 30"):
        raypipe.cluster(stores / "all", out=tmp_path / "c", k=30, exclude=stores / "list.txt")


@pytest.mark.ci
@pytest.mark.usefixtures("ray_session")
def test_on_shards(stores: Path, tmp_path: Path) -> None:
    def fit(store: str, out: str, **more: Any) -> Any:
        raypipe.train(store, out=tmp_path / out, cv=2, engine="ray", actors=2, **more)
        how = {"engine": "ray", "scale": "standard"} | more
        return raypipe.cluster(store, out=tmp_path / f"k{out}", k=3, **how)

    groups, _ = both(stores, fit)
    own = raypipe.open(stores / "some").to_numpy()
    features = own.features[own.views == 0]
    np.testing.assert_array_equal(groups.predict(features), groups.labels)
    np.testing.assert_allclose(groups.found.scaling.std, features.std(0), rtol=1e-5)
    for name, file in (("", "holdout.csv"), ("k", "clusters.csv")):
        one, other = (list(csv.reader((tmp_path / f"{name}{n}" / file).open())) for n in "ab")
        assert [row[:2] for row in one] == [row[:2] for row in other]


@pytest.mark.parametrize("split", ["none", "stratified", "hash"])
def test_export(stores: Path, tmp_path: Path, split: str) -> None:
    def write(store: str, out: str, **more: Any) -> Any:
        (tmp_path / out).mkdir()
        path = tmp_path / out / "t.csv"
        return raypipe.export(store, out=path, to="csv", split=split, **more)

    one, other = both(stores, write)
    assert [Path(path).read_text() for path in one] == [Path(path).read_text() for path in other]


def test_similar(stores: Path) -> None:
    def find(store: str, _: str, **more: Any) -> Any:
        return raypipe.similar(store, "cat/1.jpg", k=30, **more)

    one, other = both(stores, find)
    assert one == other
    assert not {found["id"] for found in one} & set(OUT)
    config = SimilarConfig(
        store=str(stores / "all"), image=OUT[0], exclude=str(stores / "list.txt")
    )
    assert similar.run(config).summary["excluded"]["images"] == len(OUT)  # it may ask for others


def test_dedupe_and_what_follows(
    stores: Path, tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list that is written is the one that is taken."""
    monkeypatch.chdir(tmp_path)
    config = DedupeConfig(store=str(stores / "all"), least=0.5, out="same.csv")
    outcome = dedupe.run(config)
    assert outcome.value
    line = last_line("dedupe", config, outcome, 1.0)
    store = stores / "all"
    assert line.endswith(f"; next: raypipe train {store} --exclude same.csv --out model")
    gone = [name for group in outcome.value for name in group[1:]]
    again = dedupe.run(config.model_copy(update={"exclude": "same.csv", "out": None}))
    assert again.summary["images"] == len(NAMES) - len(gone)
    assert not {name for group in again.value for name in group} & set(gone)
    assert last_line("dedupe", config, again, 1.0).endswith(" s") == (not again.value)
    words = ("export", str(store), "--exclude", "same.csv", "--to", "npy", "--out", "f.npy")
    done = here(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["excluded"]["images"] == len(gone)


def test_other_lists_make_other_models(stores: Path, tmp_path: Path) -> None:
    given = {"store": str(stores / "all"), "out": str(tmp_path / "m"), "head": "knn", "cv": 2}
    train.run(TrainConfig(**given))
    with pytest.raises(UsageError, match="holds a model made with another exclude"):
        train.run(TrainConfig(**given, exclude=str(stores / "list.txt")))
