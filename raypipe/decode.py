"""bytes → RGB uint8 or a reject; no Ray.

One rule for each kind of image:

- EXIF orientation is applied.
- The first frame of an animation or a multi-page file is taken.
- Grey becomes three equal channels; palettes are looked up.
- An alpha channel is left out, not blended (as Pillow's and torchvision's `convert("RGB")`).
- CMYK and YCbCr are converted by Pillow, without colour profiles.
- 16-bit and 32-bit integer grey is scaled from 0..65535 to 0..255.
- Anything else (floating point, LAB) has no such rule and is rejected.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from raypipe.errors import RejectedItem, RejectReason

__all__ = ["decode"]

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


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Return the image as RGB with 8 bits per channel.

    Args:
        data: the file's bytes, in any format Pillow reads.
        max_pixels: reject images with more pixels, before memory is taken for them.

    Raises:
        RejectedItem: with the reason why there is no image.
    """
    if not data:
        raise RejectedItem(RejectReason.EMPTY, "the file has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata; what matters raises
            return _decode(data, max_pixels)
    except RejectedItem:
        raise
    except UnidentifiedImageError:
        message = f"no known image format; the file starts with {data[:8]!r}"
        raise RejectedItem(RejectReason.NOT_AN_IMAGE, message) from None
    except MemoryError:
        raise RejectedItem(RejectReason.TOO_LARGE, "out of memory while decoding") from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise RejectedItem(_reason(error), f"{type(error).__name__}: {error}") from None


def _decode(data: bytes, max_pixels: int) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(data))
    width, height = image.size
    if width * height > max_pixels:
        message = f"{width}×{height} pixels; the cap is {max_pixels}"
        raise RejectedItem(RejectReason.TOO_LARGE, message)
    image.load()
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


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF is no reason to lose an image."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # the block is parsed as it is found in the file
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _reason(error: Exception) -> RejectReason:
    text = str(error).lower()
    cut_short = "truncated" in text or "not processed" in text or isinstance(error, EOFError)
    return RejectReason.TRUNCATED if cut_short else RejectReason.CORRUPT
