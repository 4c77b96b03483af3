"""TIFF by its tags: each layout has the pixels of another library, or is refused by name."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from raypipe.errors import RejectedItem, RejectReason
from raypipe.images.decode import decode

CAP = 10**6
SHAPE = (37, 53)
Pixels = npt.NDArray[Any]


def noise(dtype: str, *channels: int, top: int | None = None) -> Pixels:
    top = np.iinfo(dtype).max if top is None else top
    rng = np.random.default_rng(0)
    return rng.integers(0, top, (*SHAPE, *channels), endpoint=True, dtype=np.dtype(dtype))


def write(pixels: Pixels, photometric: str = "minisblack", **options: Any) -> bytes:
    sink = io.BytesIO()
    tifffile.imwrite(sink, pixels, photometric=photometric, **options)
    return sink.getvalue()


def found(data: bytes) -> Pixels:
    return np.asarray(decode(data, CAP))


def grey(values: Pixels) -> Pixels:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=-1)


STORED: list[dict[str, Any]] = [
    {},
    {"byteorder": ">"},
    {"bigtiff": True},
    {"rowsperstrip": 5},
    {"tile": (16, 32)},
    {"tile": (16, 32), "compression": "zlib", "predictor": True},
    {"compression": "lzw"},
    {"compression": "lzw", "predictor": True, "byteorder": ">"},
    {"compression": "zlib", "rowsperstrip": 8},
    {"compression": "packbits"},
    {"compression": "zstd"},
    {"compression": "lzma"},
]


@pytest.mark.parametrize("stored", STORED, ids=str)
@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_grey(kind: str, white: bool, stored: dict[str, Any]) -> None:
    pixels = noise(kind)
    data = write(pixels, "miniswhite" if white else "minisblack", **stored)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), pixels)
    most = np.iinfo(kind).max
    shown = most - pixels if white else pixels
    expected = shown // 257 if kind == "u2" else shown
    np.testing.assert_array_equal(found(data), grey(expected))


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_full_range_of_32_bits(stored: dict[str, Any]) -> None:
    pixels = noise("u4")
    np.testing.assert_array_equal(found(write(pixels, **stored)), grey(pixels // 16843009))


@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(bits: int, white: bool) -> None:
    pixels = noise("u1", top=2**bits - 1)
    data = write(pixels, "miniswhite" if white else "minisblack", bitspersample=bits)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), pixels)
    shown = 2**bits - 1 - pixels if white else pixels
    np.testing.assert_array_equal(found(data), grey(shown * (255 // (2**bits - 1))))


@pytest.mark.parametrize("width", [52, 53])
def test_12_bits_packed(width: int) -> None:
    pixels = noise("u2", top=4095)[:, :width]
    data = write(pixels, bitspersample=12)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), pixels)
    np.testing.assert_array_equal(found(data), grey(pixels.astype(int) * 255 // 4095))


@pytest.mark.parametrize("stored", STORED, ids=str)
@pytest.mark.parametrize("extra", [None, "unspecified", "unassalpha"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_colour(kind: str, extra: str | None, stored: dict[str, Any]) -> None:
    pixels = noise(kind, 4 if extra else 3)
    options = {"extrasamples": [extra]} if extra else {}
    data = write(pixels, "rgb", **options, **stored)
    expected = pixels[..., :3] >> 8 if kind == "u2" else pixels[..., :3]
    np.testing.assert_array_equal(found(data), expected)


@pytest.mark.parametrize("stored", [{}, {"compression": "lzw"}, {"rowsperstrip": 5}], ids=str)
def test_planes(stored: dict[str, Any]) -> None:
    pixels = noise("u1", 3)
    data = write(pixels.transpose(2, 0, 1), "rgb", planarconfig="separate", **stored)
    np.testing.assert_array_equal(found(data), pixels)


def test_associated_alpha_is_divided_out() -> None:
    """Grey as colour: what was stored beneath alpha comes back, up to what rounding has lost."""
    plain, alpha = noise("u1"), np.maximum(noise("u1", 2)[..., 1], 128)
    stored = (plain.astype(int) * alpha + 127) // 255
    pair = np.stack([stored, alpha], axis=-1).astype(np.uint8)
    of_grey = found(write(pair, extrasamples=["assocalpha"], planarconfig="contig"))
    assert np.abs(of_grey[..., 0].astype(int) - plain).max() <= 1
    four = np.stack([stored, stored, stored, alpha], axis=-1).astype(np.uint8)
    of_colour = found(write(four, "rgb", extrasamples=["assocalpha"]))
    assert np.abs(of_grey.astype(int) - of_colour).max() <= 1


def test_grey_with_plain_alpha() -> None:
    pair = noise("u1", 2)
    data = write(pair, extrasamples=["unassalpha"], planarconfig="contig")
    np.testing.assert_array_equal(found(data), grey(pair[..., 0]))


@pytest.mark.parametrize("stored", [{}, {"byteorder": ">"}, {"compression": "lzw"}], ids=str)
def test_palette(stored: dict[str, Any]) -> None:
    colours = np.random.default_rng(1).integers(0, 2**16, (3, 256), dtype=np.uint16)
    pixels = noise("u1")
    data = write(pixels, "palette", colormap=colours, **stored)
    np.testing.assert_array_equal(found(data), (colours >> 8).T[pixels])


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_cmyk(kind: str) -> None:
    pixels = noise(kind, 4)
    inks = (pixels >> 8 if kind == "u2" else pixels).astype(int)
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    data = write(pixels, "separated")
    assert np.abs(found(data) - expected).max() <= 1


@pytest.mark.parametrize("photometric", ["ycbcr", "rgb"])
def test_jpeg_within(photometric: str) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(96))[..., None] + np.array([0, 20, 60])
    pixels = smooth.astype(np.uint8)
    data = write(pixels, photometric, compression="jpeg", compressionargs={"level": 95})
    assert np.abs(found(data).astype(int) - tifffile.imread(io.BytesIO(data))).max() <= 3


def test_first_page() -> None:
    pages = [noise("u2"), np.zeros(SHAPE, np.uint16)]
    sink = io.BytesIO()
    with tifffile.TiffWriter(sink) as writer:
        for page in pages:
            writer.write(page, photometric="miniswhite")
    np.testing.assert_array_equal(found(sink.getvalue()), grey((65535 - pages[0]) // 257))


def test_orientation_of_wide_grey() -> None:
    pixels = noise("u2")
    data = write(pixels, "miniswhite", extratags=[(274, 3, 1, 6, True)])
    turned = np.rot90((65535 - pixels) // 257, -1)
    np.testing.assert_array_equal(found(data), grey(turned))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(orientation: int) -> None:
    pixels = noise("u1")
    turned = [
        *(pixels, pixels[:, ::-1], pixels[::-1, ::-1], pixels[::-1]),
        *(pixels.T, np.rot90(pixels, -1), pixels[::-1, ::-1].T, np.rot90(pixels)),
    ][orientation - 1]
    data = write(pixels, extratags=[(274, 3, 1, orientation, True)])
    np.testing.assert_array_equal(found(data), grey(turned))


REFUSED: dict[str, tuple[bytes, str]] = {
    "int8": (write(noise("i1")), "signed samples"),
    "int16": (write(noise("i2")), "signed samples"),
    "int32": (write(noise("i4", top=255)), "signed samples"),
    "float32": (write(noise("u1").astype("f4")), "floating-point"),
    "float64": (write(noise("u1").astype("f8")), "floating-point"),
    "float16": (write(noise("u1").astype("f2")), "floating-point"),
    "white float": (write(noise("u1").astype("f4"), "miniswhite"), "floating-point"),
    "uint64": (write(noise("u8")), "unusual kind of pixel"),
    "white uint32": (write(noise("u4"), "miniswhite"), "unusual kind of pixel"),
    "five bands": (write(noise("u1", 5), planarconfig="contig"), "5 bands"),
    "rgb and two": (write(noise("u1", 5), "rgb", extrasamples=[0, 0]), "5 bands"),
    "bands in planes": (write(noise("u2", 8).transpose(2, 0, 1), planarconfig="separate"), "8 ban"),
    "two bands": (write(noise("u2", 2), planarconfig="contig"), "2 bands"),
    "wide in planes": (
        write(noise("u2", 3).transpose(2, 0, 1), "rgb", planarconfig="separate"),
        "in planes",
    ),
    "lab": (write(noise("u1", 3), "cielab"), "Lab"),
    "rgb of floats": (write(noise("u1", 3).astype("f4"), "rgb"), "floating-point"),
    "rgb of 32 bits": (write(noise("u4", 3), "rgb"), "unusual kind of pixel"),
    "palette of 16 bits": (
        write(noise("u2"), "palette", colormap=np.ones((3, 2**16), np.uint16)),
        "unusual kind of pixel",
    ),
    "palette of 8-bit colours": (
        write(noise("u1"), "palette", colormap=np.full((3, 256), 200, np.uint16)),
        "8-bit colours",
    ),
    "mask of bayer": (write(noise("u2"), "cfa"), "camera RAW"),
    "all would be black": (write(noise("u4", top=255)), "would all be black"),
    "predictor without one": (
        write(noise("u1", 3), "rgb", compression="packbits", predictor=True),
        "a predictor that its",
    ),
    "jpeg 2000 within": (write(noise("u1", 3), "rgb", compression="jpeg2000"), "JPEG 2000 compr"),
    "png within": (write(noise("u1", 3), "rgb", compression="png"), "PNG compression"),
    "webp within": (write(noise("u1", 3), "rgb", compression="webp"), "WebP compression"),
    "lerc within": (write(noise("u1", 3), "rgb", compression="lerc"), "LERC compression"),
    "jpeg xl within": (write(noise("u1", 3), "rgb", compression="jpegxl"), "JPEG XL"),
    "alpha beside inks": (
        write(noise("u1", 5), "separated", extrasamples=["unassalpha"]),
        "alpha beside inks",
    ),
    "bigtiff turned": (write(noise("u1"), bigtiff=True, byteorder=">"), "BigTIFF with the most"),
    "signed jpeg 2000 within": (write(noise("i2"), compression="zlib"), "signed samples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_layouts_without_a_rule(name: str) -> None:
    data, words = REFUSED[name]
    with pytest.raises(RejectedItem, match=words) as reject:
        decode(data, CAP)
    assert reject.value.reason is RejectReason.UNSUPPORTED
