"""HEIC, by pillow-heif: `--decoder raypipe.images.heif:decode_heif`, with the extra `heif`."""

from __future__ import annotations

from typing import Any

import pillow_heif

from raypipe.images.formats import is_heif
from raypipe.images.need import check_size


def decode_heif(data: bytes, max_pixels: int) -> Any:
    """Return the primary image of a HEIC file as (H, W, 3) uint8; None for other bytes.

    It is upright already; alpha is left out, and of 10 and 12 bits the upper 8 are kept.

    Raises:
        RejectedItem: it has too many pixels.
    """
    if not is_heif(data):
        return None
    file = pillow_heif.open_heif(data, convert_hdr_to_8bit=True)
    width, height = file.size
    check_size(width, height, max_pixels)
    return file.to_pillow().convert("RGB")
