"""Each format has the pixels of another decoder; all others are refused by name."""

from __future__ import annotations

import io
import struct
import sys
import tarfile
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from raypipe.errors import RejectedItem, RejectReason
from raypipe.images.decode import decode
from raypipe.images.formats import DECODED, format_of

CAP = 10**7
Pixels = npt.NDArray[np.generic]


def smooth(height: int = 48, width: int = 70) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * x, 5 * y, x + 2 * y], axis=-1).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def found(data: bytes) -> npt.NDArray[np.int64]:
    return np.asarray(decode(data, CAP)).astype(int)


def by_opencv(data: bytes) -> npt.NDArray[np.int64]:
    """Return (H, W, 3) as OpenCV decodes it: upright, in 8 bits, without alpha."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return image[..., ::-1].astype(int)


RGB = Image.fromarray(smooth())
GREY, ALPHA, DARK = RGB.convert("L"), RGB.convert("RGBA"), RGB.convert("1")
WIDE = Image.fromarray(np.arange(48 * 70, dtype=np.uint16).reshape(48, 70) * 19)
PALETTE = RGB.quantize(32)


def colour_png(dtype: str = "u2") -> bytes:
    done, data = cv2.imencode(".png", smooth().astype(dtype) * 257)
    assert done
    return data.tobytes()


#: Name: the file, and by how much of 255 decoders may differ.
READ: dict[str, tuple[bytes, int]] = {
    "JPEG": (saved(RGB, "JPEG", quality=90), 2),
    "JPEG grey": (saved(GREY, "JPEG"), 2),
    "JPEG progressive": (saved(RGB, "JPEG", progressive=True), 2),
    "JPEG 4:4:4": (saved(RGB, "JPEG", subsampling=0), 2),
    "MPO": (saved(RGB, "MPO", save_all=True, append_images=[GREY.convert("RGB")]), 2),
    "PNG": (saved(RGB, "PNG"), 0),
    "PNG grey": (saved(GREY, "PNG"), 0),
    "PNG alpha": (saved(ALPHA, "PNG"), 0),
    "PNG grey alpha": (saved(RGB.convert("LA"), "PNG"), 0),
    "PNG palette": (saved(PALETTE, "PNG"), 0),
    "PNG 1 bit": (saved(DARK, "PNG"), 0),
    "PNG 16 bits": (saved(WIDE, "PNG"), 1),
    "PNG colour of 16 bits": (colour_png(), 1),
    "APNG": (saved(RGB, "PNG", save_all=True, append_images=[ALPHA.convert("RGB")]), 0),
    "GIF": (saved(PALETTE, "GIF"), 0),
    "WEBP lossless": (saved(RGB, "WEBP", lossless=True), 0),
    "WEBP": (saved(RGB, "WEBP", quality=95), 2),
    "BMP": (saved(RGB, "BMP"), 0),
    "BMP palette": (saved(PALETTE, "BMP"), 0),
    "BMP grey": (saved(GREY, "BMP"), 0),
    "BMP 1 bit": (saved(DARK, "BMP"), 0),
    "AVIF": (saved(RGB, "AVIF", quality=95), 4),
    "JPEG2000": (saved(RGB, "JPEG2000"), 1),
    "JPEG2000 grey": (saved(GREY, "JPEG2000"), 1),
    "JPEG2000 codestream": (saved(RGB, "JPEG2000", no_jp2=True), 1),
    "PPM": (saved(RGB, "PPM"), 0),
    "PGM": (saved(GREY, "PPM"), 0),
    "PBM": (saved(DARK, "PPM"), 0),
    "PGM plain": (b"P2 3 2 255\n0 10 20\n30 40 255\n", 0),
    "PPM plain": (b"P3 # a comment\n2 1 255 1 2 3 4 5 6\n", 0),
    "TIFF": (saved(RGB, "TIFF"), 0),
    "TIFF 16 bits": (saved(WIDE, "TIFF"), 1),
}


@pytest.mark.parametrize("name", READ)
def test_as_opencv(name: str) -> None:
    data, most = READ[name]
    assert np.abs(found(data) - by_opencv(data)).max() <= most


def test_qoi() -> None:
    data = imagecodecs.qoi_encode(smooth())
    np.testing.assert_array_equal(found(data), smooth())


@pytest.mark.parametrize("bits", [12, 16])
def test_wide_jpeg_2000(bits: int) -> None:
    wide = (np.arange(48 * 70).reshape(48, 70) % 2**bits).astype(np.uint16)
    data = imagecodecs.jpeg2k_encode(wide, level=0, bitspersample=bits, reversible=True)
    expected = imagecodecs.jpeg2k_decode(data).astype(int) * 255 // (2**bits - 1)
    assert np.abs(found(data)[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("most", [15, 1000, 65535])
def test_netpbm_of_any_range(most: int) -> None:
    values = np.linspace(0, most, 200).astype(">u2" if most > 255 else "u1").reshape(10, 20)
    data = b"P5 20 10 %d\n" % most + values.tobytes()
    assert np.abs(found(data)[..., 0] - values.astype(int) * 255 // most).max() <= 1


def test_all_that_is_decoded_is_compared() -> None:
    assert {format_of(data) for data, _ in READ.values()} | {"QOI"} == set(DECODED)


def shard(mode: str) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as tar:
        member = tarfile.TarInfo("a.png")
        tar.addfile(member, io.BytesIO())
    return sink.getvalue()


def jpeg_2000(dtype: str, bits: int) -> bytes:
    grey = smooth()[..., 0].astype(dtype)
    return imagecodecs.jpeg2k_encode(grey, level=0, codecformat="j2k", bitspersample=bits)


HEIC = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic"
OTHERS: dict[str, tuple[bytes, str]] = {
    "heic": (HEIC, "HEIC.*raypipe.images.heif:decode_heif"),
    "jxl": (imagecodecs.jpegxl_encode(smooth()), "JPEG XL"),
    "jxl container": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    "dicom": (bytes(128) + b"DICM" + bytes(50), "DICOM.*pydicom"),
    "pdf": (b"%PDF-1.7\n", "PDF"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "svg with head": (b'<?xml version="1.0"?>\n<svg width="2"/>', "SVG"),
    "html": (b"<!DOCTYPE html><html>no such page</html>", "HTML"),
    "json": (b'{"error": "no such object"}', "JSON"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS.*git lfs pull"),
    "bz2": (shard("w:bz2"), "bzip2"),
    "xz": (shard("w:xz"), "xz archive"),
    "gz": (shard("w:gz"), "gzip"),
    "tar": (shard("w"), "tar archive"),
    "zst": (imagecodecs.zstd_encode(b"x" * 100), "Zstandard"),
    "zip": (b"PK\3\4" + bytes(30), "zip archive"),
    "cr2": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "camera RAW"),
    "cr3": (struct.pack(">I", 24) + b"ftypcrx " + bytes(30), "camera RAW"),
    "raf": (b"FUJIFILMCCD-RAW " + bytes(40), "camera RAW"),
    "psd": (b"8BPS\0\1" + bytes(40), "Photoshop"),
    "exr": (b"v/1\x01" + bytes(40), "OpenEXR"),
    "hdr": (b"#?RADIANCE\n", "Radiance"),
    "dds": (b"DDS " + bytes(124), "DDS"),
    "blp": (b"BLP2" + bytes(200), "BLP"),
    "fli": (b"\0\1\0\0\x11\xaf" + bytes(128), "FLI"),
    "ico": (saved(RGB, "ICO"), "ICO"),
    "sgi": (saved(RGB, "SGI"), "SGI"),
    "pfm": (b"Pf\n2 2\n-1.0\n" + bytes(16), "PFM"),
    "fits": (b"SIMPLE  =                    T", "FITS"),
    "mp4": (struct.pack(">I", 24) + b"ftypisom" + bytes(30), "video"),
    "jpeg xr": (imagecodecs.jpegxr_encode(smooth()), "JPEG XR"),
    "jpeg of 12 bits": (
        imagecodecs.jpeg_encode(smooth().astype("u2"), bitspersample=12),
        "12 bits",
    ),
    "lossless jpeg": (imagecodecs.ljpeg_encode(smooth()[..., 0].astype("u2")), "lossless JPEG"),
    "jpeg-ls": (imagecodecs.jpegls_encode(smooth()), "JPEG-LS"),
    "signed jpeg 2000": (jpeg_2000("i2", 16), "JPEG 2000 of signed samples"),
    "deep jpeg 2000": (jpeg_2000("u4", 20), "JPEG 2000 of 20 bits"),
    "pam": (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n0", "PAM"),
    "tga": (bytes(60) + b"TRUEVISION-XFILE.\0", "TGA"),
    "nothing": (b"hello, world", "no known image format"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_named(name: str) -> None:
    data, words = OTHERS[name]
    with pytest.raises(RejectedItem, match=words) as reject:
        decode(data, CAP)
    assert reject.value.reason in (RejectReason.NOT_AN_IMAGE, RejectReason.UNSUPPORTED)


def test_no_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that Pillow would start for PostScript leaves a mark; and audit hooks see none."""
    mark = tmp_path / "started"
    for name in ("gs", "gswin64c"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    Image.init()  # as another library may have done: all of Pillow's formats are known then
    drawn = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"
    for data in (drawn, b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(drawn)) + drawn):
        with pytest.raises(RejectedItem, match="PostScript"):
            decode(data, CAP)
    assert not mark.exists()
    assert sys.modules["PIL.EpsImagePlugin"]
