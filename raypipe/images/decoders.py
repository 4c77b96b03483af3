"""Decoders of one's own, for formats that are not decoded here: `--decoder module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from raypipe.errors import RejectedItem, RejectReason, UsageError
from raypipe.images.need import check_size
from raypipe.images.npy import from_pixels, is_image

Decoder = Callable[[bytes, int], Any]


@lru_cache(maxsize=32)
def load_decoder(name: str) -> Decoder:
    """Return the function of `module:function`.

    It is called with a file's bytes and the cap on pixels, and returns None if they are not of its
    format; else an upright Pillow image of mode L or RGB, or an array (H, W) or (H, W, 1, 3 or 4)
    of uint8, or of uint16 over the whole range. It may raise `RejectedItem`; whatever else it
    raises makes the image `corrupt`.

    Raises:
        UsageError: there is no such function.
    """
    module, _, function = name.partition(":")
    if not module or not function.isidentifier():
        raise UsageError(
            f"--decoder must be module:function; got {name!r}; as raypipe.images.heif:decode_heif"
        )
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"--decoder must be module:function that can be imported on all nodes; got {name!r}: "
            f"{error}; install it, or put its folder into PYTHONPATH"
        ) from None
    if not callable(found):
        raise UsageError(f"--decoder must be a function; got {name!r}; name one of the module")
    decoder: Decoder = found
    return decoder


def decode_by(names: tuple[str, ...], data: bytes, max_pixels: int) -> Image.Image | None:
    """Return the RGB image of the first decoder that knows bytes; None if none does.

    Raises:
        RejectedItem: the decoder does, or it returned something else than an image.
    """
    for name in names:
        found = load_decoder(name)(data, max_pixels)
        if found is not None:
            return _checked(name, found, max_pixels)
    return None


def _checked(name: str, found: Any, max_pixels: int) -> Image.Image:
    if isinstance(found, Image.Image) and found.mode in ("L", "RGB"):
        check_size(*found.size, max_pixels)
        return found.convert("RGB")
    if isinstance(found, np.ndarray) and is_image(found):
        check_size(found.shape[1], found.shape[0], max_pixels)
        return from_pixels(found)
    what = (
        f"{found.dtype} {found.shape}"
        if isinstance(found, np.ndarray)
        else getattr(found, "mode", type(found).__name__)
    )
    message = (
        f"{name} must return a Pillow image of mode L or RGB, or uint8 or uint16 of shape (H, W) "
        f"or (H, W, 1, 3 or 4); got {what}"
    )
    raise RejectedItem(RejectReason.UNSUPPORTED, message)
