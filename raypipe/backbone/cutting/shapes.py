"""The nodes a network can be cut at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from raypipe.backbone.cutting.axes import ChannelAxes
from raypipe.backbone.cutting.comparison import sample_images
from raypipe.backbone.cutting.tracing import Graph
from raypipe.config.sides import Sides


@dataclass(frozen=True)
class Node:
    """A node that gives a tensor per image.

    Attributes:
        name: as `--layer` takes it.
        shape: of one image's output.
        channels: the axis of it that holds channels; None where that cannot be known.
    """

    name: str
    shape: tuple[int, ...]
    channels: int | None


def list_nodes(model: nn.Module, graph: Graph | None, size: Sides) -> list[Node]:
    """Return every node that gives a tensor per image, in order, for an input of a size.

    Of a network that cannot be traced, these are its modules.

    Raises:
        Exception: whatever the network raises at its first node.
    """
    seen, axes = _NodeOutputs(), ChannelAxes()
    image = sample_images(size, 1)
    try:
        with torch.inference_mode(), axes:
            if graph is None:
                _run_hooked(model, image, seen, axes)
            else:
                _GraphRun(model, graph, seen, axes).run(image)
    except Exception:  # behind some nodes, a network need not work
        if not seen:
            raise
    return [Node(name, shape, _axis(axes, number)) for name, (shape, number) in seen.items()]


class _NodeOutputs(dict[str, tuple[tuple[int, ...], int]]):
    """Shape and number of what nodes give."""

    def keep(self, name: str, value: Any, axes: ChannelAxes) -> None:
        if isinstance(value, Tensor) and value.ndim >= 2 and value.shape[0] == 1:
            self[name] = (tuple(value.shape[1:]), axes.number(value))


class _GraphRun(fx.Interpreter):
    def __init__(
        self, model: nn.Module, graph: Graph, seen: _NodeOutputs, axes: ChannelAxes
    ) -> None:
        super().__init__(model, graph=graph.graph)
        self._names = {node: name for name, node in graph.names.items()}
        self._seen, self._axes = seen, axes

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if n in self._names:
            self._seen.keep(self._names[n], found, self._axes)
        return found


def _run_hooked(model: nn.Module, image: Tensor, seen: _NodeOutputs, axes: ChannelAxes) -> None:
    calls: Counter[str] = Counter()

    def remember(name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            number, calls[name] = calls[name], calls[name] + 1
            seen.keep(f"{name}_{number}" if number else name, output, axes)

        return keep

    hooks = [m.register_forward_hook(remember(name)) for name, m in model.named_modules() if name]
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()


def _axis(axes: ChannelAxes, number: int) -> int | None:
    axis = axes.of(number)
    return None if axis is None else axis - 1
