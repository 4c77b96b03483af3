"""One rule for each kind of image, and one reason for each kind of damage."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from raypipe.decode import decode
from raypipe.errors import RejectedItem, RejectReason
from tests.conftest import draw

CAP = 10_000_000


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


def test_16_bit_grey_is_scaled() -> None:
    wide = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    pixels = np.asarray(decode(encode(Image.fromarray(wide)), CAP))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_exif_rotation_is_applied(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    decoded = decode(encode(picture, exif=exif), CAP)
    assert decoded.size == (picture.height, picture.width)
    turned = picture.transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(turned))


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


def test_empty() -> None:
    assert rejected(b"").reason is RejectReason.EMPTY


def test_text_is_no_image() -> None:
    reject = rejected(b"hello, world")
    assert reject.reason is RejectReason.NOT_AN_IMAGE
    assert "hello" in reject.message


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated(picture: Image.Image, kind: str) -> None:
    data = encode(picture, kind)
    assert rejected(data[: len(data) * 2 // 3]).reason is RejectReason.TRUNCATED


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
