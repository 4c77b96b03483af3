"""Preprocessing against independent references."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.models import EfficientNet_B0_Weights, ResNet50_Weights
from torchvision.transforms import CenterCrop

from raypipe.backbone.libraries.torchvision import preset_preprocess as _from_preset
from raypipe.config import BackboneConfig
from raypipe.errors import UsageError
from raypipe.images import transforms
from raypipe.images.decode import decode
from raypipe.images.preprocessing import resolve_preprocess
from raypipe.images.transforms import least_side, normalize, scaled_size, to_pixels
from raypipe.spec import Preprocess
from tests.conftest import draw


def network_input(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    pixels = torch.from_numpy(np.array(to_pixels(image, preprocess)))[None]
    return normalize(pixels, preprocess)[0].numpy()


def resolved(**options: object) -> Preprocess:
    return resolve_preprocess(BackboneConfig(**options), None)


@pytest.mark.parametrize("size", [(300, 400), (401, 299), (97, 512), (224, 224), (60, 50)])
@pytest.mark.parametrize("weights", [ResNet50_Weights.DEFAULT, EfficientNet_B0_Weights.DEFAULT])
def test_trained_preset_equals_torchvision(size: tuple[int, int], weights: object) -> None:
    image = draw("circle", 3, size)
    preset = weights.transforms()
    preprocess = resolve_preprocess(BackboneConfig(), _from_preset(preset))
    std = np.array(preprocess.std)[:, None, None]
    difference = np.abs(network_input(image, preprocess) - preset(image).numpy()) * std
    assert difference.max() <= 1.001  # of 255
    assert (difference > 0.01).mean() < 0.02


def test_tf_squash() -> None:
    image = draw("square", 4, (301, 200))
    ours = network_input(image, resolved(resize="squash", size=64, normalize="tf"))
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)) / 127.5 - 1
    np.testing.assert_allclose(ours, expected.transpose(2, 0, 1), atol=1.001 / 127.5)


@pytest.mark.parametrize("size", [(101, 100), (103, 105), (102, 33), (33, 35), (35, 99), (64, 64)])
def test_a_crop_rounds_as_torchvision_s(size: tuple[int, int]) -> None:
    image = draw("square", 4, size)
    same = {"crop": 64, "size": 64, "resize": "squash"}
    found = to_pixels(image, resolved(**same, crop_rounding="even"))
    np.testing.assert_array_equal(found, np.asarray(CenterCrop(64)(image)))


def test_usual_orientation_and_rounding_are_not_in_the_form() -> None:
    usual = resolved(orientation="exif", crop_rounding="down", resampler="torch")
    assert not {"orientation", "crop_rounding", "resampler"} & set(usual.model_dump())
    other = resolved(orientation="ignore", crop_rounding="even", resampler="pillow")
    assert Preprocess(**other.model_dump()) == other != usual


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(333, 250), (251, 400), (40, 30)])
def test_pillow_s_own_pixels(size: tuple[int, int], mode: str) -> None:
    image = draw("circle", 7, size)
    preset = resolved(size=64, resize_to=72, interpolation=mode, resampler="pillow")
    filter_ = Image.Resampling[mode.upper()]
    right = CenterCrop(64)(image.resize(scaled_size(size, preset), filter_))
    np.testing.assert_array_equal(to_pixels(image, preset), np.asarray(right))


def test_pillow_s_filter_cannot_be_without_one() -> None:
    with pytest.raises(UsageError, match="--resampler pillow always filters; got --no-antialias"):
        resolved(resampler="pillow", antialias=False)
    with pytest.raises(UsageError, match="--gpu-decode does not go with --resampler pillow"):
        resolved(resampler="pillow", gpu_decode=True)
    nearest = resolved(resampler="pillow", interpolation="nearest")
    assert not nearest.antialias


def test_the_network_s_input_is_rounded_once() -> None:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5, 224, 224, 3), generator=draws, dtype=torch.uint8)
    preprocess = resolved(resize="squash", normalize="torch", size=224)
    exact = normalize(pixels, preprocess)
    for i in range(5):  # however many come together
        assert torch.equal(normalize(pixels[i : i + 1], preprocess)[0], exact[i])
    rounded = normalize(pixels, preprocess, torch.bfloat16)
    assert torch.equal(rounded, exact.bfloat16())
    assert rounded.is_contiguous(memory_format=torch.channels_last)
    assert normalize(pixels[:0], preprocess).shape == (0, 3, 224, 224)


def test_pixels_that_are_no_bytes_are_left_as_they_are() -> None:
    pixels = torch.full((2, 8, 8, 3), 0.25)
    found = normalize(pixels, resolved(size=8, resize="squash", normalize="unit"))
    np.testing.assert_allclose(found, 0.25 / 255)
    assert (pixels == 0.25).all()


def test_caffe_is_bgr_minus_means_of_nearest_pixels() -> None:
    image = draw("stripes", 5, (90, 70))
    preprocess = resolved(resize="squash", size=56, normalize="caffe", interpolation="nearest")
    bgr = np.asarray(image.resize((56, 56), Image.Resampling.NEAREST))[..., ::-1].astype(float)
    expected = bgr - np.array([103.939, 116.779, 123.68])
    np.testing.assert_allclose(
        network_input(image, preprocess), expected.transpose(2, 0, 1), atol=1e-4
    )


def test_reversed_channels_take_their_statistics_along() -> None:
    image = draw("circle", 6)
    rgb = network_input(image, resolved(size=32, normalize="torch"))
    bgr = network_input(image, resolved(size=32, normalize="torch", channels="bgr"))
    np.testing.assert_allclose(rgb[::-1], bgr)


def test_crop_comes_before_resize() -> None:
    image = draw("circle", 7, (120, 80))
    ours = to_pixels(image, resolved(crop=40, resize="squash", size=20, normalize="none"))
    expected = image.crop((40, 20, 80, 60)).resize((20, 20), Image.Resampling.BILINEAR)
    assert np.abs(ours.astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize(("side", "left", "top"), [(41, 39, 19), (40, 40, 20), (39, 40, 20)])
def test_crop_of_the_original_rounds_down(side: int, left: int, top: int) -> None:
    image = draw("circle", 7, (120, 80))
    preprocess = resolved(crop=side, size=side, resize="squash", normalize="none")
    expected = np.asarray(image)[top : top + side, left : left + side]
    np.testing.assert_array_equal(to_pixels(image, preprocess), expected)


def test_crop_beyond_the_image_is_black() -> None:
    preprocess = resolved(crop=30, size=30, resize="squash", normalize="none")
    pixels = to_pixels(Image.new("RGB", (10, 40), "white"), preprocess)
    assert (pixels[:, 10:20] == 255).all()
    assert not pixels[:, :10].any()
    assert not pixels[:, 20:].any()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_view_of_the_image_and_a_copy_give_the_same(
    mode: str, antialias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = draw("stripes", 3, (70, 50))
    preprocess = resolved(size=32, interpolation=mode, antialias=antialias)
    viewed = to_pixels(image, preprocess)
    monkeypatch.setattr(transforms, "_view", np.asarray)
    np.testing.assert_array_equal(viewed, to_pixels(image, preprocess))


def test_large_images_are_in_several_pieces() -> None:
    image = draw("circle", 3, (2600, 2000))
    pixels = to_pixels(image, resolved(size=64, resize="squash"))
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("size", [(3, 900), (900, 3)])
@pytest.mark.parametrize("given", [{}, {"antialias": False}, {"interpolation": "bicubic"}])
def test_order_that_saves_memory_gives_the_same(
    size: tuple[int, int], given: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = draw("stripes", 3, size)
    preprocess = resolved(size=32, resize="squash", **given)
    usual = to_pixels(image, preprocess).astype(int)
    monkeypatch.setattr(transforms, "_MOST_BETWEEN", 100)
    assert np.abs(to_pixels(image, preprocess) - usual).max() <= 1


def test_without_antialias_points_are_sampled() -> None:
    image = draw("stripes", 8, (64, 64))
    ours = to_pixels(image, resolved(resize="squash", size=16, antialias=False))
    pixels = np.asarray(image).astype(float)
    # Quarter size with half-pixel centres: each point lies between four pixels.
    expected = (
        pixels[1::4, 1::4] + pixels[1::4, 2::4] + pixels[2::4, 1::4] + pixels[2::4, 2::4]
    ) / 4
    assert np.abs(ours - expected).max() <= 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (3, 2)])
@pytest.mark.parametrize("resize", ["shorter", "squash"])
def test_extreme_proportions_take_no_extreme_memory(size: tuple[int, int], resize: str) -> None:
    pixels = to_pixels(Image.new("RGB", size, "red"), resolved(size=224, resize=resize))
    assert pixels.shape == (224, 224, 3)
    assert (pixels == (255, 0, 0)).all()


def test_size_keeps_the_usual_proportion_of_the_crop() -> None:
    assert resolved(size=448, resize="shorter").resize_to == 512
    assert resolved(size=224, resize="squash", resize_to=256).resize_to == 256
    trained = _from_preset(ResNet50_Weights.DEFAULT.transforms())
    assert resolve_preprocess(BackboneConfig(size=224), trained) == trained


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 300, "resize_to": 256, "resize": "squash"}, "at least --size"),
        ({"size": 300, "resize_to": 256, "resize": "shorter"}, "at least --size"),
        ({"interpolation": "lanczos", "antialias": False}, "--no-antialias"),
    ],
)
def test_contradictions_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolved(**options)


@pytest.mark.parametrize("options", [{"resize": "squash", "size": 56}, {"size": 56}])
def test_scaled_decoding_stays_near(options: dict[str, object]) -> None:
    sink = io.BytesIO()
    draw("circle", 8, (1000, 801)).filter(ImageFilter.GaussianBlur(1)).save(
        sink, "JPEG", quality=92
    )
    preprocess = resolved(**options, scaled_decode=True)
    scaled = decode(sink.getvalue(), 10**7, least_side(preprocess))
    assert scaled.size == (250, 201)
    near = to_pixels(scaled, preprocess).astype(int)
    exact = to_pixels(decode(sink.getvalue(), 10**7), preprocess)
    assert np.abs(near - exact).max() <= 20
    assert np.abs(near - exact).mean() < 0.5
    assert least_side(resolved(**options)) is None


@pytest.mark.parametrize(
    "options", [{"crop": 64}, {"antialias": False}, {"interpolation": "nearest"}]
)
def test_scaled_decoding_needs_room(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--scaled-decode does not go with"):
        resolved(scaled_decode=True, **options)
