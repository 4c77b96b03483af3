"""Decoding of bytes to RGB uint8, or a reject; no Ray.

One rule for each kind of image:

- The content tells the format, one of `formats.DECODED`; a file's name and extension do not matter.
  Other formats are rejected by name, and a decoder of one's own may read them (`decoders`).
- EXIF orientation is applied, unless it is to be ignored.
- The first frame of an animation (GIF, WebP, APNG, AVIF) or a multi-page TIFF is taken.
- Grey and black-and-white become three equal channels; palettes are looked up.
- An alpha channel, and a transparent entry of a palette, are left out, not blended (as Pillow's and
  torchvision's `convert("RGB")`): the colour stored beneath is what counts. Associated alpha of a
  TIFF is divided out.
- CMYK and YCbCr are converted by Pillow, without colour profiles. In a JPEG, CMYK is taken as
  inverted, as Adobe writes it.
- Grey of n > 8 bits is scaled by its whole range, rounded down (x · 255 // (2ⁿ - 1)). Of colour
  with 16 bits per channel Pillow keeps the upper 8 (x // 256).
- What samples of a TIFF mean is read from its tags (`tiff`), not from Pillow's mode.
- JPEGs (baseline, progressive, arithmetic) are decoded at full size, unless less will do (`least`).
- An array in .npy form of 8- or 16-bit unsigned integers, (H, W) or (H, W, 1, 3 or 4), is an image
  by the same rules: grey, RGB or RGB with alpha; 16 bits of either are scaled as x // 257.
- Anything else (floating point, signed integers, LAB, further bands) has no rule and is rejected.
- What decoding takes is known from the header; what takes too much is rejected (`need`).
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from raypipe.config.types import Orientation
from raypipe.errors import RejectedItem, RejectReason, UsageError
from raypipe.images.codestreams import check_jpeg_2000
from raypipe.images.decoders import decode_by
from raypipe.images.formats import format_of, refusal
from raypipe.images.need import check_need, check_size, in_turn
from raypipe.images.npy import from_array
from raypipe.images.tiff import WIDE_GREY, Layout, check_layout, grey_levels

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

_CONVERTIBLE = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
#: What wide grey of other formats is taken as.
_WIDE = Layout(1, (16,), 1, (), False, 1, False, 1, False)


def decode(
    data: bytes,
    max_pixels: int,
    least: int | None = None,
    orientation: Orientation = "exif",
    decoders: tuple[str, ...] = (),
) -> Image.Image:
    """Return the image as RGB with 8 bits per channel.

    Args:
        data: the file's bytes, in a format of `formats.DECODED`, or an array in .npy form.
        max_pixels: reject images with more pixels, before memory is taken for them.
        least: pixels that both sides must have; a JPEG may then be decoded at 1/2, 1/4 or 1/8.
        orientation: whether the image is turned as its EXIF says.
        decoders: of one's own, which are asked first; see `load_decoder`.

    Raises:
        RejectedItem: with the reason why there is no image.
        UsageError: there is no such decoder.
    """
    if not data:
        raise RejectedItem(RejectReason.EMPTY, "the file has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata; what matters raises
            if decoders and (found := decode_by(decoders, data, max_pixels)) is not None:
                return found
            if data.startswith(np.lib.format.MAGIC_PREFIX):
                return from_array(data, max_pixels)
            return _decode(data, max_pixels, least, orientation)
    except (RejectedItem, UsageError):
        raise
    except UnidentifiedImageError:
        _check_whole(data)
        raise refusal(data) from None
    except MemoryError:
        raise RejectedItem(RejectReason.TOO_LARGE, "out of memory while decoding") from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        _check_whole(data)
        raise RejectedItem(_reason(error), f"{type(error).__name__}: {error}") from None


def _decode(
    data: bytes, max_pixels: int, least: int | None, orientation: Orientation
) -> Image.Image:
    form = format_of(data)
    if form is None:
        raise UnidentifiedImageError
    layout = check_layout(data) if form == "TIFF" else None
    if form == "JPEG2000":
        check_jpeg_2000(data)
    image: Image.Image = Image.open(io.BytesIO(data), formats=[form])
    check_size(*image.size, max_pixels)
    if least is not None:
        image.draft(None, (least, least))  # nothing, unless it is a JPEG
    with in_turn(check_need(image)):
        image.load()
        return _to_rgb(_upright(image) if orientation == "exif" else image, layout)


def _to_rgb(image: Image.Image, layout: Layout | None) -> Image.Image:
    if image.mode == "RGB":
        return image
    if layout is not None or image.mode in WIDE_GREY:
        image = grey_levels(image, layout or _WIDE)
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
