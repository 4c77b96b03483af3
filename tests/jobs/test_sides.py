"""Extraction into a network whose input is not square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import raypipe
from raypipe.backbone.layers import list_layers
from raypipe.errors import UsageError
from raypipe.images.augment import view
from raypipe.reports.wording import spec_facts
from tests.conftest import TINY, Here, draw, options
from tests.support.networks import tiny


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory, ray_session: str) -> tuple[Path, Path]:
    """Photographs, and a store of them with inputs of 48 × 32."""
    folder = tmp_path_factory.mktemp("upright")
    photos = folder / "photos"
    photos.mkdir()
    for i in range(5):
        draw("circle", i, (70 + i, 50)).save(photos / f"{i}.png")
    given = options(size="48x32", interpolation="nearest", augment=1, shift=0.1, flip=True)
    raypipe.extract(str(photos), out=str(folder / "store"), **given)
    return photos, folder / "store"


def scaled(image: Image.Image, height: int, width: int) -> np.ndarray:
    return np.array(image.convert("RGB").resize((width, height), Image.Resampling.NEAREST))


def plain(pixels: np.ndarray) -> np.ndarray:
    """Features of one image with torch only."""
    torch.manual_seed(0)
    model = tiny().eval()[:2]
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        found: np.ndarray = model(x).mean((2, 3))[0].numpy()
    return found


def test_features_equal_a_plain_computation(upright: tuple[Path, Path]) -> None:
    photos, store = upright
    opened = raypipe.open(str(store))
    data = opened.to_numpy()  # each image and its view
    assert data.ids.tolist() == [f"{i // 2}.png" for i in range(10)]
    for n in range(0, 10, 2):
        image = Image.open(photos / data.ids[n])
        pixels = scaled(image, 48, 32)
        np.testing.assert_allclose(data.features[n], plain(pixels), atol=1e-5)
        assert np.abs(data.features[n] - plain(scaled(image, 32, 48))).max() > 1e-4
        moved = view(pixels, opened.spec.augment, data.ids[n], 1)
        np.testing.assert_allclose(data.features[n + 1], plain(moved), atol=1e-5)


def test_a_store_says_its_sides_and_keeps_to_them(upright: tuple[Path, Path], here: Here) -> None:
    photos, store = upright
    spec = raypipe.open(str(store)).spec
    assert spec.preprocess.shape == (48, 32)
    assert "resized to 48 × 32 (nearest" in dict(spec_facts(spec, {}))["preprocessing"]
    assert '"size": [48, 32]' in here("inspect", str(store)).stdout
    turned = options(size="32x48", interpolation="nearest", augment=1, shift=0.1, flip=True)
    with pytest.raises(UsageError, match=r"preprocess\.size: 48x32 → 32x48"):
        raypipe.extract(str(photos), out=str(store), **turned)


def test_layers_of_an_image_that_is_not_square(here: Here) -> None:
    told = here("layers", TINY, "--size", "48x32").stdout
    assert "for one image of 48×32" in told
    assert "8c × 24 × 16" in told
    assert list_layers(TINY, (48, 32)).size == (48, 32)
    assert '"size": [48, 32]' in here("layers", TINY, "--size", "48x32", "--json").stdout
    assert '"size": 48,' in here("layers", TINY, "--size", "48x48", "--json").stdout
