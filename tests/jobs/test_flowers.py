"""The main job on real photographs with real ImageNet weights."""

from __future__ import annotations

import csv
import importlib.util
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import raypipe
from raypipe.backbone.hardware.precision import native_precision
from raypipe.config import ExtractConfig
from raypipe.sources import open_source, read_item
from tests.conftest import SHARED
from tests.fit.test_multinomial import objective
from tests.support.pages import DESKTOP, PHONE, column, opened, point_at

pytestmark = [pytest.mark.shared, pytest.mark.usefixtures("ray_session")]

FLOWERS = SHARED / "flowers17"


def extract(out: Path, precision: str, source: Path = FLOWERS, **changes: Any) -> Any:
    return raypipe.extract(
        str(source),
        out=str(out),
        backbone=f"{SHARED}/mobilenet_v1.py:mobilenet_v1",
        weights=f"{SHARED}/mobilenet_v1.safetensors",
        layer=("pw12",),
        size=224,
        resize="squash",
        interpolation="bilinear",
        normalize="tf",
        precision=precision,
        **changes,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Any:
    return extract(tmp_path_factory.mktemp("flowers") / "fp32", "fp32")


def plain_loop(ids: Sequence[str]) -> np.ndarray:
    """A loop as one would write it: Pillow, one network, one average."""
    description = importlib.util.spec_from_file_location("net", SHARED / "mobilenet_v1.py")
    assert description is not None
    assert description.loader is not None
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    model = module.mobilenet_v1().eval()
    model.load_state_dict(load_file(SHARED / "mobilenet_v1.safetensors"), strict=False)
    paths = [FLOWERS / name for name in ids]
    features = []
    with torch.inference_mode():
        for start in range(0, len(paths), 32):
            batch = paths[start : start + 32]
            images = [
                np.asarray(
                    Image.open(p).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
                )
                for p in batch
            ]
            x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
            features.append(model(x).mean((2, 3)).numpy())
    return np.concatenate(features)


def least_cosine(data: Any) -> float:
    expected = plain_loop(data.ids)
    dots = (data.features * expected).sum(axis=1)
    norms = np.linalg.norm(data.features, axis=1) * np.linalg.norm(expected, axis=1)
    return float((dots / norms).min())


# Six of each class, or one: hardware without bfloat16 emulates it at a tenth of the speed.
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.9999), ("bf16", 0.999)])
def test_features_of_some_are_near_a_plain_loop(
    precision: str, least: float, tmp_path: Path
) -> None:
    each = 6 if precision in ("fp32", native_precision()) else 1
    data = extract(tmp_path / "store", precision, label_limit=each).to_numpy()
    assert len(data) == 17 * each
    assert least_cosine(data) >= least


@pytest.mark.long
def test_features_equal_a_plain_loop(store: Any) -> None:
    assert (len(store), store.snapshot.rejects) == (1360, 0)
    assert store.shapes == {"features": (1024,)}
    data = store.to_numpy()
    files = (path.relative_to(FLOWERS).as_posix() for path in FLOWERS.rglob("*.jpg"))
    assert data.ids.tolist() == sorted(files)
    assert least_cosine(data) >= 0.9999


@pytest.mark.long
def test_classifier_reaches_its_accuracy(store: Any, tmp_path: Path) -> None:
    model = raypipe.train(store.uri, out=str(tmp_path), grid="C=0.001,0.01,0.1,1")
    assert model.metrics["accuracy_with_duplicates"] >= 0.95
    # The data set holds 61 pictures twice; those on both sides of the split are told apart.
    assert 10 <= model.metrics["near_duplicates"] <= 40
    assert model.metrics["accuracy"] >= 0.93


@pytest.mark.long
def test_clusters_are_scikit_learns(store: Any, tmp_path: Path) -> None:
    clusters = raypipe.cluster(store.uri, out=str(tmp_path), k=17, seed=42, scale="none")
    reference = KMeans(n_clusters=17, random_state=42).fit(store.to_numpy().features)
    np.testing.assert_array_equal(clusters.labels, reference.labels_)


@pytest.mark.long
def test_the_ray_engine_agrees_with_scikit_learn(store: Any, tmp_path: Path) -> None:
    data = store.to_numpy()
    given = {"engine": "ray", "grid": "C=0.1", "tol": 1e-7}
    model = raypipe.train(store.uri, out=tmp_path / "model", **given)
    held_out = [row["id"] for row in csv.DictReader((tmp_path / "model" / "holdout.csv").open())]
    held = np.isin(data.ids, held_out)
    rows = StandardScaler().fit(data.features[~held].astype(float))
    x, y = rows.transform(data.features.astype(float)), data.labels.astype(str)
    codes = np.searchsorted(model.classes, y)
    exact = LogisticRegression(C=0.1, tol=1e-9, max_iter=5000).fit(x[~held], y[~held])
    ours = model.head.scorer
    losses = [
        objective(x[~held], codes[~held], coef, intercept, 0.1)
        for coef, intercept in ((ours.coef, ours.intercept), (exact.coef_, exact.intercept_))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    predicted = np.array(model.classes)[model.predict_proba(data.features[held]).argmax(1)]
    assert np.mean(predicted == exact.predict(x[held])) >= 0.999


@pytest.mark.long
def test_the_ray_engine_finds_scikit_learns_clusters(store: Any, tmp_path: Path) -> None:
    x = store.to_numpy().features
    start = x[np.random.default_rng(0).choice(len(x), 17, replace=False)]
    np.save(tmp_path / "start.npy", start)
    given = {"k": 17, "init": str(tmp_path / "start.npy"), "engine": "ray", "scale": "none"}
    clusters = raypipe.cluster(store.uri, out=tmp_path / "c", **given)
    reference = KMeans(n_clusters=17, init=start, n_init=1).fit(x)
    np.testing.assert_array_equal(clusters.labels, reference.labels_)
    assert clusters.inertia == pytest.approx(reference.inertia_, rel=1e-6)


def packed(kind: str, folder: Path) -> Path:
    """The photographs in another form, with the ids they have as files."""
    files = {p.relative_to(FLOWERS).as_posix(): p for p in sorted(FLOWERS.rglob("*.jpg"))}
    path = folder / f"flowers.{kind}"
    if kind == "tars":
        raypipe.pack(FLOWERS, out=path, shards=8)
        assert len(list(path.glob("*.tar"))) == 8
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, file in files.items():
                archive.write(file, name)
    elif kind == "parquet":
        labels = [name.split("/")[0] for name in files]
        images = [file.read_bytes() for file in files.values()]
        table = pa.table({"id": list(files), "image": images, "label": labels})
        pq.write_table(table, path, row_group_size=100)
    else:
        with path.open("w", newline="") as content:
            rows = csv.writer(content)
            rows.writerow(["id", "uri", "label"])
            rows.writerows([name, file, name.split("/")[0]] for name, file in files.items())
    return path


@pytest.mark.long
@pytest.mark.parametrize("kind", ["tars", "zip", "parquet", "csv"])
def test_other_forms_give_the_same(kind: str, tmp_path: Path, store: Any) -> None:
    source = packed(kind, tmp_path)
    given = ExtractConfig(source=str(source), out="unused")
    items = pa.Table.from_batches(open_source(given).list())
    assert sorted(items["id"].to_pylist()) == store.to_numpy().ids.tolist()
    for row in items.to_pylist():
        assert read_item(row["uri"], 10**8) == (FLOWERS / row["id"]).read_bytes()
        assert row["label"] == row["id"].split("/")[0]
    few = extract(tmp_path / "store", "fp32", source, label_limit=4).to_numpy()
    assert len(few) == 17 * 4
    whole = store.to_numpy()
    expected = whole[np.isin(whole.ids, few.ids)]
    np.testing.assert_array_equal(few.ids, expected.ids)
    np.testing.assert_array_equal(few.labels, expected.labels)
    np.testing.assert_allclose(few.features, expected.features, atol=1e-5)


@pytest.mark.long
def test_reports_in_a_browser(store: Any, browser: Any, tmp_path: Path) -> None:
    raypipe.train(store.uri, out=tmp_path / "model", grid="C=0.001,0.01", report=True)
    raypipe.cluster(store.uri, out=tmp_path / "clusters", k="15:18", scale="standard", report=True)
    held = list(csv.DictReader((tmp_path / "model" / "holdout.csv").open()))
    for folder in ("model", "clusters"):
        path = tmp_path / folder / "report.html"
        assert path.stat().st_size < 10**7
        for size in (DESKTOP, PHONE):
            with opened(browser, path, size) as page:
                page.screenshot(path=tmp_path / f"{folder}-{size[0]}.png", full_page=True)
    with opened(browser, tmp_path / "model" / "report.html") as page:
        for button in page.query_selector_all(".confusion .wrong button"):
            button.click()
            known, predicted = button.get_attribute("aria-label").split(":")[0].split(" taken for ")
            names = page.eval_on_selector_all(".chosen .id", "all => all.map(e => e.textContent)")
            pairs = ((row["label"], row["predicted"]) for row in held)
            assert len(names) == sum(pair == (known, predicted) for pair in pairs)
            assert len(page.query_selector_all(".chosen img")) == len(names)
        page.click(".by-class thead th:nth-child(4) button")  # recall
        recalls = [float(text) for text in column(page, ".by-class", 3)]
        assert recalls == sorted(recalls, reverse=True)
        assert len(page.query_selector_all(".couple")) == 12
    with opened(browser, tmp_path / "clusters" / "report.html") as page:
        assert len(page.query_selector_all(".map use")) == 1360
        point_at(page, 100)
        assert page.query_selector(".hover img").is_visible()
        page.click("table.sortable thead th:nth-child(2) button")
        sizes = [int(text) for text in column(page, "table.sortable", 1)]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(sizes) == 1360
