"""Inputs that are not square: torchvision's, Pillow's and transformers' own results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from raypipe.cli import options
from raypipe.config import ExtractConfig
from raypipe.errors import UsageError
from raypipe.images.preprocessing import resolve_preprocess
from raypipe.images.transforms import _bounded, least_side, scaled_size, to_pixels
from raypipe.spec import Preprocess
from tests.images.test_preprocess_parity import photograph

SIZES = [(500, 375), (375, 500), (333, 501), (97, 112), (24, 31), (9, 140), (1201, 803)]
SHAPES = [(224, 160), (128, 256), (256, 128)]


def resolved(trained: Preprocess | None = None, **given: object) -> Preprocess:
    config = options.resolve(ExtractConfig, {"source": "x", "out": "y", **given}, environment={})
    return resolve_preprocess(config, trained)


def difference(image: Image.Image, preprocess: Preprocess, expected: Image.Image) -> np.ndarray:
    ours = to_pixels(image, preprocess)
    assert ours.shape == (*preprocess.shape, 3) == (expected.height, expected.width, 3)
    return np.abs(ours.astype(int) - np.asarray(expected))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("longer", [True, False])
def test_a_shorter_side_and_its_centre_equal_torchvision(
    size: tuple[int, int], height: int, width: int, longer: bool
) -> None:
    """Where one side suffices for the shorter of the input's only, bands are black, as there."""
    side = 290 if longer else min(height, width) + 3
    transform = transforms.Compose(
        [transforms.Resize(side), transforms.CenterCrop((height, width))]
    )
    image = photograph(size)
    preprocess = resolved(size=f"{height}x{width}", resize_to=side)
    assert (preprocess.size, preprocess.resize_to) == ((height, width), side)
    found = difference(image, preprocess, transform(image))
    assert found.max() <= 1
    assert (found > 0).mean() < 0.02


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_squashing_equals_pillow(size: tuple[int, int], height: int, width: int) -> None:
    image = photograph(size)
    expected = image.resize((width, height), Image.Resampling.BILINEAR)
    preprocess = resolved(size=(height, width), resize="squash")
    assert preprocess.resize_to is None
    assert difference(image, preprocess, expected).max() <= 1
    nearest = resolved(size=(height, width), resize="squash", interpolation="nearest")
    expected = image.resize((width, height), Image.Resampling.NEAREST)
    assert difference(image, nearest, expected).max() == 0


@pytest.mark.parametrize("size", SIZES)
def test_both_sides_and_a_crop_of_them(size: tuple[int, int]) -> None:
    image = photograph(size)
    for resize_to, sides in (("250x180", (250, 180)), (250, (250, 250))):
        transform = transforms.Compose(
            [transforms.Resize(sides), transforms.CenterCrop((224, 160))]
        )
        preprocess = resolved(size="224x160", resize="squash", resize_to=resize_to)
        assert difference(image, preprocess, transform(image)).max() <= 1


def test_what_processors_of_transformers_say_can_be_expressed() -> None:
    """`size: {height, width}`; and `size: {shortest_edge}` with `crop_size: {height, width}`."""
    image = photograph((500, 375))
    squashed = Preprocess(resize="squash", resize_to=None, size=(224, 160))
    expected = image.resize((160, 224), Image.Resampling.BILINEAR)
    assert difference(image, squashed, expected).max() <= 1
    cropped = Preprocess(resize="shorter", resize_to=128, size=(224, 160))  # below both sides
    transform = transforms.Compose([transforms.Resize(128), transforms.CenterCrop((224, 160))])
    assert difference(image, cropped, transform(image)).max() <= 1
    for trained in (squashed, cropped):
        assert resolved(trained) == trained


def test_usual_proportions() -> None:
    """As timm scales: the image covers both sides in the proportion of the evaluation."""
    assert resolved(size="448x224").resize_to == (512, 256)
    assert resolved(size="224x224") == resolved(size=224)
    assert resolved(size=224).resize_to == 256
    assert resolved(size="64x32", resize="border").resize_to == (64, 32)
    trained = Preprocess(size=(256, 128), resize_to=(292, 146))
    assert resolved(trained).resize_to == (292, 146)
    assert resolved(trained, size="512x256").resize_to == (584, 292)
    one_side = Preprocess(size=(256, 128), resize_to=256)
    assert resolved(one_side, size="512x128").resize_to == 512
    assert resolved(one_side, size=224).resize_to == 224


def test_cropping_and_scaled_decoding() -> None:
    image = photograph((500, 375))
    ours = resolved(crop=300, size="100x60", resize="squash")
    part = image.crop((100, 37, 400, 337)).resize((60, 100), Image.Resampling.BILINEAR)
    assert difference(image, ours, part).max() <= 1
    assert least_side(resolved(size="100x60", resize="squash", scaled_decode=True)) == 200


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (3, 2)])
@pytest.mark.parametrize("resize", ["shorter", "squash"])
@pytest.mark.parametrize("shape", [(224, 160), (8, 320), (320, 8)])
def test_extreme_proportions(size: tuple[int, int], resize: str, shape: tuple[int, int]) -> None:
    image, preprocess = Image.new("RGB", size, "red"), resolved(size=shape, resize=resize)
    between = scaled_size(_bounded(image, preprocess).size, preprocess)
    assert between[0] * between[1] < 2**21 + 2**20
    pixels = to_pixels(image, preprocess)
    assert pixels.shape == (*shape, 3)
    assert (pixels == (255, 0, 0)).all()


@pytest.mark.parametrize("given", [224, "224", (224, 224), "224x224", [224, 224]])
def test_a_square_is_written_as_it_was(given: Any) -> None:
    found = Preprocess(size=given)
    assert found == Preprocess()
    assert found.model_dump(mode="json")["size"] == 224
    other = Preprocess(size="48x32", resize_to=[60, 40])
    dumped = other.model_dump(mode="json")
    assert (dumped["size"], dumped["resize_to"]) == ([48, 32], [60, 40])
    assert Preprocess.model_validate(dumped) == other
    assert Preprocess.model_validate_json(other.model_dump_json()) == other


NO_TEXTS = ("", "x", "256x", "x128", "256X128", "256 x 128", "1x2x3", "-3", "7", "256x7")
NO_SIDES = (7, True, 64.5, [], [256], [1, 2, 3], [256, 7], {"height": 3})


@pytest.mark.parametrize("given", [*NO_TEXTS, *NO_SIDES])
def test_what_is_no_size(given: Any) -> None:
    words = "^--size must be a side of 8 to 65535 pixels, or HEIGHTxWIDTH, as 224 or 256x128; got "
    with pytest.raises(UsageError, match=words):
        resolved(size=given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"resize_to": "255x160"}, r"--resize-to must be at least --size \(256x128\); got 255x160"),
        ({"resize_to": "300x127"}, "got 300x127"),
        ({"resize_to": 127}, r"at least --size \(256x128\); got 127"),
        ({"resize_to": 200, "resize": "squash"}, "got 200"),
        ({"resize_to": 200, "gpu_decode": True}, "--gpu-decode .* a --resize-to below --size"),
    ],
)
def test_contradictions_are_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolved(size="256x128", **given)
