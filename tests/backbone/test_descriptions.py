"""What depends on the weights comes from their own description."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.models import WeightsEnum

from raypipe.backbone.libraries import library_of
from raypipe.backbone.libraries.timm import Timm
from raypipe.backbone.loading import feature_shapes, load
from raypipe.backbone.registry import build, find
from raypipe.cli import options
from raypipe.config import ExtractConfig
from raypipe.errors import UsageError
from raypipe.images.preprocessing import resolve_preprocess
from raypipe.images.transforms import normalize, to_pixels
from raypipe.spec import Preprocess
from tests.backbone.comparing import cosine, entering, features, images
from tests.images.test_preprocess_parity import photograph

models = torchvision.models


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch, member: Any, model: nn.Module) -> Path:
    """Save weights where torchvision would have downloaded a published set to."""
    monkeypatch.setenv("TORCH_HOME", str(folder))
    path = folder / "hub" / "checkpoints" / member.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("inception_v3", "DEFAULT"),
        ("googlenet", "file"),
        pytest.param("inception_v3", "file", marks=pytest.mark.long),
        pytest.param("googlenet", "DEFAULT", marks=pytest.mark.long),
    ],
)
def test_published_inceptions_transform_their_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: str
) -> None:
    torch.manual_seed(0)
    model = models.get_model(name, weights=None, transform_input=True, init_weights=False).eval()
    path = plant(tmp_path, monkeypatch, models.get_model_weights(name).DEFAULT, model)
    if given == "file":
        path = Path(shutil.move(path, tmp_path / "own.pth"))
    loaded = load(name, "DEFAULT" if given == "DEFAULT" else str(path), size=96)
    assert dict(loaded.source.arguments) == {"transform_input": True}
    x = images(96)
    assert cosine(features(loaded, x)["features"], entering(model, "fc", x)) > 0.9999


@pytest.mark.long
def test_a_vision_transformer_of_larger_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    member = models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1
    model = models.vit_b_16(image_size=384).eval()
    path = plant(tmp_path, monkeypatch, member, model)
    for weights in ("IMAGENET1K_SWAG_E2E_V1", str(path)):
        loaded = load("vit_b_16", weights)
        assert loaded.trained is not None
        assert (loaded.trained.size, loaded.trained.interpolation) == (384, "bicubic")
        x = images(384, 1)
        assert cosine(features(loaded, x)["features"], entering(model, "heads.head", x)) > 0.9999
        with pytest.raises(UsageError, match=r"cannot process a 224×224 image"):
            feature_shapes(loaded, 224, "float32")


def as_torchvision_builds(name: str, member: Any) -> nn.Module:
    """The network that torchvision makes for published weights, without their values."""
    with (
        torch.device("meta"),
        patch.object(WeightsEnum, "get_state_dict", lambda *_args, **_more: {}),
        patch.object(nn.Module, "load_state_dict", lambda *_args, **_more: None),
    ):
        return models.get_model(name, weights=member)


SETS = [
    (name, member.name)
    for name in models.list_models(module=models)
    for member in models.get_model_weights(name)
]
QUICK = ("inception_v3", "googlenet", "vit_b_16", "maxvit_t", "resnet50")


@pytest.mark.parametrize(
    ("name", "weights"),
    [s if s[0] in QUICK else pytest.param(*s, marks=pytest.mark.long) for s in SETS],
)
def test_constructors_get_what_torchvision_gives_them(name: str, weights: str) -> None:
    member = models.get_model_weights(name)[weights]
    source = find(name)
    said = list(library_of(source).descriptions(source))
    order = [models.get_model_weights(name).DEFAULT.name]
    order += [m.name for m in models.get_model_weights(name) if m.name not in order]
    description = said[list(dict.fromkeys(order)).index(member.name)]
    if name.startswith("regnet"):  # computes its widths with tensors
        assert not description.arguments
        return
    from dataclasses import replace

    ours = build(replace(source, arguments=description.arguments), blank=True)
    theirs = as_torchvision_builds(name, member)
    assert getattr(ours, "transform_input", None) == getattr(theirs, "transform_input", None)
    assert getattr(ours, "image_size", None) == getattr(theirs, "image_size", None)
    shapes = {n: v.shape for n, v in ours.state_dict().items()}
    assert {n: v.shape for n, v in theirs.state_dict().items()}.items() <= shapes.items()
    assert description.sha256_prefix in member.url


def test_old_names_of_densenets_are_those_of_today() -> None:
    import re

    source = find("densenet121")
    state = build(source, blank=True).state_dict()
    names = [n for n in state if "denselayer" in n and not n.endswith("tracked")]
    old = {re.sub(r"(norm|conv)([12])\.", r"\1.\2.", name): torch.zeros(1) for name in names}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert list(library_of(source).renamed(source, old)) == names


def test_quantised_networks_are_refused() -> None:
    with pytest.raises(UsageError, match="quantised backbone 'quantized_resnet50'.*resnet50"):
        find("quantized_resnet50")


def test_a_file_is_the_published_set_that_its_checksum_says() -> None:
    from raypipe.backbone.weights import _by_checksum

    source = find("resnet50")
    said = list(library_of(source).descriptions(source))
    assert [one.trained.resize_to for one in said] == [232, 256]
    first = _by_checksum(said, "0676ba61" + "0" * 56)
    assert [one.trained.resize_to for one in first] == [256]
    assert [one.trained.resize_to for one in _by_checksum(said, "f" * 64)] == [232]


SIZES = [(500, 375), (375, 500), (333, 501), (97, 112), (24, 31), (9, 300), (1201, 803), (4000, 9)]


@pytest.mark.parametrize("mode", ["squash", "border", "center"])
@pytest.mark.parametrize("percent", [0.9, 1.0])
@pytest.mark.parametrize("shape", [(240, 240), (224, 160), (256, 128), (96, 192)])
def test_each_crop_mode_of_timm(mode: str, percent: float, shape: tuple[int, int]) -> None:
    entry = timm.get_pretrained_cfg("resnet18.a1_in1k").to_dict()
    entry |= {"crop_mode": mode, "crop_pct": percent, "input_size": (3, *shape)}
    entry |= {"interpolation": "bicubic"}
    with patch.object(timm, "get_pretrained_cfg", lambda _name: timm.models.PretrainedCfg(**entry)):
        (said,) = Timm().descriptions(find("timm/resnet18"))
    assert said.trained is not None
    if mode == "squash" and shape == (240, 240):
        assert said.trained.resize_to == (266 if percent == 0.9 else None)
    preprocess = resolve_preprocess(configured(), said.trained)
    assert preprocess == said.trained
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=entry))
    for size in SIZES:
        if mode == "center" and max(size) > 16 * min(size):
            continue  # cut around its centre before it is scaled
        if mode == "border" and max(size) * percent > 2 * min(shape) * min(size):
            continue  # timm itself scales the shorter side to nothing
        image = photograph(size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            right = transform(image).permute(1, 2, 0).numpy()
        difference = np.abs(network_input(image, preprocess) - right) * preprocess.std
        assert difference.max() <= 2.001, size  # of 255


def test_a_set_of_timm_whose_images_are_not_square() -> None:
    source = find("timm/vit_base_patch16_sapiens2.fb")
    (said,) = Timm().descriptions(source)
    assert said.trained is not None
    assert said.trained.shape == (1024, 768)
    entry = timm.get_pretrained_cfg(source.target).to_dict()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=entry))
    image = photograph((375, 500))
    right = transform(image).permute(1, 2, 0).numpy()
    difference = np.abs(network_input(image, said.trained) - right) * said.trained.std
    assert difference.max() <= 1.001  # of 255


def test_timm_on_images_that_are_not_square() -> None:
    loaded = load("timm/test_resnet.r160_in1k", "random", size=(96, 64))
    torch.manual_seed(0)
    model = timm.create_model("test_resnet").eval()
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        right = model.forward_head(model.forward_features(x), pre_logits=True)
    torch.testing.assert_close(features(loaded, x)["features"], right, rtol=1e-4, atol=1e-5)


def configured(**given: object) -> ExtractConfig:
    return options.resolve(ExtractConfig, {"source": "x", "out": "y", **given}, environment={})


def network_input(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    found = torch.from_numpy(np.array(to_pixels(image, preprocess)))[None]
    return normalize(found, preprocess)[0].permute(1, 2, 0).numpy()


def test_mean_and_std_for_weights_that_have_none() -> None:
    given = {"mean": "0.5,0.4,0.3", "std": "0.1,0.2,0.4"}
    found = resolve_preprocess(configured(**given), None)
    np.testing.assert_allclose(found.mean, (127.5, 102, 76.5))
    np.testing.assert_allclose(found.std, (25.5, 51, 102))
    turned = resolve_preprocess(configured(channels="bgr", **given), None)
    assert (turned.mean, turned.std) == (found.mean[::-1], found.std[::-1])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mean": "0.5,0.4,0.3"}, "--mean and --std go together"),
        ({"mean": "0,0,0", "std": "1,1,0"}, "--std must be above 0; got 1,1,0"),
        ({"mean": "127,127,127", "std": "1,1,1"}, "--mean must be three numbers of 0..1"),
        ({"mean": "0.5", "std": "0.5"}, "--mean must be three numbers of 0..1"),
        ({"mean": "0,0,0", "std": "1,1,1", "normalize": "tf"}, "do not go with --normalize tf"),
    ],
)
def test_colours_that_cannot_be(given: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve_preprocess(configured(**given), None)
