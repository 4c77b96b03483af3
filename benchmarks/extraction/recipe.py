"""What the contestants' scripts share: their arguments, the network, and how results are kept.

It uses nothing of raypipe: the scripts are what one would write without it.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

__all__ = ["MEAN_STD", "SCALING", "Features", "Job", "load_network", "read_job", "save"]

#: Mean and standard deviation in 0..1 by the name of the normalisation.
MEAN_STD = {
    "torch": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "tf": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}

#: How raypipe is told to scale images as all others do: whatever their proportions, and filtered.
SCALING = {"resize": "squash", "interpolation": "bilinear"}


@dataclass(frozen=True)
class Job:
    """What a contestant has to do.

    Attributes:
        images: folder with class folders of JPEGs.
        out: folder for the features.
        trace: file to append a line per batch to.
        network: a torchvision model, or `file.py:callable`.
        weights: .safetensors file with its state_dict.
        layer: node whose output is the feature; positions are averaged.
        normalize: key of `MEAN_STD`.
        size: images are scaled to size × size.
        cores: cores of the machine.
    """

    images: str
    out: str
    trace: str
    network: str
    weights: str
    layer: str
    normalize: str
    size: int
    cores: int

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of each channel in 0..1."""
        return MEAN_STD[self.normalize][0]

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of each channel in 0..1."""
        return MEAN_STD[self.normalize][1]

    def arguments(self) -> list[str]:
        """Return it as command-line arguments."""
        return [f"--{name}={value}" for name, value in vars(self).items()]


def read_job(parser: argparse.ArgumentParser | None = None) -> tuple[Job, argparse.Namespace]:
    """Return the job, and the contestant's own options, from the command line."""
    parser = parser or argparse.ArgumentParser()
    names = [field.name for field in fields(Job)]
    for name in names:
        parser.add_argument(f"--{name}", required=True, type=int if name in _NUMBERS else str)
    found = parser.parse_args()
    return Job(**{name: getattr(found, name) for name in names}), found


_NUMBERS = ("size", "cores")


class Features(nn.Module):
    """A network up to a layer: (N, 3, H, W) to (N, channels), averaged over positions."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.body: nn.Module = create_feature_extractor(network, {layer: "features"})

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.body(images)["features"]
        if found.ndim == 4:
            return found.mean((2, 3))
        return found.mean(1) if found.ndim == 3 else found


def load_network(job: Job) -> Features:
    """Build the job's network with its weights, in float32, ready for evaluation."""
    network = _builder(job.network)().eval()
    network.load_state_dict(load_file(job.weights), strict=False)
    return Features(network, job.layer).eval().requires_grad_(False)


def save(job: Job, paths: list[str], features: list[Tensor], part: int = 0) -> None:
    """Write features and the paths of their images to one file."""
    ids = np.array([Path(path).relative_to(job.images).as_posix() for path in paths])
    rows = torch.cat(features).float().numpy()
    np.savez(Path(job.out) / f"part-{part}.npz", ids=ids, features=rows)


def _builder(name: str) -> Callable[[], nn.Module]:
    file, _, function = name.rpartition(":")
    if not file:
        return lambda: torchvision.models.get_model(name)
    found = importlib.util.spec_from_file_location("network", file)
    if found is None or found.loader is None:
        raise SystemExit(f"--network: cannot import {file}")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    build: Callable[[], nn.Module] = getattr(module, function)
    return build
