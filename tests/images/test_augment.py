"""Augmented views against Keras's own formulas, and their random stream."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from scipy import ndimage

from raypipe import schema
from raypipe.cli import options
from raypipe.config import ExtractConfig
from raypipe.errors import UsageError
from raypipe.images.augment import Draw, draw, resolve_augment, view
from raypipe.rows.unit import pack_items
from raypipe.sources.files import file_etag
from raypipe.spec import Augment, Preprocess, Spec
from raypipe.steps.batch import IMAGE, ITEMS, UNIT, ReadOptions
from raypipe.steps.read import read_and_decode
from tests.conftest import draw as picture

FULL = Augment(views=3, rotate=40, shift=0.2, shear=0.2, zoom=0.2, flip=True, seed=7)

GOLDEN_DRAW = {
    "theta": -2.103985698567641,
    "tx": -0.19447960619702603,
    "ty": -0.04318101545048845,
    "shear": 0.1280848114574337,
    "zx": 0.8517324450285187,
    "zy": 0.8711311709391943,
    "mirrored": False,
}
GOLDEN_VIEW = "ac05f818f4af416a"


def keras_view(pixels: np.ndarray, drawn: Draw) -> np.ndarray:
    """Transcription of keras_preprocessing 1.1: matrices, offset of the centre, SciPy's warp."""
    height, width, _ = pixels.shape
    theta = np.deg2rad(drawn.theta)
    matrix = np.array(
        [[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]]
    )
    matrix = np.dot(
        matrix, np.array([[1, 0, drawn.tx * height], [0, 1, drawn.ty * width], [0, 0, 1]])
    )
    matrix = np.dot(
        matrix, np.array([[1, -np.sin(drawn.shear), 0], [0, np.cos(drawn.shear), 0], [0, 0, 1]])
    )
    matrix = np.dot(matrix, np.array([[drawn.zx, 0, 0], [0, drawn.zy, 0], [0, 0, 1]]))
    o_x, o_y = height / 2 + 0.5, width / 2 + 0.5
    offset = np.array([[1, 0, o_x], [0, 1, o_y], [0, 0, 1]])
    reset = np.array([[1, 0, -o_x], [0, 1, -o_y], [0, 0, 1]])
    matrix = np.dot(np.dot(offset, matrix), reset)
    planes = [
        ndimage.affine_transform(
            pixels[..., c].astype(float), matrix[:2, :2], matrix[:2, 2], order=1, mode="nearest"
        )
        for c in range(3)
    ]
    changed = np.stack(planes, axis=-1)
    return changed[:, ::-1] if drawn.mirrored else changed


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.asarray(picture("circle", 1, (64, 64)))


@pytest.mark.parametrize(
    "augment",
    [
        FULL,
        Augment(rotate=180),
        Augment(shift=0.9),
        Augment(shear=1.2),
        Augment(zoom=0.9),
        Augment(flip=True),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (64, 64), (225, 225), (64, 96), (97, 48)])
def test_equals_keras(augment: Augment, size: tuple[int, int]) -> None:
    source = np.asarray(picture("stripes", size[0], size))
    for number in range(1, 6):
        ours = view(source, augment, "a.jpg", number)
        expected = keras_view(source, draw(augment, "a.jpg", number))
        assert ours.shape == source.shape
        assert ours.dtype == np.uint8
        assert np.abs(ours - expected).max() <= 1


@pytest.mark.parametrize("augment", [FULL, Augment(shift=0.9), Augment(flip=True), Augment()])
@pytest.mark.parametrize("size", [(1, 1), (150, 150), (64, 97)])
def test_float_views_equal_keras_in_their_fractions(
    augment: Augment, size: tuple[int, int]
) -> None:
    source = np.asarray(picture("stripes", size[0], size))
    floats = augment.model_copy(update={"float_views": True})
    for number in range(1, 6):
        ours = view(source, floats, "a.jpg", number)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(
            ours, keras_view(source, draw(augment, "a.jpg", number)), atol=255e-6
        )


def test_a_block_holds_float_views_as_they_are(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    floats = FULL.model_copy(update={"float_views": True})
    preprocess = Preprocess(size=64, resize="squash", resize_to=None)
    spec = Spec(backbone="b", weights_sha256="w", outputs=(), preprocess=preprocess, augment=floats)
    row = {"id": "a", "uri": str(path), "etag": file_etag(str(path))}
    items = pa.Table.from_pylist([row], schema=schema.ITEMS)
    batch = {UNIT: np.array(["u"]), ITEMS: np.array([pack_items(items)], object)}
    (block,) = read_and_decode(batch, options=ReadOptions(spec, 10**6))[IMAGE]
    np.testing.assert_array_equal(block[0], pixels)
    for number in (1, 2, 3):
        np.testing.assert_array_equal(block[number], view(pixels, floats, "a", number))
    assert (block % 1 > 0).any()
    assert spec.pixel_bytes == block.nbytes


def test_rounded_views_have_the_form_of_before() -> None:
    usual, floats = FULL.model_dump(), FULL.model_copy(update={"float_views": True}).model_dump()
    assert "float_views" not in usual
    assert floats == {**usual, "float_views": True}


def test_random_stream_is_the_same_everywhere_and_always() -> None:
    drawn = draw(FULL, "daisy/image_0801.jpg", 2)
    assert drawn == Draw(**GOLDEN_DRAW)
    # No pixel of this view lies closer than 0.1 to a half, so rounding is the same everywhere.
    small = np.arange(6 * 6 * 3, dtype=np.uint8).reshape(6, 6, 3)
    moved = view(small, Augment(shift=0.5, flip=True, zoom=0.3, seed=3), "b.png", 1)
    assert hashlib.sha256(moved.tobytes()).hexdigest()[:16] == GOLDEN_VIEW


def test_views_do_not_depend_on_what_was_drawn_before(pixels: np.ndarray) -> None:
    forwards = [view(pixels, FULL, name, n) for name in ("a", "b") for n in (1, 2, 3)]
    backwards = [view(pixels, FULL, name, n) for name in ("b", "a") for n in (3, 2, 1)]
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_views_ids_and_seeds_differ(pixels: np.ndarray) -> None:
    base = view(pixels, FULL, "a", 1)
    for other in (
        view(pixels, FULL, "a", 2),
        view(pixels, FULL, "b", 1),
        view(pixels, FULL.model_copy(update={"seed": 8}), "a", 1),
    ):
        assert (base != other).mean() > 0.1


def test_number_and_id_do_not_run_together() -> None:
    assert draw(FULL, "a1", 1) != draw(FULL, "a", 11)


def test_draws_fill_their_bounds() -> None:
    drawn = [draw(FULL, str(i), 1) for i in range(2000)]
    for name, low, high in (
        ("theta", -40, 40),
        ("tx", -0.2, 0.2),
        ("ty", -0.2, 0.2),
        ("shear", -0.2, 0.2),
        ("zx", 0.8, 1.2),
        ("zy", 0.8, 1.2),
    ):
        values = np.array([getattr(one, name) for one in drawn])
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)
    assert 0.45 < np.mean([one.mirrored for one in drawn]) < 0.55


def test_parameters_are_drawn_independently() -> None:
    names = ("theta", "tx", "ty", "shear", "zx", "zy", "mirrored")
    drawn = [draw(FULL, str(i), 1) for i in range(2000)]
    table = np.array([[float(getattr(one, name)) for name in names] for one in drawn])
    correlation = np.corrcoef(table.T) - np.eye(len(names))
    assert np.abs(correlation).max() < 0.1


def test_a_bound_does_not_move_the_other_draws() -> None:
    wider = draw(FULL.model_copy(update={"zoom": 0.5}), "a", 1)
    assert wider.theta == draw(FULL, "a", 1).theta


def test_flip_is_a_mirror_image(pixels: np.ndarray) -> None:
    augment = Augment(flip=True)
    for number in range(1, 9):
        expected = pixels[:, ::-1] if draw(augment, "a", number).mirrored else pixels
        np.testing.assert_array_equal(view(pixels, augment, "a", number), expected)


def test_nothing_to_change_is_the_image_itself(pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(view(pixels, Augment(), "a", 1), pixels)


def test_image_is_left_as_it_is(pixels: np.ndarray) -> None:
    before = pixels.copy()
    view(pixels, FULL, "a", 1)
    np.testing.assert_array_equal(pixels, before)


def resolved(**given: object) -> Augment | None:
    found = options.resolve(ExtractConfig, {"source": "x", "out": "y", **given}, environment={})
    return resolve_augment(found)


def test_options_become_the_augmentation() -> None:
    assert resolved() is None
    assert resolved(augment=2, rotate=40, flip=True, seed=5) == Augment(
        views=2, rotate=40, flip=True, seed=5
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rotate": 10, "flip": True}, "--rotate, --flip .* --augment N"),
        ({"augment": 3}, "--augment 3 .* --rotate, --shift, --shear, --zoom, --flip"),
        ({"augment": 3, "rotate": 200}, "--rotate must be .* 180; got 200"),
        ({"augment": 3, "zoom": 1}, "--zoom must be .* 1; got 1"),
        ({"original": False}, "--no-original with --augment 0 .* --augment N"),
        ({"float_views": True}, "--float-views .* --augment is 0; .* --augment N"),
        ({"augment": -1}, "--augment must be .* 0 .*; got -1"),
    ],
)
def test_wrong_options_are_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolved(**given)
