"""A network that costs a stated time per image and no core: what is left is the machinery's own.

    raypipe extract … --backbone benchmarks/fake_backbone.py:network --layer features --size 8

The time comes from the environment when the network is built, and then travels with it.
"""

from __future__ import annotations

import os
import time

import torch
from torch import fx, nn

__all__ = ["COST_VARIABLE", "SIZE", "WIDTH", "network", "pause"]

#: Seconds per image of a batch.
COST_VARIABLE = "RAYPIPE_FAKE_COST"
#: Side of the images that it takes, and values of a feature.
SIZE, WIDTH = 8, 64


@fx.wrap  # so that a trace keeps the call
def pause(x: torch.Tensor, cost: float) -> torch.Tensor:
    """Let `cost` seconds pass for each image of (N, …)."""
    if cost:
        time.sleep(cost * len(x))
    return x


class Fake(nn.Module):
    """Maps (N, 3, SIZE, SIZE) to (N, WIDTH), taking its time."""

    def __init__(self, cost: float) -> None:
        super().__init__()
        self.cost = cost
        self.flat = nn.Flatten()
        self.features = nn.Linear(3 * SIZE * SIZE, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.features(self.flat(pause(x, self.cost)))
        return out


def network() -> nn.Module:
    """Return the network; its cost is in the environment."""
    return Fake(float(os.environ.get(COST_VARIABLE, "0")))
