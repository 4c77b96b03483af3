"""Memory that an image takes while it is decoded, known from its header."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from raypipe.errors import RejectedItem, RejectReason
from raypipe.images.clock import waiting
from raypipe.memory import readable

#: What decoding one image may take: what is found to need more is rejected by its header.
BUDGET = 2**30
#: What needs more is decoded by one process of a node at a time.
_LARGE = 160 * 2**20

#: Pixels that are copied at a time.
BAND = 2**20

#: Bytes of a pixel as Pillow holds it; four for what is not named.
_OF_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
#: Bytes that a decoder takes for each pixel beside that, measured with images of 40 megapixels: of
#: a frame, of coefficients, of samples in 32 bits.
_OF_FORMAT = {"WEBP": 8, "AVIF": 14, "JPEG2000": 20, "GIF": 2, "PPM": 3, "QOI": 4, "BMP": 1}
_PROGRESSIVE = 6
#: Of an RGB image; it is resized a band at a time.
_OF_RGB = 4


def need(image: Image.Image) -> int:
    """Return about how many bytes it takes to decode an opened image, to make RGB of it, and so on.

    Nothing is read for that but the header.
    """
    decoding = _OF_MODE.get(image.mode, 4) + _OF_FORMAT.get(image.format or "", 0)
    if image.info.get("progressive") or image.info.get("progression"):
        decoding += _PROGRESSIVE
    converting = 0 if image.mode == "RGB" else _OF_RGB + image.mode.startswith("I")
    return image.width * image.height * (decoding + converting)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Reject an image of more pixels than allowed.

    Raises:
        RejectedItem: it has.
    """
    if width * height > max_pixels:
        message = f"{width}×{height} pixels; the cap is {max_pixels}"
        raise RejectedItem(RejectReason.TOO_LARGE, message)


def check_need(image: Image.Image) -> int:
    """Return what an opened image needs.

    Raises:
        RejectedItem: it is more than decoding may take.
    """
    needed = need(image)
    if needed > BUDGET:
        message = (
            f"{image.width}×{image.height} pixels of {image.format} {image.mode} take about "
            f"{readable(needed)} to decode; at most {readable(BUDGET)} are given; scale it down"
        )
        raise RejectedItem(RejectReason.TOO_LARGE, message)
    return needed


@contextlib.contextmanager
def in_turn(needed: int) -> Iterator[None]:
    """Wait, if an image is large, until no other process of this node decodes a large one.

    The lock goes with its process, however that ends.
    """
    if needed <= _LARGE:
        yield
        return
    path = Path(tempfile.gettempdir()) / f"raypipe-large-images-{os.getuid()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with waiting():
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def band(image: Image.Image, top: int, bottom: int) -> npt.NDArray[np.uint8]:
    """Return the pixels of an RGB image between two lines: (H, W, 3)."""
    return np.asarray(image.crop((0, top, image.width, min(image.height, bottom))))


def in_bands(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) pixels of an RGB image, copied a part at a time, for less memory."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    step = max(1, BAND // image.width)
    for top in range(0, image.height, step):
        pixels[top : top + step] = band(image, top, top + step)
    return pixels
