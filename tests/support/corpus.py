"""A corpus of images as they should not be: every format, mode and damage, and bombs.

All of it is made from a seed, in a minute or so: `python -m tests.support.corpus FOLDER`.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

_SIDE = (60, 80)
_NAMED = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "html": b"<!DOCTYPE html><html>404</html>",
    "json": b'{"error": 404}',
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
    "pdf": b"%PDF-1.7\n" + bytes(100),
    "dicom": bytes(128) + b"DICM" + bytes(100),
    "blp": b"BLP2" + struct.pack("<IBBBBII", 1, 1, 0, 0, 0, 60000, 60000) + bytes(1200),
    "dds": b"DDS " + struct.pack("<IIII", 124, 0x1007, 60000, 60000) + bytes(112),
    "fli": struct.pack("<IHHHH", 200, 0xAF12, 1, 60000, 60000) + bytes(200),
    "heic": struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic",
    "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HII", 3, 30000, 30000) + bytes(60),
    "text": b"hello, world",
    "empty": b"",
}


def _picture() -> Image.Image:
    y, x = np.mgrid[: _SIDE[0], : _SIDE[1]]
    grain = np.random.default_rng(0).integers(0, 30, (*_SIDE, 3))
    waves = np.stack([3 * x, 4 * y, x + 2 * y], axis=-1) % 220
    return Image.fromarray((waves + grain).astype(np.uint8))


def _by_pillow() -> Iterator[tuple[str, bytes]]:
    rgb = _picture()
    modes = {mode: rgb.convert(mode) for mode in ("1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")}
    modes["P"] = rgb.quantize(32)
    modes["I;16"] = Image.fromarray(np.asarray(modes["L"]).astype(np.uint16) * 257)
    kinds: dict[str, tuple[str, ...]] = {
        "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "GIF": ("1", "L", "P", "RGB"),
        "WEBP": ("RGB", "RGBA"),
        "BMP": ("1", "L", "P", "RGB", "RGBA"),
        "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"),
        "AVIF": ("L", "RGB", "RGBA"),
        "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
        "PPM": ("1", "L", "RGB", "I;16"),
        "QOI": ("RGB", "RGBA"),
        "ICO": ("RGB",),
        "TGA": ("RGB",),
        "SGI": ("L", "RGB"),
    }
    for kind, of_kind in kinds.items():
        for mode in of_kind:
            sink = io.BytesIO()
            modes[mode].save(sink, kind)
            yield f"{kind.lower()}-{mode.replace(';', '')}", sink.getvalue()
    for name, options in {"progressive": {"progressive": True}, "444": {"subsampling": 0}}.items():
        sink = io.BytesIO()
        rgb.save(sink, "JPEG", **options)
        yield f"jpeg-{name}", sink.getvalue()


def _by_tifffile() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    for dtype in ("u1", "u2", "u4", "i1", "i2", "i4", "f4"):
        for photometric, channels in (("minisblack", ()), ("miniswhite", ()), ("rgb", (3,))):
            for compression in (None, "lzw", "zlib"):
                pixels = rng.integers(0, 100, (*_SIDE, *channels)).astype(dtype)
                sink = io.BytesIO()
                tifffile.imwrite(sink, pixels, photometric=photometric, compression=compression)
                yield f"tiff-{dtype}-{photometric}-{compression}", sink.getvalue()


def _damages(data: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(seed)
    yield "whole", data
    yield "longer", data + rng.bytes(64)
    for share in (2, 20, 50, 80, 98):
        yield f"cut-{share}", data[: share * len(data) // 100]
    for number in range(4):
        changed = bytearray(data)
        where = range(min(8, len(data) - 1), len(data)) if number else range(4, min(64, len(data)))
        for at in rng.choice(list(where), min(6, len(where)), replace=False):
            changed[at] = rng.integers(256)
        yield f"changed-{number}", bytes(changed)
    middle = len(data) // 2
    yield "blank", data[:middle] + bytes(min(64, len(data) - middle)) + data[middle + 64 :]


def _png(width: int, height: int, depth: int, colour: int) -> bytes:
    """Return a PNG without anything in it but zeros, which pack a thousand to one."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    line = bytes(1 + (width * depth * channels + 7) // 8)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    data = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    for name, chunk in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b"")):
        data += struct.pack(">I", len(chunk)) + name + chunk
        data += struct.pack(">I", zlib.crc32(name + chunk))
    return data


def _tiff(side: int, dtype: str, **options: object) -> bytes:
    sink = io.BytesIO()
    blank = np.zeros((side, side), dtype)
    tifffile.imwrite(sink, blank, photometric="minisblack", compression="zlib", **options)
    return sink.getvalue()


def _saved(size: tuple[int, int], mode: str, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    Image.new(mode, size).save(sink, kind, **options)
    return sink.getvalue()


def _wider(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


def _jpeg_2000() -> bytes:
    size = struct.pack(">II", 64, 64)
    data = _saved((64, 64), "RGB", "JPEG2000", no_jp2=True)
    return _wider(data, size, struct.pack(">II", 13000, 12000))


#: What takes memory or time far beyond its size. Those with "slow" in their name take time.
BOMBS: dict[str, Callable[[], bytes]] = {
    "png-beyond-the-cap": lambda: _png(30000, 30000, 1, 0),
    "png-wide-grey": lambda: _png(10000, 10000, 16, 0),
    "png-wide-grey-again": lambda: _png(10000, 9999, 16, 0),
    "png-rgba": lambda: _png(9000, 9000, 8, 6),
    "png-wide-colour": lambda: _png(12000, 14000, 16, 2),
    "png-long": lambda: _png(2, 3_000_000, 8, 2),
    "jpeg": lambda: _saved((12000, 12000), "RGB", "JPEG"),
    "jpeg-progressive": lambda: _saved((9000, 9000), "RGB", "JPEG", progressive=True),
    "webp": lambda: _saved((16000, 9000), "RGB", "WEBP", lossless=True, method=0, quality=0),
    "gif": lambda: _saved((14000, 12000), "P", "GIF"),
    "tiff-wide-grey": lambda: _tiff(12000, "u2"),
    "tiff-32-bits": lambda: _tiff(11000, "u4"),
    "tiff-tiles": lambda: _tiff(12000, "u1", tile=(1024, 1024)),
    "bmp-rle": lambda: _bmp_rle(13000, 13000),
    "jpeg2000": _jpeg_2000,
    "npy": lambda: (
        b"\x93NUMPY\x01\0\x76\0"
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999, 99999)}".ljust(117)
        + b"\n"
    ),
    "qoi-slow": lambda: imagecodecs.qoi_encode(np.zeros((9000, 9000, 3), np.uint8)),
    "ppm-slow": lambda: b"P3 8000 8000 255\n" + b"1 " * 15_000_000,
}


def _bmp_rle(width: int, height: int) -> bytes:
    """Return a BMP that is one colour but for its first line."""
    lines = b"\xff\0" * (width // 255) + b"\0\0" + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(lines), 0, 0, 256, 0)
    start = 14 + len(head) + 1024
    file = struct.pack("<2sIHHI", b"BM", start + len(lines), 0, 0, start)
    return file + head + bytes(1024) + lines


def write_corpus(folder: Path, *, every: int = 1) -> int:
    """Write the corpus below a folder, or every nth file and bomb; return how many files it has."""
    written = 0
    whole = [*_by_pillow(), *_by_tifffile()]
    files = [
        (f"{n}.{how}", data) for n, d in whole for how, data in _damages(d, zlib.crc32(n.encode()))
    ]
    files += [(f"{name}.named", data) for name, data in _NAMED.items()]
    for name, data in files[::every]:
        written += _write(folder, name, data)
    for name in list(BOMBS)[::every]:
        written += _write(folder, f"bomb-{name}", BOMBS[name]())
    return written


def _write(folder: Path, name: str, data: bytes) -> int:
    kind, _, rest = name.partition("-")
    path = folder / kind.partition(".")[0] / f"{rest or name}.img"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return 1


if __name__ == "__main__":
    print(write_corpus(Path(sys.argv[1])), "files")
