"""Putting a network together as Keras does: layers by name, in the order they are created in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from raypipe.backbone.keras_networks import layers as kinds

#: The image, as an input of layers.
IMAGE = ""


@dataclass(frozen=True)
class Layer:
    """A layer of a network.

    Attributes:
        name: Keras's; of those that Keras numbers, as in a session that has made nothing else.
        kind: its class, as Keras writes it into names and files: `conv2d`.
        inputs: names of the layers that it takes.
        numbered: whether the name is one that Keras made up, which differs between files.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    numbered: bool


class KerasNetwork(nn.Module):
    """A network whose modules have the names of Keras's layers; (N, 3, H, W) goes in.

    Args:
        table: its layers; each comes behind what it takes, and the last is the output.
        parts: their modules.
        classifier: the name of the layer that computes the classes; empty without one.
    """

    def __init__(self, table: list[Layer], parts: dict[str, nn.Module], classifier: str) -> None:
        super().__init__()
        self.table, self.classifier = table, classifier
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the last layer gives: (N, classes), or (N, C) without a top."""
        found = {IMAGE: x}
        for layer in self.table:
            found[layer.name] = self._modules[layer.name](*(found[name] for name in layer.inputs))  # type: ignore[misc]
        return found[self.table[-1].name]


class Sketch:
    """A network in the making. Methods add a layer and return its name."""

    def __init__(self) -> None:
        self.table: list[Layer] = []
        self.parts: dict[str, nn.Module] = {}
        self.channels = {IMAGE: 3}
        self._counts: Counter[str] = Counter()

    def network(self, classifier: str = "") -> KerasNetwork:
        """Return what was put together."""
        return KerasNetwork(self.table, self.parts, classifier)

    def conv(self, x: str, filters: int, size: Any, name: str = "", **settings: Any) -> str:
        """Add a convolution; settings are `stride`, `padding` and `bias` of torch's."""
        part = nn.Conv2d(self.channels[x], filters, size, **settings)
        return self._add("conv2d", part, x, name=name, channels=filters)

    def conv_relu(self, x: str, filters: int, name: str) -> str:
        """Add a convolution of 3×3 with bias, padding `same` and an activation within."""
        part = nn.Conv2d(self.channels[x], filters, 3, padding=1)
        whole = kinds.Activated(part, nn.ReLU())
        return self._add("conv2d", whole, x, name=name, channels=filters)

    def conv_half(self, x: str, filters: int, name: str) -> str:
        """Add a convolution of 3×3 in steps of 2 with padding `same`."""
        part = nn.Conv2d(self.channels[x], filters, 3, stride=2, bias=False)
        return self._add("conv2d", kinds.SameHalf(part, 0.0), x, name=name, channels=filters)

    def depthwise(self, x: str, name: str, **settings: Any) -> str:
        """Add a convolution of 3×3 of each channel by itself."""
        count = self.channels[x]
        part = nn.Conv2d(count, count, 3, groups=count, bias=False, **settings)
        return self._add("depthwise_conv2d", part, x, name=name)

    def separable(self, x: str, filters: int, name: str) -> str:
        """Add a separable convolution of 3×3."""
        part = kinds.Separable(self.channels[x], filters)
        return self._add("separable_conv2d", part, x, name=name, channels=filters)

    def norm(self, x: str, name: str = "", eps: float = 1e-3) -> str:
        """Add a batch norm; Keras's usual epsilon is not torch's."""
        part = nn.BatchNorm2d(self.channels[x], eps=eps)
        return self._add("batch_normalization", part, x, name=name)

    def relu(self, x: str, name: str = "", most: int | None = None) -> str:
        """Add an activation."""
        part = nn.ReLU() if most is None else nn.ReLU6()
        return self._add("activation", part, x, name=name)

    def pad(self, x: str, sides: tuple[int, int], name: str) -> str:
        """Add zeros: so many rows above and below, and so many columns to the left and right."""
        return self._add("zero_padding2d", nn.ZeroPad2d((*sides, *sides)), x, name=name)

    def max_pool(self, x: str, size: int, name: str = "") -> str:
        """Add max pooling in steps of 2, without padding."""
        return self._add("max_pooling2d", nn.MaxPool2d(size, 2), x, name=name)

    def max_pool_half(self, x: str, name: str) -> str:
        """Add max pooling of 3×3 in steps of 2 with padding `same`."""
        part = kinds.SameHalf(nn.MaxPool2d(3, 2), float("-inf"))
        return self._add("max_pooling2d", part, x, name=name)

    def average_pool(self, x: str) -> str:
        """Add a mean of 3×3 with padding `same`, of what is within the image alone."""
        part = nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
        return self._add("average_pooling2d", part, x)

    def add(self, x: str, other: str, name: str = "") -> str:
        """Add a sum."""
        return self._add("add", kinds.Add(), x, other, name=name)

    def concatenate(self, inputs: list[str], name: str = "") -> str:
        """Add what holds the channels of all inputs."""
        total = sum(self.channels[x] for x in inputs)
        return self._add("concatenate", kinds.Concatenate(), *inputs, name=name, channels=total)

    def global_average(self, x: str, name: str = "", keeps: bool = False) -> str:
        """Add a mean over height and width."""
        return self._add("global_average_pooling2d", kinds.GlobalAverage(keeps), x, name=name)

    def flatten(self, x: str, positions: int, name: str) -> str:
        """Add what makes a vector of so many positions and their channels."""
        length = positions * self.channels[x]
        return self._add("flatten", kinds.Flatten(), x, name=name, channels=length)

    def dense(self, x: str, units: int, name: str, activation: nn.Module) -> str:
        """Add a fully connected layer with an activation within."""
        part = kinds.Activated(nn.Linear(self.channels[x], units), activation)
        return self._add("dense", part, x, name=name, channels=units)

    def other(self, x: str, kind: str, part: nn.Module, name: str) -> str:
        """Add a layer of torch that computes the same."""
        return self._add(kind, part, x, name=name)

    def _add(
        self, kind: str, part: nn.Module, *inputs: str, name: str = "", channels: int | None = None
    ) -> str:
        numbered = not name
        if numbered:
            number, self._counts[kind] = self._counts[kind], self._counts[kind] + 1
            name = f"{kind}_{number}" if number else kind
        self.table.append(Layer(name, kind, inputs, numbered))
        self.parts[name] = part
        self.channels[name] = self.channels[inputs[0]] if channels is None else channels
        return name


def in_order_of_keras(table: list[Layer]) -> list[Layer]:
    """Return layers as `model.layers` has them, which is the order that files have.

    By their distance from the output, the farthest first; at equal distance, as they are come by on
    the way back from there, where first inputs come first.

    https://github.com/keras-team/keras/blob/v3.3.3/keras/src/ops/function.py
    """
    layers = {layer.name: layer for layer in table}
    distance = dict.fromkeys(layers, 0)
    for layer in reversed(table):
        for name in filter(None, layer.inputs):
            distance[name] = max(distance[name], distance[layer.name] + 1)
    found: dict[str, int] = {}
    rest = [table[-1].name]
    while rest:
        name = rest.pop()
        if name and name not in found:
            found[name] = len(found)
            rest += reversed(layers[name].inputs)
    return sorted(table, key=lambda layer: (-distance[layer.name], found[layer.name]))
