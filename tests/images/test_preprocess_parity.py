"""Preprocessing of well-known tutorials, written with the calls they use, against ours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.models import EfficientNet_B0_Weights, ResNet50_Weights, ViT_B_16_Weights

from raypipe.backbone.libraries.timm import _preprocess as _from_timm
from raypipe.backbone.libraries.torchvision import preset_preprocess as _from_preset
from raypipe.backbone.registry import find
from raypipe.cli import options
from raypipe.config import ExtractConfig
from raypipe.errors import UsageError
from raypipe.images.preprocessing import resolve_preprocess
from raypipe.images.transforms import normalize, to_pixels
from raypipe.spec import Preprocess

SIZES = [(500, 375), (375, 500), (333, 501), (97, 112), (640, 517), (150, 150), (1201, 803)]
LARGE = [(512, 512), (513, 512), (515, 700), (1023, 769), (1200, 900)]  # at least 512
MEANS = np.array([103.939, 116.779, 123.68])


def photograph(size: tuple[int, int]) -> Image.Image:
    """Soft shapes, sharp edges, and a sensor's noise."""
    noise = np.random.default_rng(sum(size))
    soft = noise.integers(0, 256, (size[1] // 16 + 2, size[0] // 16 + 2, 3)).astype(np.uint8)
    pixels = np.array(Image.fromarray(soft).resize(size, Image.Resampling.BICUBIC)).astype(float)
    pixels[size[1] // 3 : size[1] // 2, size[0] // 4 : size[0] // 3] = (250, 20, 130)
    pixels[::7, size[0] // 2 :] = 15
    pixels += noise.normal(0, 6, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def cv2_read(image: Image.Image) -> np.ndarray:
    """Same pixels as `cv2.imread`: a PNG in between, for both to read without loss."""
    sink = io.BytesIO()
    image.save(sink, "PNG")
    found = cv2.imdecode(np.frombuffer(sink.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


def keras_load_img(image: Image.Image, side: int) -> np.ndarray:
    """`img_to_array(load_img(path, target_size=(side, side)))`: nearest by default."""
    return np.asarray(image.resize((side, side), Image.Resampling.NEAREST)).astype(np.float32)


def keras_caffe(image: Image.Image) -> np.ndarray:
    """`preprocess_input(x)` of VGG16, VGG19 and ResNet50, mode `caffe`."""
    return keras_load_img(image, 224)[..., ::-1] - MEANS


def keras_rescaled(image: Image.Image) -> np.ndarray:
    """`ImageDataGenerator(rescale=1. / 255)` on 150×150 images."""
    return keras_load_img(image, 150) / 255


def cv2_cubic(image: Image.Image) -> np.ndarray:
    return cv2.resize(cv2_read(image), (150, 150), interpolation=cv2.INTER_CUBIC) / 255


def cv2_centre_linear(image: Image.Image) -> np.ndarray:
    img = cv2_read(image)
    h, w = img.shape[:2]
    top, left = (h - 512) // 2, (w - 512) // 2
    return cv2.resize(img[top : top + 512, left : left + 512], (448, 448)) / 255


Tutorial = Callable[[Image.Image], np.ndarray]
TUTORIALS: dict[str, tuple[Tutorial, dict[str, object], list[tuple[int, int]], float]] = {
    "keras-caffe": (
        keras_caffe,
        {"size": 224, "resize": "squash", "interpolation": "nearest", "normalize": "caffe"},
        SIZES,
        1e-4,
    ),
    "keras-rescale": (
        keras_rescaled,
        {"size": 150, "resize": "squash", "interpolation": "nearest", "normalize": "unit"},
        SIZES,
        1e-6,
    ),
    "cv2-cubic-bgr": (
        cv2_cubic,
        {
            "size": 150,
            "resize": "squash",
            "interpolation": "bicubic",
            "antialias": False,
            "channels": "bgr",
            "normalize": "unit",
        },
        SIZES,
        1.001 / 255,
    ),
    "cv2-centre-linear-bgr": (
        cv2_centre_linear,
        {
            "crop": 512,
            "size": 448,
            "resize": "squash",
            "interpolation": "bilinear",
            "antialias": False,
            "channels": "bgr",
            "normalize": "unit",
        },
        LARGE,
        1.001 / 255,
    ),
}


def network_input(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    pixels = torch.from_numpy(np.array(to_pixels(image, preprocess)))[None]
    return normalize(pixels, preprocess)[0].permute(1, 2, 0).numpy()


def configured(**given: object) -> ExtractConfig:
    return options.resolve(ExtractConfig, {"source": "x", "out": "y", **given}, environment={})


@pytest.mark.parametrize("name", TUTORIALS)
def test_equals_the_tutorial(name: str) -> None:
    tutorial, given, sizes, tolerance = TUTORIALS[name]
    trained = _from_preset(ResNet50_Weights.DEFAULT.transforms())  # options win over weights
    preprocess = resolve_preprocess(configured(**given), trained)
    for size in sizes:
        image = photograph(size)
        difference = np.abs(network_input(image, preprocess) - tutorial(image))
        assert difference.max() <= tolerance, size


def test_cv2_cubic_differs_in_few_values() -> None:
    """It is the same kernel: what is left is OpenCV's rounding of weights."""
    _, given, sizes, _ = TUTORIALS["cv2-cubic-bgr"]
    preprocess = resolve_preprocess(configured(**given), None)
    for size in sizes:
        image = photograph(size)
        ours = to_pixels(image, preprocess)[..., ::-1]
        assert (ours != np.rint(cv2_cubic(image) * 255)).mean() < 0.06, size


@pytest.mark.parametrize(
    "weights",
    [
        ResNet50_Weights.IMAGENET1K_V1,
        ViT_B_16_Weights.IMAGENET1K_V1,
        EfficientNet_B0_Weights.DEFAULT,
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_equals_torchvision(weights: object, size: tuple[int, int]) -> None:
    preset = weights.transforms()
    image = photograph(size)
    preprocess = resolve_preprocess(configured(), _from_preset(preset))
    expected = preset(image).permute(1, 2, 0).numpy()
    difference = np.abs(network_input(image, preprocess) - expected) * preprocess.std
    assert difference.max() <= 1.001  # of 255
    assert (difference > 0.01).mean() < 0.02


@pytest.mark.parametrize("size", SIZES)
def test_equals_timm(size: tuple[int, int]) -> None:
    config = timm.data.resolve_data_config(
        pretrained_cfg=timm.get_pretrained_cfg("resnet50.a1_in1k").to_dict()
    )
    assert (config["crop_pct"], config["interpolation"]) == (0.95, "bicubic")
    image = photograph(size)
    preprocess = resolve_preprocess(configured(), _from_timm(find("timm/resnet50.a1_in1k")))
    expected = timm.data.create_transform(**config)(image).permute(1, 2, 0).numpy()
    difference = np.abs(network_input(image, preprocess) - expected) * preprocess.std
    assert difference.max() <= 1.001  # of 255
    assert (difference > 0.01).mean() < 0.02


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("interpolation", ("nearest", "bilinear", "bicubic", "lanczos")),
        ("resize", ("squash", "shorter", "border")),
        ("normalize", ("weights", "torch", "caffe", "tf", "unit", "none")),
        ("channels", ("rgb", "bgr")),
        ("pool", ("avg", "max", "flatten", "none", "hwc", "argmax")),
    ],
)
def test_wrong_values_list_the_allowed_ones(option: str, allowed: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=f"^--{option} must be .*; got 'sideways'$") as found:
        configured(**{option: "sideways"})
    assert all(re.search(rf"\b{value}\b", str(found.value)) for value in allowed)
    assert "\n" not in str(found.value)
