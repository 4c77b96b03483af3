"""One rule for each kind of image, and one reason for each kind of damage."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from raypipe.errors import RejectedItem, RejectReason
from raypipe.images.decode import decode
from tests.conftest import draw

CAP = 10_000_000

# Three bars, 24×16, made with `jpegtran -arithmetic`.
ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsL"
    "EBYQERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
    "FBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAQABgDAREAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AMkX"
    "HgF7Jdu1ijTcPfffrlxm4Ep6D0kmEV4FIXVA/9k="
)
BARS = np.repeat([[(200, 30, 40), (20, 180, 60), (30, 60, 220)]], 8, axis=1).repeat(16, axis=0)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def rejected(data: bytes, cap: int = CAP) -> RejectedItem:
    with pytest.raises(RejectedItem) as found:
        decode(data, cap)
    return found.value


@pytest.fixture
def picture() -> Image.Image:
    return draw("circle", 1)


def test_rgb_is_unchanged(picture: Image.Image) -> None:
    decoded = decode(encode(picture), CAP)
    assert decoded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(picture))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_formats_by_content(picture: Image.Image, kind: str) -> None:
    assert decode(encode(picture, kind), CAP).size == picture.size


def test_grey_becomes_three_equal_channels(picture: Image.Image) -> None:
    pixels = np.asarray(decode(encode(picture.convert("L")), CAP))
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])
    np.testing.assert_array_equal(pixels[..., 0], np.asarray(picture.convert("L")))


def test_palette_is_looked_up(picture: Image.Image) -> None:
    palette = picture.quantize(16)
    decoded = decode(encode(palette), CAP)
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(palette.convert("RGB")))


def test_alpha_is_left_out_not_blended(picture: Image.Image) -> None:
    with_alpha = picture.copy()
    with_alpha.putalpha(0)
    decoded = decode(encode(with_alpha), CAP)
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(picture))


def test_cmyk(picture: Image.Image) -> None:
    decoded = decode(encode(picture.convert("CMYK"), "TIFF"), CAP)
    assert np.abs(np.asarray(decoded).astype(int) - np.asarray(picture)).max() <= 1


def test_exif_rotation_is_applied(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    decoded = decode(encode(picture, exif=exif), CAP)
    assert decoded.size == (picture.height, picture.width)
    turned = picture.transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(turned))


def test_exif_rotation_may_be_ignored(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(picture, exif=exif)
    decoded = decode(data, CAP, orientation="ignore")
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(picture))


def test_all_exif_orientations(picture: Image.Image) -> None:
    from PIL import ImageOps

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(picture, exif=exif)
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(np.asarray(decode(data, CAP)), np.asarray(expected))


def test_damaged_exif_is_no_reason_to_lose_a_rotated_image(picture: Image.Image) -> None:
    width_as_text = struct.pack("<HHI4s", 0x0100, 2, 4, b"abc")
    turned = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    head = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2)
    exif = head + width_as_text + turned + bytes(4)
    assert decode(encode(picture, "JPEG", exif=exif), CAP).size == picture.size[::-1]


def test_first_frame_of_an_animation(picture: Image.Image) -> None:
    other = draw("stripes", 2)
    data = encode(picture, "WEBP", save_all=True, append_images=[other], lossless=True)
    np.testing.assert_array_equal(np.asarray(decode(data, CAP)), np.asarray(picture))


def test_floating_point_has_no_rule() -> None:
    data = encode(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    assert rejected(data).reason is RejectReason.UNSUPPORTED


def test_empty_and_text_are_no_images() -> None:
    assert rejected(b"").reason is RejectReason.EMPTY
    reject = rejected(b"hello, world")
    assert reject.reason is RejectReason.NOT_AN_IMAGE
    assert "hello" not in reject.message


def test_corrupt_png(picture: Image.Image) -> None:
    data = bytearray(encode(picture))
    data[60:90] = bytes(30)
    assert rejected(bytes(data)).reason in (RejectReason.CORRUPT, RejectReason.TRUNCATED)


def test_bomb_is_rejected_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("1", (4000, 4000)))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    reject = rejected(data, cap=1_000_000)
    assert reject.reason is RejectReason.TOO_LARGE
    assert "4000×4000" in reject.message


def test_every_prefix_of_a_file_is_a_reject_or_an_image(picture: Image.Image) -> None:
    data = encode(picture, "JPEG")
    for length in range(0, len(data), 7):
        try:
            decode(data[:length], CAP)
        except RejectedItem:
            continue


def array(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, pixels, allow_pickle=True)
    return sink.getvalue()


def close(data: bytes, expected: Image.Image, most: int) -> bool:
    found = np.asarray(decode(data, CAP)).astype(int)
    return bool(np.abs(found - np.asarray(expected)).max() <= most)


def test_transparent_entry_of_a_palette_keeps_its_colour(picture: Image.Image) -> None:
    palette = picture.quantize(16)
    for kind in ("PNG", "GIF"):
        data = encode(palette, kind, transparency=0)
        assert close(data, palette.convert("RGB"), 0)


def test_cmyk_jpeg_is_inverted_as_adobe_writes_it(picture: Image.Image) -> None:
    data = encode(picture.convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in data
    assert close(data, picture, 4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(kind: str) -> None:
    wide = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    pixels = np.asarray(decode(encode(Image.fromarray(wide), kind), CAP))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_16_bit_colour_keeps_the_upper_8_bits() -> None:
    """Pillow cannot write such a PNG: three pixels, put together by hand."""
    row = np.array([[0, 255, 256], [511, 32895, 65535], [1, 512, 65279]], dtype=">u2")
    head = struct.pack(">IIBBBBB", 3, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in (
        (b"IHDR", head),
        (b"IDAT", zlib.compress(b"\0" + row.tobytes())),
        (b"IEND", b""),
    ):
        data += struct.pack(">I", len(body)) + name + body
        data += struct.pack(">I", zlib.crc32(name + body))
    pixels = np.asarray(decode(data, CAP))
    assert pixels[0].tolist() == (row // 256).tolist()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF"])
def test_first_frame_or_page(kind: str) -> None:
    first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    data = encode(first, kind, save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert close(data, first, 0)


def test_progressive_jpeg(picture: Image.Image) -> None:
    data = encode(picture, "JPEG", quality=90, progressive=True)
    assert Image.open(io.BytesIO(data)).info["progressive"]
    baseline = Image.open(io.BytesIO(encode(picture, "JPEG", quality=90)))
    assert close(data, baseline, 0)


def test_arithmetic_jpeg() -> None:
    assert close(base64.b64decode(ARITHMETIC), Image.fromarray(BARS.astype(np.uint8)), 1)


def test_jpeg_is_not_scaled_while_decoding(
    picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "PIL.JpegImagePlugin.JpegImageFile.draft", lambda *_: pytest.fail("draft mode")
    )
    assert decode(encode(picture, "JPEG"), CAP).size == picture.size


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", None])
def test_tiff_compressions(picture: Image.Image, compression: str | None) -> None:
    assert close(encode(picture, "TIFF", compression=compression), picture, 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_black_and_white(picture: Image.Image, kind: str) -> None:
    dark = picture.convert("1")
    assert close(encode(dark, kind), dark.convert("RGB"), 0)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_modern_formats(kind: str) -> None:
    smooth = Image.radial_gradient("L").convert("RGB")
    assert close(encode(smooth, kind, quality=95), smooth, 12)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "LZW"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_short_in_every_format(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    options = {"compression": "tiff_lzw"} if kind == "LZW" else {}
    data = encode(Image.fromarray(noise), "TIFF" if kind == "LZW" else kind, **options)
    assert rejected(data[: int(share * len(data))]).reason is RejectReason.TRUNCATED


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2"])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_arrays(order: str, kind: str, channels: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0)
    pixels = noise.integers(0, np.iinfo(kind).max, (5, 7, *channels), endpoint=True).astype(kind)
    found = np.asarray(decode(array(np.asarray(pixels, order=order)), CAP))
    narrow = pixels if kind == "u1" else pixels // 257
    if channels in ((), (1,)):
        narrow = np.stack([narrow.reshape(5, 7)] * 3, axis=-1)
    np.testing.assert_array_equal(found, narrow[..., :3])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.int16),
        np.zeros((4, 4), np.uint32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((), np.uint8),
        np.zeros((4, 4), [("red", "u1")]),
        np.array([[{"a": 1}]]),
    ],
    ids=str,
)
def test_other_arrays_have_no_rule(pixels: np.ndarray) -> None:
    reject = rejected(array(pixels))
    assert reject.reason is RejectReason.UNSUPPORTED
    assert "uint8 or uint16 of shape (H, W)" in reject.message


def test_array_beyond_the_cap_is_rejected_by_its_header() -> None:
    header = array(np.zeros((2, 3), np.uint8))[:-6].replace(b"(2, 3)", b"(99999, 99999)")
    reject = rejected(header)
    assert reject.reason is RejectReason.TOO_LARGE
    assert "99999×99999" in reject.message


def test_array_cut_short_or_damaged() -> None:
    data = array(np.zeros((8, 8, 3), np.uint8))
    for length in range(6, len(data)):
        assert rejected(data[:length]).reason is RejectReason.TRUNCATED, length
    assert rejected(data.replace(b"shape", b"ship}")).reason is RejectReason.CORRUPT
    assert rejected(data[:6] + b"\x09\x00" + data[8:]).reason is RejectReason.UNSUPPORTED


def test_fewer_pixels_where_they_will_do(picture: Image.Image) -> None:
    """Of JPEGs only, never less than asked for, and upright; the cap is on the whole image."""
    large = picture.resize((400, 304))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(large, "JPEG", exif=exif)
    for least, size in ((304, (304, 400)), (152, (152, 200)), (100, (152, 200)), (30, (38, 50))):
        assert decode(data, CAP, least).size == size
    assert decode(encode(large, "PNG"), CAP, 30).size == large.size
    with pytest.raises(RejectedItem, match="400×304 pixels"):
        decode(data, 400 * 304 - 1, 30)
