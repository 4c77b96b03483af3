"""What the tutorials do with Keras, for comparison: photographs, networks, dense heads, curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from raypipe.config import RunConfig
from raypipe.jobs import run
from tests.backbone.keras_networks import keras, made

__all__ = [
    "SEEDS",
    "assert_same_features",
    "assert_within_spread",
    "curves",
    "fitted",
    "network",
    "outputs",
    "photograph",
    "run_recipe",
    "write",
]

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SEEDS = (0, 1, 2)


def photograph(kind: int, number: int) -> Image.Image:
    """A coloured surface with spots and grain, in a size of its own; classes differ in colour."""
    draw = np.random.default_rng([kind, number])
    height, width = draw.integers(150, 260, 2)
    rough = draw.uniform(0, 255, (6, 8, 3))
    rough[..., kind % 3] = rough[..., kind % 3] / 2 + 128 - 40 * (kind // 3)
    image = Image.fromarray(rough.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = np.asarray(image) + draw.normal(0, 12, (height, width, 3))
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8))


def write(image: Image.Image, turned: bool = False) -> bytes:
    """Return a JPEG; a turned one says by EXIF that it lies on its side."""
    sink, exif = io.BytesIO(), Image.Exif()
    if turned:
        exif[0x0112] = 6
    image.save(sink, "JPEG", quality=92, exif=exif)
    return sink.getvalue()


def network(which: str, size: int, path: Path, **settings: Any) -> Any:
    """Make a network of Keras with seeded weights that keep signals alive, and save it."""
    model = made(which, size, **settings)
    if which == "vgg16":  # Glorot's halves the variance in every layer with ReLU
        for layer in model.layers:
            if isinstance(layer, keras.layers.Conv2D):
                kernel, bias = layer.get_weights()
                layer.set_weights([kernel * 1.45, bias + 0.01])
    else:  # its first batch norm does not know how large pixels are
        gamma, *rest = (norm := model.get_layer("conv1_bn")).get_weights()
        norm.set_weights([gamma * 0.03, *rest])
    model.save(path)
    return model


@torch.inference_mode()
def outputs(model: Any, images: Iterable[np.ndarray]) -> np.ndarray:
    """Return a network's output for (height, width, 3) images, one row each."""
    found = [model(torch.from_numpy(image[None].astype(np.float32))).numpy() for image in images]
    return np.concatenate(found)


def run_recipe(name: str, source: Path, out: Path, *changes: str) -> dict[str, dict[str, Any]]:
    """Run a recipe in one process; return what its steps say."""
    few = ("extract.actors=1", "extract.batch_size=4")
    given = RunConfig(
        recipe=str(RECIPES / name), source=str(source), out=str(out), set=(*few, *changes)
    )
    return {step["job"]: step for step in run.run(given).summary["steps"]}


def assert_same_features(
    ours: np.ndarray, right: np.ndarray, tolerance: float = 1e-4, alive: float = 1e-3
) -> None:
    """Within a share of the largest value of each column, of (N, …) features.

    Of columns that are next to dead, this share (`alive`) of the largest value of all takes its
    place: what Keras says there is further from float64 than the tolerance.
    """
    assert ours.shape == right.shape
    assert (np.abs(right).max(axis=0) > 1e-2).mean() > 0.5  # most of them say something
    scale = np.maximum(np.abs(right).max(axis=0), alive * np.abs(right).max())
    worst = (np.abs(ours - right) / scale).max()
    assert worst <= tolerance, worst


def fitted(
    layers: Sequence[Any], compiled: dict[str, Any], seed: int, data: Sequence[Any], **fit: Any
) -> tuple[Any, np.ndarray]:
    """Train a head of Keras from a seed; return it and (epochs, 2) training and validation losses.

    Args:
        layers: makers of its layers.
        compiled: makers of its optimiser under `optimizer`, and its loss.
        seed: of everything random.
        data: rows and targets to train on, rows and targets to validate on.
        fit: epochs and batch_size.
    """
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input(data[0].shape[1:]), *(make() for make in layers)])
    model.compile(optimizer=compiled["optimizer"](), loss=compiled["loss"])
    history = model.fit(data[0], data[1], validation_data=tuple(data[2:]), verbose=0, **fit).history
    return model, np.array([history["loss"], history["val_loss"]]).T


def curves(model: Path) -> np.ndarray:
    """Return (epochs, 2) training and validation losses that `train` has written."""
    rows = list(csv.DictReader((model / "curves.csv").open()))
    return np.array([[float(r["train_loss"]), float(r["validation_loss"])] for r in rows])


def assert_within_spread(ours: np.ndarray, seeds: Sequence[np.ndarray]) -> None:
    """No further from those of three seeds, in each epoch, than these are from each other.

    Within their lowest and highest, a fourth seed of the same network would be half of the time.
    """
    lowest, highest = np.min(seeds, axis=0), np.max(seeds, axis=0)
    spread = (highest - lowest).max(axis=0)
    assert ours.shape == lowest.shape
    assert (ours >= lowest - spread).all(), (ours, lowest, highest)
    assert (ours <= highest + spread).all(), (ours, lowest, highest)
    learned = lowest[0, 0] - highest[-1, 0]
    assert learned > 0  # the curves go somewhere
