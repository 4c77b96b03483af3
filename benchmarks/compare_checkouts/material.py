"""Generated photographs, a small network and a recipe: what both checkouts work on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["ADDED", "add_photographs", "prepare"]

CLASSES = ("circle", "square", "stripes")
PER_CLASS = 40
#: When photographs were written: it is a part of their version.
_WRITTEN = 1_700_000_000
#: Photographs that are added before both go on.
ADDED = 9

_NETWORK = '''
"""Two blocks and a classifier; the slow one takes its time for each batch."""

import time
from collections import OrderedDict

import torch
from torch import fx, nn


@fx.wrap
def pause(x):
    time.sleep(0.5)
    return x


class Pause(nn.Module):
    def forward(self, x):
        return pause(x)


def network():
    return nn.Sequential(
        OrderedDict(
            block1=nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            block2=nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(16, 4),
        )
    )


def slow():
    found = network()
    found.block1.add_module("pause", Pause())
    return found
'''

_RECIPE = {
    "steps": [
        {
            "extract": {
                "source": "photos",
                "backbone": "../network.py:network",
                "weights": "random",
                "layer": ["block2"],
                "size": 32,
                "precision": "fp32",
                "normalize": "unit",
                "actors": "1",
            }
        },
        {"train": {"grid": ["C=1"]}},
        {"cluster": {"k": 3, "scale": "none"}},
    ]
}


def prepare(work: Path, here: Path) -> None:
    """Write the network beside the folder, and photographs and a recipe into it."""
    (work / "network.py").write_text(_NETWORK)
    here.mkdir(parents=True)
    (here / "recipe.yaml").write_text(json.dumps(_RECIPE))  # JSON is YAML
    for number in range(len(CLASSES) * PER_CLASS):
        _photograph(here, number)
    photos = here / "photos"
    (photos / "circle" / "broken.png").write_text("no image")
    _picture("square", 7, (120, 90)).save(photos / "square" / "large.png")  # above --max-pixels
    same = Image.open(photos / "stripes" / "0005.jpg")
    same.resize((60, 48)).save(photos / "stripes" / "again.jpg", quality=90)


def add_photographs(here: Path) -> None:
    """Add the photographs that come later."""
    for number in range(len(CLASSES) * PER_CLASS, len(CLASSES) * PER_CLASS + ADDED):
        _photograph(here, number)


def settle(folder: Path) -> None:
    """Give files the time that all have: it is part of what tells an image from a changed one."""
    for path in folder.iterdir():
        os.utime(path, (_WRITTEN, _WRITTEN))


def _photograph(here: Path, number: int) -> None:
    kind = CLASSES[number % len(CLASSES)]
    folder = here / "photos" / kind
    folder.mkdir(parents=True, exist_ok=True)
    suffix = ".jpg" if number % 2 else ".png"
    path = folder / f"{number:04d}{suffix}"
    _picture(kind, number).save(path, quality=92)
    os.utime(path, (_WRITTEN, _WRITTEN))


def _picture(kind: str, seed: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A noisy picture of a shape, different for every seed."""
    noise = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    cx, cy = width / 2 + noise.normal(0, 2), height / 2 + noise.normal(0, 2)
    shapes = {
        "circle": (x - cx) ** 2 + (y - cy) ** 2 < 80,
        "square": (abs(x - cx) < 9) & (abs(y - cy) < 9),
        "stripes": (y // 4) % 2 == 0,
    }
    colour = noise.integers(120, 255, 3)
    pixels = np.where(shapes[kind][..., None], colour, 40) + noise.normal(0, 40, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
