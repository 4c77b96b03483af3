"""The networks to measure with, and their weights as one file that all contestants read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save_file

from raypipe.backbone.layers import list_layers
from raypipe.backbone.registry import find
from raypipe.backbone.weights import load_weights

__all__ = ["Network", "prepare"]


@dataclass(frozen=True)
class Network:
    """A network and its preprocessing.

    Attributes:
        name: a torchvision model, or `file.py:callable`.
        weights: `random` (seeded), `DEFAULT` or another published set, or a file.
        layer: node to cut at; empty for the input of the last fully connected layer.
        normalize: `torch`, `tf` or `unit`, as raypipe names them.
        size: images are scaled to size × size, whatever their proportions.
    """

    name: str
    weights: str = "random"
    layer: str = ""
    normalize: str = "torch"
    size: int = 224

    @property
    def label(self) -> str:
        """Name for people, without folders."""
        short = Path(self.name.partition(":")[0]).stem if ".py:" in self.name else self.name
        return f"{short} to {self.layer}, {self.size}×{self.size}"


def prepare(network: Network, folder: Path) -> Network:
    """Return the network with its layer named and its weights in a .safetensors file.

    Raises:
        raypipe.UsageError: there is no such network, or the weights do not fit.
    """
    source = find(network.name)
    layer = network.layer or list_layers(network.name).embedding
    state = load_weights(source, network.weights, seed=0).state
    path = folder / "weights.safetensors"
    save_file({name: value.contiguous().clone() for name, value in state.items()}, path)
    return replace(network, weights=str(path), layer=layer)
