"""Photographs of odd sizes, some of them turned by their EXIF, for what tutorials do with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.images.test_preprocess_parity import photograph

_ORIENTATION = 0x0112


def take(folder: Path, names: list[str], kinds: int, *, least: int = 90) -> Path:
    """Save one photograph for each name; a kind has a colour, every fifth lies on its side.

    Args:
        folder: where to.
        names: with their class folders, ending in .jpg.
        kinds: how many colours take turns.
        least: pixels of the shorter side of the smallest.
    """
    for number, name in enumerate(names):
        size = (least + 37 * number % 211, least + 53 * number % 170)
        colour = np.array([1.0, 0.96, 0.92])[(np.arange(3) + number % kinds) % 3]
        pixels = np.asarray(photograph(size)) * colour
        exif = Image.Exif()
        exif[_ORIENTATION] = 6 if number % 5 == 0 else 1
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=92, exif=exif)
    return folder
