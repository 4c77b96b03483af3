"""Training, clustering and predicting on a store, checked against scikit-learn."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

import raypipe
from raypipe.config import ClusterConfig
from raypipe.display.html import table
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit.evaluate.duplicates import near_duplicates, near_duplicates_in_pieces
from raypipe.jobs.cluster import _scale
from raypipe.reports.figures import confusion_picture
from tests.conftest import TINY, draw, draw_folder, options

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="session")
def model_folder(shape_store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model")
    raypipe.train(shape_store, out=str(out), grid="C=0.01,0.1,1,10")
    return out


def test_train_is_scikit_learns_grid_search(shape_store: str, model_folder: Path) -> None:
    data = raypipe.open(shape_store).to_numpy()
    x, rest, y, truth = train_test_split(
        data.features, data.labels, test_size=0.25, stratify=data.labels, random_state=42
    )
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": [0.01, 0.1, 1, 10]},
        cv=StratifiedKFold(3, shuffle=True, random_state=42),
    ).fit(x, y)
    model = raypipe.load_model(str(model_folder))
    assert model.metrics["best_params"] == {"C": search.best_params_["logisticregression__C"]}
    every = model.metrics["accuracy_with_duplicates"]
    assert every == pytest.approx(search.score(rest, truth))
    assert model.metrics["accuracy"] > 0.8
    np.testing.assert_allclose(model.predict_proba(rest), search.predict_proba(rest), atol=1e-4)
    assert model.classes == tuple(search.classes_)


def test_what_train_writes(model_folder: Path) -> None:
    metrics = json.loads((model_folder / "metrics.json").read_text())
    assert np.array(metrics["confusion"]).sum() == metrics["test_rows"] == 30
    assert metrics["converged"] is True
    assert [entry["params"]["C"] for entry in metrics["grid"]] == [0.01, 0.1, 1, 10]
    report = (model_folder / "report.txt").read_text()
    assert all(word in report for word in ("precision", "recall", "f1-score", "support", "circle"))
    with Image.open(model_folder / "confusion.png") as picture:
        assert min(picture.size) > 300
    rows = list(csv.DictReader((model_folder / "holdout.csv").open()))
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert right == pytest.approx(metrics["accuracy_with_duplicates"])
    names = {path.name for path in model_folder.iterdir()}
    assert not [n for n in names if n.endswith((".pkl", ".joblib", ".pickle"))]


def test_two_classes_and_other_scalings(tmp_path: Path) -> None:
    source = draw_folder(tmp_path / "photos", 16, ("circle", "stripes"))
    store = raypipe.extract(str(source), out=str(tmp_path / "store"), **options())
    for scale in ("none", "l2"):
        out = tmp_path / scale
        model = raypipe.train(store.uri, out=str(out), scale=scale, grid="C=1")
        data = store.to_numpy()
        assert model.head.scaling.kind == scale
        saved = raypipe.load_model(str(out)).predict_proba(data.features)
        np.testing.assert_allclose(saved, model.predict_proba(data.features), atol=1e-6)
        np.testing.assert_allclose(saved.sum(axis=1), 1, rtol=1e-6)
        assert np.mean(np.array(model.classes)[saved.argmax(1)] == data.labels) > 0.8


def test_clusters_are_of_standardised_features_of_unit_length_and_say_so(
    shape_store: str, tmp_path: Path
) -> None:
    clusters = raypipe.cluster(shape_store, out=tmp_path / "c", k=5, seed=7)
    features = raypipe.open(shape_store).to_numpy().features
    rows = normalize(StandardScaler().fit_transform(features))
    reference = KMeans(n_clusters=5, random_state=7).fit(rows)
    np.testing.assert_array_equal(clusters.labels, reference.labels_)
    assert json.loads((tmp_path / "c" / "metrics.json").read_text())["scale"] == "standard-l2"
    np.testing.assert_array_equal(clusters.predict(features), reference.labels_)
    # `auto` is known by what it meant: the same options written out are no other result.
    raypipe.cluster(shape_store, out=tmp_path / "c", k=5, seed=7, scale="standard-l2")
    with pytest.raises(UsageError, match="scale"):
        raypipe.cluster(shape_store, out=tmp_path / "c", k=5, seed=7, scale="none")
    assert _scale(ClusterConfig(store="s", out="o", k="3", distance="cosine")) == "l2"


def test_cluster_is_scikit_learns_kmeans(shape_store: str, tmp_path: Path) -> None:
    clusters = raypipe.cluster(shape_store, out=str(tmp_path), k=5, seed=7, scale="none")
    data = raypipe.open(shape_store).to_numpy()
    reference = KMeans(n_clusters=5, random_state=7).fit(data.features)
    np.testing.assert_array_equal(clusters.labels, reference.labels_)
    assert clusters.inertia == pytest.approx(reference.inertia_)
    rows = list(csv.DictReader((tmp_path / "clusters.csv").open()))
    assert [row["id"] for row in rows] == data.ids.tolist()
    assert [int(row["cluster"]) for row in rows] == reference.labels_.tolist()
    table = pq.read_table(tmp_path / "clusters.parquet")
    assert table["cluster"].to_pylist() == reference.labels_.tolist()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert sum(metrics["sizes"]) == metrics["rows"] == 120
    assert -1 <= metrics["ari"] <= 1
    assert (tmp_path / "clusters.png").stat().st_size > 10_000


def test_predict_images_and_store_agree(
    shape_store: str, model_folder: Path, tmp_path: Path
) -> None:
    source = Path(raypipe.open(shape_store).provenance["source"])
    images = raypipe.predict(
        str(model_folder), str(source), out=str(tmp_path / "images.csv"), top_k=3, backbone=TINY
    )
    stored = raypipe.predict(
        str(model_folder), shape_store, out=str(tmp_path / "stored.parquet"), top_k=3
    )
    assert images["id"].to_pylist() == stored["id"].to_pylist()
    assert images["label"].to_pylist() == stored["label"].to_pylist()
    np.testing.assert_allclose(images["probability"], stored["probability"], atol=1e-4)
    total = sum(np.array(images[n]) for n in ("probability", "probability_2", "probability_3"))
    np.testing.assert_allclose(total, 1, atol=1e-4)
    assert pq.read_table(tmp_path / "stored.parquet").equals(stored)
    rows = list(csv.DictReader((tmp_path / "images.csv").open()))
    assert list(rows[0]) == [
        "id", "label", "probability", "label_2", "probability_2", "label_3", "probability_3",
    ]  # fmt: skip
    truth = [identity.split("/")[0] for identity in images["id"].to_pylist()]
    assert np.mean(np.array(truth) == np.array(images["label"].to_pylist())) > 0.8


def test_predict_single_file_and_bad_files(model_folder: Path, tmp_path: Path) -> None:
    draw("circle", 4321).save(tmp_path / "one.png")
    table = raypipe.predict(
        str(model_folder), str(tmp_path / "one.png"), out=str(tmp_path / "p.csv"), backbone=TINY
    )
    assert table["id"].to_pylist() == ["one.png"]
    folder = draw_folder(tmp_path / "new", 2)
    (folder / "bad.png").write_text("no image")
    table = raypipe.predict(model_folder, folder, out=tmp_path / "q.csv", backbone=TINY)
    assert len(table) == 6
    rejected = list(csv.DictReader((tmp_path / "q.rejects.csv").open()))
    assert [(r["id"], r["reason"]) for r in rejected] == [("bad.png", "not_an_image")]


def test_predict_refuses_other_features(model_folder: Path, tmp_path: Path) -> None:
    source = draw_folder(tmp_path / "photos", 2)
    other = raypipe.extract(str(source), out=str(tmp_path / "s"), **options(pool="max"))
    with pytest.raises(UsageError, match="differ from those the model .* block2:avg → block2:max"):
        raypipe.predict(str(model_folder), other.uri, out=str(tmp_path / "p.csv"))


def test_predict_refuses_a_changed_backbone(model_folder: Path, tmp_path: Path) -> None:
    content = json.loads((model_folder / "model.json").read_text())
    network = tmp_path / "changed.py"
    original = Path(content["provenance"]["backbone"].rpartition(":")[0]).read_text()
    network.write_text(original + "\n# changed\n")
    source = draw_folder(tmp_path / "photos", 1)
    with pytest.raises(UsageError, match="--backbone: not what the features were made with"):
        raypipe.predict(
            str(model_folder),
            str(source),
            out=str(tmp_path / "p.csv"),
            backbone=f"{network}:tiny",
        )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"out": "p.txt"}, "--out must end in .csv or .parquet"),
        ({"out": "/no/such/folder/p.csv"}, "--out: no folder"),
        ({"top_k": 9}, "--top-k: the model has 3 classes; got 9"),
        ({"source": "/nowhere"}, "SOURCE: no file or folder"),
        ({"model": "/nowhere"}, "MODEL: no model at"),
    ],
)
def test_wrong_use_of_predict(
    model_folder: Path, shape_store: str, tmp_path: Path, given: dict[str, object], words: str
) -> None:
    usual = {"model": str(model_folder), "source": shape_store, "out": str(tmp_path / "p.csv")}
    with pytest.raises(UsageError, match=words):
        raypipe.predict(**{**usual, **given})


def test_damaged_model(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text((model_folder / "model.json").read_text())
    (tmp_path / "arrays.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RaypipeError, match="is damaged"):
        raypipe.load_model(str(tmp_path))


def classes_of(tmp_path: Path, **counts: int) -> str:
    for kind, count in counts.items():
        draw_folder(tmp_path / "photos", count, (kind,))
    return raypipe.extract(str(tmp_path / "photos"), out=str(tmp_path / "store"), **options()).uri


@pytest.mark.parametrize(
    ("counts", "given", "words"),
    [
        ({"circle": 5}, {}, "two classes or more; labels found: 'circle'"),
        ({"circle": 5, "square": 1}, {}, "two images or more; only one has: 'square'"),
        ({"circle": 9, "square": 3}, {}, "--cv: 3 folds .*'square' has 3"),
        ({"circle": 4, "square": 4}, {"test_size": 0.1}, "--test-size"),
        ({"circle": 4, "square": 4}, {"grid": "D=1"}, "--grid: expected NAME=VALUE.*'D=1'"),
        (
            {"circle": 4, "square": 4},
            {"grid": "C=a"},
            "--grid: C must be positive numbers; got 'a'",
        ),
        ({"circle": 4, "square": 4}, {"grid": "C=0"}, "--grid: C must be positive numbers"),
    ],
)
def test_labels_that_cannot_be_trained_on(
    tmp_path: Path, counts: dict[str, int], given: dict[str, object], words: str
) -> None:
    store = classes_of(tmp_path, **counts)
    with pytest.raises(UsageError, match=words):
        raypipe.train(store, out=str(tmp_path / "model"), **given)


def test_unlabelled_rows_are_counted_and_left_out(tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", 8, ("circle", "square"))
    draw("circle", 1).save(tmp_path / "photos" / "loose.png")
    store = raypipe.extract(str(tmp_path / "photos"), out=str(tmp_path / "s"), **options())
    model = raypipe.train(store.uri, out=str(tmp_path / "m"), grid="C=1")
    assert model.metrics["unlabelled_rows"] == 1
    assert model.metrics["train_rows"] + model.metrics["test_rows"] == 16


def test_rare_classes_are_left_out_by_name_and_counted(tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", 8, ("circle", "square"))
    for name, count in (("rare", 1), ("few", 2)):
        (tmp_path / "photos" / name).mkdir()
        for number in range(count):
            draw("circle", number).save(tmp_path / "photos" / name / f"{number}.png")
    draw("circle", 1).save(tmp_path / "photos" / "loose.png")
    store = raypipe.extract(str(tmp_path / "photos"), out=str(tmp_path / "s"), **options())
    given = {"out": str(tmp_path / "m"), "grid": "C=1", "report": True}
    with pytest.raises(UsageError, match="only one has: 'rare'; .*--min-per-class 2"):
        raypipe.train(store.uri, **given)
    with pytest.raises(UsageError, match="'few' has 2, .*--min-per-class 4"):
        raypipe.train(store.uri, min_per_class=2, **given)
    model = raypipe.train(store.uri, min_per_class=4, **given)
    assert list(model.classes) == ["circle", "square"]
    assert model.metrics["rare_classes"] == {"few": 2, "rare": 1}
    assert model.metrics["unlabelled_rows"] == 1
    assert model.metrics["train_rows"] + model.metrics["test_rows"] == 16
    told = "3 images: &#39;few&#39; (2), &#39;rare&#39; (1)"
    assert told in (tmp_path / "m" / "report.html").read_text()


def test_more_clusters_than_rows(shape_store: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--k: at most the number of images, 120; got 121"):
        raypipe.cluster(shape_store, out=str(tmp_path), k=121)


def test_class_names_that_look_like_formulas(tmp_path: Path) -> None:
    path = tmp_path / "c.png"
    confusion_picture([[1, 0], [2, 3]], ["$5_$10", "US$^$"], "odd names", path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("common", [0, 1000])
def test_near_duplicates_across_the_split(common: float) -> None:
    """What all features have in common does not make them duplicates."""
    noise = np.random.default_rng(0)
    train = noise.normal(size=(50, 20)) + common
    test = np.vstack([train[3] + noise.normal(0, 0.01, 20), train[4] + 0.5, train.mean(axis=0)])
    whole = near_duplicates(test, train)
    assert whole is not None
    assert whole.mask.tolist() == [True, False, False]
    assert whole.of[:2].tolist() == [3, 4]
    halves = [(np.arange(20, 50), train[20:]), (np.arange(20), train[:20])]
    pieces = near_duplicates_in_pieces(test, lambda: iter(halves), len(train))
    assert pieces is not None
    assert pieces.mask.tolist() == [True, False, False]
    assert pieces.of[:2].tolist() == [3, 4]  # the mean is as near to one as to another


def test_stopping_early_is_said(shape_store: str, tmp_path: Path, capsys: object) -> None:
    model = raypipe.train(shape_store, out=str(tmp_path), grid="C=1000", max_iter=1)
    assert model.metrics["converged"] is False
    said = capsys.readouterr().err  # type: ignore[attr-defined]
    assert "--max-iter 1; raise it" in said
    assert f"gradient norm of {model.metrics['gradient_norm']:.3g}" in said


def test_objects_in_a_notebook(shape_store: str, tmp_path: Path) -> None:
    shown = raypipe.open(shape_store)._repr_html_()
    assert "<td style='text-align: left'>120</td>" in shown
    assert "3: circle, square, stripes" in shown
    assert "Model of 3 classes" in raypipe.train(shape_store, out=tmp_path / "m")._repr_html_()
    assert "4 clusters" in raypipe.cluster(shape_store, out=tmp_path / "c", k=4)._repr_html_()
    assert table("<b>", [("a&b", "<i>")]).count("&lt;") == 2
