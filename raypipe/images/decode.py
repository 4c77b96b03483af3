"""Decoding of bytes to RGB uint8, or a reject; no Ray.

One rule for each kind of image:

- The content tells the format; a file's name and extension do not matter.
- EXIF orientation is applied, unless it is to be ignored.
- The first frame of an animation (GIF, WebP, APNG) or a multi-page TIFF is taken.
- Grey and black-and-white become three equal channels; palettes are looked up.
- An alpha channel, and a transparent entry of a palette, are left out, not blended (as Pillow's and
  torchvision's `convert("RGB")`): the colour stored beneath is what counts.
- CMYK and YCbCr are converted by Pillow, without colour profiles. In a JPEG, CMYK is taken as
  inverted, as Adobe writes it.
- 16-bit and 32-bit integer grey is scaled from 0..65535 to 0..255, rounded down (x // 257). Of
  colour with 16 bits per channel Pillow keeps the upper 8 (x // 256).
- JPEGs (baseline, progressive, arithmetic) are decoded at full size, unless less will do (`least`).
- An array in .npy form of 8- or 16-bit unsigned integers, (H, W) or (H, W, 1, 3 or 4), is an image
  by the same rules: grey, RGB or RGB with alpha; 16 bits of either are scaled as x // 257.
- Anything else (floating point, LAB) has no such rule and is rejected.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from raypipe.config.types import Orientation
from raypipe.errors import RejectedItem, RejectReason

# This module has its own cap, checked per call; Pillow's would raise at a size of its own.
Image.MAX_IMAGE_PIXELS = None

# How to bring an image upright, by the value of the EXIF tag `Orientation`.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_CONVERTIBLE = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_WIDE_GREY = {"I", "I;16", "I;16L", "I;16B", "I;16N"}


def decode(
    data: bytes, max_pixels: int, least: int | None = None, orientation: Orientation = "exif"
) -> Image.Image:
    """Return the image as RGB with 8 bits per channel.

    Args:
        data: the file's bytes, in any format Pillow reads, or an array in .npy form.
        max_pixels: reject images with more pixels, before memory is taken for them.
        least: pixels that both sides must have; a JPEG may then be decoded at 1/2, 1/4 or 1/8.
        orientation: whether the image is turned as its EXIF says.

    Raises:
        RejectedItem: with the reason why there is no image.
    """
    if not data:
        raise RejectedItem(RejectReason.EMPTY, "the file has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata; what matters raises
            if data.startswith(np.lib.format.MAGIC_PREFIX):
                return _from_array(data, max_pixels)
            return _decode(data, max_pixels, least, orientation)
    except RejectedItem:
        raise
    except UnidentifiedImageError:
        _check_whole(data)
        # Without bytes of it: a source may name files that messages are not to show.
        raise RejectedItem(RejectReason.NOT_AN_IMAGE, "no known image format") from None
    except MemoryError:
        raise RejectedItem(RejectReason.TOO_LARGE, "out of memory while decoding") from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        _check_whole(data)
        raise RejectedItem(_reason(error), f"{type(error).__name__}: {error}") from None


def _decode(
    data: bytes, max_pixels: int, least: int | None, orientation: Orientation
) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(data))
    _check_size(*image.size, max_pixels)
    if least is not None:
        image.draft(None, (least, least))  # nothing, unless it is a JPEG
    image.load()
    if orientation == "exif":
        image = _upright(image)
    if image.mode == "RGB":
        return image
    if image.mode in _WIDE_GREY:
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray((wide // 257).astype(np.uint8))
    if image.mode not in _CONVERTIBLE:
        message = f"no rule to convert mode {image.mode!r} to RGB"
        raise RejectedItem(RejectReason.UNSUPPORTED, message)
    return image.convert("RGB")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        message = f"{width}×{height} pixels; the cap is {max_pixels}"
        raise RejectedItem(RejectReason.TOO_LARGE, message)


def _from_array(data: bytes, max_pixels: int) -> Image.Image:
    """Read an array in .npy form; its header says how large it is before its data is taken."""
    stream = io.BytesIO(data)
    shape, by_column, dtype = _array_header(stream)
    if dtype.kind != "u" or dtype.itemsize > 2 or not _is_image(shape):
        message = (
            "an array must be uint8 or uint16 of shape (H, W) or (H, W, 1, 3 or 4); "
            f"got {dtype} {shape}"
        )
        raise RejectedItem(RejectReason.UNSUPPORTED, message)
    _check_size(shape[1], shape[0], max_pixels)
    count, offset = math.prod(shape), stream.tell()
    if len(data) < offset + count * dtype.itemsize:
        message = f"the array's data has {len(data) - offset} of {count * dtype.itemsize} bytes"
        raise RejectedItem(RejectReason.TRUNCATED, message)
    flat = np.frombuffer(data, dtype, count, offset)
    pixels = np.atleast_3d(flat.reshape(shape, order="F" if by_column else "C"))
    narrow = (pixels // 257 if dtype.itemsize == 2 else pixels).astype(np.uint8)
    colours = np.broadcast_to(narrow[..., :3], (*shape[:2], 3))
    return Image.fromarray(np.ascontiguousarray(colours))


def _array_header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type; the stream is left where the data begins."""
    try:
        version = np.lib.format.read_magic(stream)
        if version > (2, 0):  # only for fields with names beyond Latin-1
            message = f"an array in version {version[0]} of the .npy format"
            raise RejectedItem(RejectReason.UNSUPPORTED, message)
        old = version < (2, 0)
        read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        return read(stream)
    except ValueError as error:
        short = "EOF" in str(error)  # NumPy's word for a header that ends too early
        reason = RejectReason.TRUNCATED if short else RejectReason.CORRUPT
        raise RejectedItem(reason, f"the array's header: {error}") from None


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) in (2, 3) and min(shape) > 0 and (*shape, 1)[2] in (1, 3, 4)


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF is no reason to lose an image."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # the block is parsed as it is found in the file
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _check_whole(data: bytes) -> None:
    """Tell a file that was cut short from other damage, where Pillow does not."""
    promised = _promised(data)
    if promised > len(data):
        message = f"the file has {len(data)} bytes; by its own header at least {promised}"
        raise RejectedItem(RejectReason.TRUNCATED, message)


def _promised(data: bytes) -> int:
    """Smallest length of the whole file by what its beginning says; 0 where it says nothing."""
    if data[:4] == b"RIFF" and len(data) >= 8:  # WebP
        return 8 + int.from_bytes(data[4:8], "little")
    if data[:4] in (b"II*\0", b"MM\0*") and len(data) >= 8:  # TIFF: where its directory lies
        return 2 + int.from_bytes(data[4:8], "little" if data[:1] == b"I" else "big")
    if data[4:8] != b"ftyp":
        return 0
    end = 0  # AVIF: a row of boxes, each with its length in front
    while end + 8 <= len(data) and (length := int.from_bytes(data[end : end + 4], "big")) >= 8:
        end += length
    return end


def _reason(error: Exception) -> RejectReason:
    text = str(error).lower()
    cut_short = "truncated" in text or "not processed" in text or isinstance(error, EOFError)
    return RejectReason.TRUNCATED if cut_short else RejectReason.CORRUPT
