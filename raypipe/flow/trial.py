"""Trying a backbone out on a few images, where replicas will run, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from raypipe.actors.embedder import Embedder
from raypipe.actors.jpegs import JpegDecoder
from raypipe.backbone import Backbone, restore
from raypipe.backbone.hardware.footprint import knee
from raypipe.backbone.hardware.parity import least_cosine
from raypipe.backbone.outputs import pool
from raypipe.images import Pixels
from raypipe.images.pixels import pixels_of
from raypipe.images.transforms import normalize
from raypipe.spec import Spec
from raypipe.steps.cost import Timer

_SIZES = (32, 64, 128, 256, 512)
_CLEARLY_FASTER = 1.05
_ROUNDS = 5


@dataclass(frozen=True)
class Trial:
    """What was found out.

    Attributes:
        parity: per column, the least cosine between features and those in plain float32, of the
            images whose features can be kept.
        seconds: of one replica's time in a forward pass, per image.
        batch_size: images per pass beyond which a GPU is no faster; None where it was not asked.
        lost: columns of which no image's features can be kept, and why.
    """

    parity: dict[str, float]
    seconds: float
    batch_size: int | None = None
    lost: dict[str, str] = field(default_factory=dict)


def try_out(
    backbone: Backbone,
    spec: Spec,
    images: Pixels,
    *,
    device: str = "cpu",
    find_batch_size: bool = False,
) -> Trial:
    """Compute a few images in plain float32 and as the job will.

    Args:
        backbone: the network.
        spec: what the features are.
        images: (N, height, width, 3) pixels, at least one.
        device: as for `Embedder`.
        find_batch_size: whether to try larger and larger batches.
    """
    exact = _plain(backbone, spec, images, device)
    embedder = Embedder(backbone, spec, device=device, batch_size=len(images))
    with Timer() as timer:
        found = embedder(images)
    threads = torch.get_num_threads() if device == "cpu" else 1  # a replica has one
    seconds = threads * timer.seconds / len(images)
    parity, lost = dict[str, float](), dict[str, str]()
    for column, value in exact.items():
        if not value.is_floating_point():
            continue
        kept = _can_be_kept(value, spec.dtype)
        if kept.any():
            parity[column] = least_cosine(value[kept], torch.from_numpy(found[column])[kept])
        else:
            lost[column] = _lost(value, spec.dtype)
    if not find_batch_size:
        return Trial(parity, seconds, lost=lost)
    rates = _rates(backbone, spec, device)
    return Trial(parity, 1 / max(rates.values()), knee(rates), lost)


def decoding_parity(
    backbone: Backbone, spec: Spec, jpegs: Sequence[bytes], *, device: str, max_pixels: int
) -> float:
    """Return the least cosine between features of JPEGs decoded by a device and by the CPU.

    Args:
        backbone: the network.
        spec: what the features are.
        jpegs: plain ones, at least one.
        device: as for `Embedder`.
        max_pixels: cap on an image's pixels.

    Raises:
        RaypipeError: the device cannot decode JPEGs.
    """
    decoder = JpegDecoder(spec.preprocess, device, max_pixels)
    there, _ = decoder(np.array([*jpegs, None], object)[:-1], np.ones(len(jpegs), bool))
    here = np.stack([pixels_of(data, spec.preprocess, max_pixels) for data in jpegs])
    embedder = Embedder(backbone, spec, device=device, batch_size=len(jpegs))
    expected = {column: torch.from_numpy(rows) for column, rows in embedder(here).items()}
    return min(_parity(expected, embedder(there)).values(), default=1.0)


def _parity(expected: dict[str, torch.Tensor], found: dict[str, Any]) -> dict[str, float]:
    """Return the least cosine by column, of those that are no class numbers."""
    return {
        column: least_cosine(value, torch.from_numpy(found[column]))
        for column, value in expected.items()
        if value.is_floating_point()
    }


def compiling_gain(backbone: Backbone, spec: Spec, *, device: str, batch_size: int) -> float:
    """Return how many times as fast as otherwise the network is once it is compiled.

    Raises:
        RaypipeError: it cannot be compiled there.
    """
    images = np.zeros((batch_size, *spec.preprocess.shape, 3), spec.pixel_type)
    both = [
        Embedder(backbone, spec, device=device, batch_size=batch_size, compiled=compiled)
        for compiled in (False, True)
    ]
    seconds: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):  # by turns: a machine is not as fast at all times
        for embedder, taken in zip(both, seconds, strict=True):
            with Timer() as timer:
                embedder(images)
            taken.append(timer.seconds)
    return min(seconds[0]) / min(seconds[1])


def _can_be_kept(exact: torch.Tensor, dtype: str) -> torch.Tensor:
    """Whether each image's features are numbers in the type they are stored in; others: rejects."""
    return exact.to(getattr(torch, dtype)).isfinite().flatten(1).all(dim=1)


def _lost(exact: torch.Tensor, dtype: str) -> str:
    if exact.isfinite().all():
        return f"too large for {dtype}; give --dtype float32"
    return "NaN or infinite in plain fp32; give other weights, or cut at an earlier --layer"


@torch.inference_mode()
def _plain(backbone: Backbone, spec: Spec, images: Pixels, device: str) -> dict[str, torch.Tensor]:
    network = restore(backbone).to(device)
    pixels = torch.from_numpy(images).to(device)
    outputs = network(normalize(pixels, spec.preprocess))
    return {o.column: pool(outputs[o.layer], o).cpu() for o in spec.outputs}


def _rates(backbone: Backbone, spec: Spec, device: str) -> dict[int, float]:
    """Images per second by batch size, up to where it no longer helps or memory ends."""
    rates: dict[int, float] = {}
    for size in _SIZES:
        embedder = Embedder(backbone, spec, device=device, batch_size=size)
        blank = np.zeros((4 * size, *spec.preprocess.shape, 3), spec.pixel_type)
        embedder(blank[:size])
        with Timer() as timer:
            embedder(blank)
        if embedder.batch_size < size:
            break
        rates[size] = len(blank) / timer.seconds
        if rates[size] < _CLEARLY_FASTER * max([0.0, *list(rates.values())[:-1]]):
            break
    return rates or {embedder.batch_size: 1.0}
