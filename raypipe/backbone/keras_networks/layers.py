"""Keras's layers in PyTorch, where torch has none that computes the same.

Images are (N, C, H, W) here and (N, H, W, C) there. A `NamedLayer` is traced into: what replicas
get is made of torch's own modules.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.backbone.nodes import NamedLayer


class Activated(NamedLayer):
    """A convolution or fully connected layer that has its activation within.

    Args:
        linear: what comes first.
        activation: what its output goes through.
    """

    def __init__(self, linear: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.linear, self.activation = linear, activation

    def forward(self, x: Tensor) -> Tensor:
        """Return activation(linear(x)) of (N, …) inputs."""
        found: Tensor = self.activation(self.linear(x))
        return found


class Separable(NamedLayer):
    """`SeparableConv2D` of 3×3 with padding `same`: each channel by itself, then all of them.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, H, W) for (N, inputs, H, W)."""
        found: Tensor = self.pointwise(self.depthwise(x))
        return found


class SameHalf(NamedLayer):
    """A window of 3×3 in steps of 2 with padding `same`, which depends on the image's side.

    An output has half as many rows, rounded up. That takes one row more below the image, and one
    above it where the number of rows is odd. Columns likewise.

    https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2

    Args:
        window: the convolution or pooling, without padding of its own.
        fill: what is around the image.
    """

    def __init__(self, window: nn.Module, fill: float) -> None:
        super().__init__()
        self.window, self.fill = window, fill

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C′, ⌈H/2⌉, ⌈W/2⌉) for (N, C, H, W)."""
        sides = (x.shape[3] % 2, 1, x.shape[2] % 2, 1)
        found: Tensor = self.window(F.pad(x, sides, value=self.fill))
        return found


class Add(NamedLayer):
    """`Add` of two."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return the sum of two (N, C, H, W)."""
        return x + other


class Concatenate(NamedLayer):
    """`Concatenate` of channels."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return (N, ΣC, H, W) for several (N, C, H, W)."""
        return torch.cat(inputs, 1)


class GlobalAverage(NamedLayer):
    """`GlobalAveragePooling2D`.

    Args:
        keeps: whether height and width stay, with 1 each.
    """

    def __init__(self, keeps: bool = False) -> None:
        super().__init__()
        self.keeps = keeps

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C) for (N, C, H, W)."""
        return x.mean((2, 3), self.keeps)


class Flatten(NamedLayer):
    """`Flatten`, in the order that the weights of what follows have: height, width, channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, H·W·C) for (N, C, H, W)."""
        return x.permute(0, 2, 3, 1).flatten(1)
