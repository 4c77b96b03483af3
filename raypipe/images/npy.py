"""Images in .npy form."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from PIL import Image

from raypipe.errors import RejectedItem, RejectReason
from raypipe.images.need import check_size

_PIXELS_AT_ONCE = 2**20


def from_array(data: bytes, max_pixels: int) -> Image.Image:
    """Read an array in .npy form; its header says how large it is before its data is taken.

    Raises:
        RejectedItem: it is no image, too large, or damaged.
    """
    stream = io.BytesIO(data)
    shape, by_column, dtype = _array_header(stream)
    if dtype.kind != "u" or dtype.itemsize > 2 or not _is_image(shape):
        message = (
            "an array must be uint8 or uint16 of shape (H, W) or (H, W, 1, 3 or 4); "
            f"got {dtype} {shape}"
        )
        raise RejectedItem(RejectReason.UNSUPPORTED, message)
    check_size(shape[1], shape[0], max_pixels)
    count, offset = math.prod(shape), stream.tell()
    if len(data) < offset + count * dtype.itemsize:
        message = f"the array's data has {len(data) - offset} of {count * dtype.itemsize} bytes"
        raise RejectedItem(RejectReason.TRUNCATED, message)
    flat = np.frombuffer(data, dtype, count, offset)
    return from_pixels(flat.reshape(shape, order="F" if by_column else "C"))


def from_pixels(pixels: np.ndarray[Any, Any]) -> Image.Image:
    """Return an RGB image of (H, W) or (H, W, 1, 3 or 4) uint8 or uint16; alpha is left out."""
    pixels = np.atleast_3d(pixels)[..., :3]
    whole = np.empty((*pixels.shape[:2], 3), np.uint8)
    step = max(1, _PIXELS_AT_ONCE // pixels.shape[1])
    for top in range(0, len(pixels), step):
        rows = pixels[top : top + step]
        whole[top : top + step] = rows // 257 if pixels.dtype.itemsize == 2 else rows
    return Image.fromarray(whole)


def is_image(pixels: np.ndarray[Any, Any]) -> bool:
    """Whether `from_pixels` takes an array: (H, W) or (H, W, 1, 3 or 4) uint8 or uint16."""
    return pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2 and _is_image(pixels.shape)


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
