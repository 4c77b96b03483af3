"""Pictures of what the example of recipe 4 tells apart."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["landscape", "noisy", "portrait"]


def portrait(unit: int) -> Image.Image:
    """A face in front of a blue wall, which the cascades of OpenCV take for one."""
    image = Image.new("RGB", (200 * unit, 160 * unit), (60, 110, 190))
    pen = ImageDraw.Draw(image)

    def oval(x: int, y: int, width: int, height: int, colour: tuple[int, int, int]) -> None:
        box = (100 + x - width, 80 + y - height, 100 + x + width, 80 + y + height)
        pen.ellipse([side * unit for side in box], colour)

    oval(0, -8, 42, 52, (60, 40, 30))
    oval(0, 4, 36, 46, (224, 180, 150))
    for x in (-15, 15):
        oval(x, -17, 9, 2, (70, 45, 35))
        oval(x, -8, 9, 5, (150, 110, 95))
        oval(x, -8, 5, 3, (40, 25, 20))
    nose = [(100, 76), (94, 93), (106, 93)]
    pen.polygon([(x * unit, y * unit) for x, y in nose], (200, 150, 122))
    oval(0, 28, 13, 4, (150, 60, 60))
    return image.filter(ImageFilter.GaussianBlur(unit))


def noisy(colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    """A picture of about one colour: what is warm is a dog to `networks.py:thousand`."""
    noise = np.random.default_rng(seed).normal(0, 9, (size[1], size[0], 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def landscape() -> Image.Image:
    """Sky, sea and grass."""
    image = noisy((110, 170, 230), 5, (320, 240))
    image.paste(noisy((30, 90, 160), 6, (320, 60)), (0, 120))
    image.paste(noisy((60, 140, 60), 7, (320, 60)), (0, 180))
    return image
