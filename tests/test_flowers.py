"""The main job on real photographs with real ImageNet weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.cluster import KMeans

import raypipe
from tests.conftest import SHARED

pytestmark = [pytest.mark.shared, pytest.mark.usefixtures("ray_session")]

FLOWERS = SHARED / "flowers17"


def extract(out: Path, precision: str) -> Any:
    return raypipe.extract(
        str(FLOWERS),
        out=str(out),
        backbone=f"{SHARED}/mobilenet_v1.py:mobilenet_v1",
        weights=f"{SHARED}/mobilenet_v1.safetensors",
        layer=("pw12",),
        size=224,
        resize="squash",
        interpolation="bilinear",
        normalize="tf",
        precision=precision,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Any:
    return extract(tmp_path_factory.mktemp("flowers") / "fp32", "fp32")


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    """A loop as one would write it: Pillow, one network, one average."""
    description = importlib.util.spec_from_file_location("net", SHARED / "mobilenet_v1.py")
    assert description is not None
    assert description.loader is not None
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    model = module.mobilenet_v1().eval()
    model.load_state_dict(load_file(SHARED / "mobilenet_v1.safetensors"), strict=False)
    paths = sorted(FLOWERS.rglob("*.jpg"))
    features = {}
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
            for path, row in zip(batch, model(x).mean((2, 3)).numpy(), strict=True):
                features[path.relative_to(FLOWERS).as_posix()] = row
    return features


def least_cosine(data: Any, reference: dict[str, np.ndarray]) -> float:
    assert data.ids.tolist() == sorted(reference)
    expected = np.stack([reference[i] for i in data.ids])
    dots = (data.features * expected).sum(axis=1)
    norms = np.linalg.norm(data.features, axis=1) * np.linalg.norm(expected, axis=1)
    return float((dots / norms).min())


def test_features_equal_a_plain_loop(store: Any, reference: dict[str, np.ndarray]) -> None:
    assert (len(store), store.snapshot.rejects) == (1360, 0)
    assert store.shapes == {"features": (1024,)}
    assert least_cosine(store.to_numpy(), reference) >= 0.9999


def test_bf16_features_are_close(tmp_path: Path, reference: dict[str, np.ndarray]) -> None:
    data = extract(tmp_path / "bf16", "bf16").to_numpy()
    assert least_cosine(data, reference) >= 0.999


def test_classifier_reaches_its_accuracy(store: Any, tmp_path: Path) -> None:
    model = raypipe.train(store.uri, out=str(tmp_path), grid="C=0.001,0.01,0.1,1")
    assert model.metrics["accuracy"] >= 0.95
    # The data set holds 61 pictures twice; those on both sides of the split are told apart.
    assert 10 <= model.metrics["near_duplicates"] <= 40
    assert model.metrics["accuracy_without_duplicates"] >= 0.93


def test_clusters_are_scikit_learns(store: Any, tmp_path: Path) -> None:
    clusters = raypipe.cluster(store.uri, out=str(tmp_path), k=17, seed=42)
    reference = KMeans(n_clusters=17, random_state=42).fit(store.to_numpy().features)
    np.testing.assert_array_equal(clusters.labels, reference.labels_)
