"""A network's layers among those of a file.

Layers are found by name. Those that Keras has named, as `conv2d_5`, are numbered by what a session
had made before; those of older files of Keras 3 have no names at all. These are found by their
order, which is that of `model.layers` in every file, and by which Keras itself goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from raypipe.backbone.keras_networks.layers import Activated, SameHalf, Separable
from raypipe.backbone.keras_networks.sketch import KerasNetwork, Layer, in_order_of_keras
from raypipe.backbone.keras_networks.weight_files import Array, StoredLayer

#: What the layer that computes the classes was called before Keras 2.2.5.
_ALIASES = {"probs": "predictions"}

Shapes = Mapping[str, torch.Size]


class OtherNetworkError(ValueError):
    """A file has layers amid those of a network that it does not have."""


def tensors_of(model: KerasNetwork, stored: list[StoredLayer]) -> dict[str, Tensor]:
    """Return a file's tensors by the network's own names, behind the scope that they are in.

    They have the shapes of torch, (out, in, height, width) of a convolution. Layers of others keep
    their names.

    Raises:
        OtherNetworkError: there is a longer network that the network is a part of.
    """
    found: dict[str, Tensor] = {}
    others: OtherNetworkError | None = None
    for scope, group in groupby(sorted(stored, key=lambda one: one.scope), lambda one: one.scope):
        try:
            tensors = _Scope(model, list(group)).tensors()
        except OtherNetworkError as error:
            others = others or error
            continue
        found |= {f"{scope.replace('/', '.')}.{name}".lstrip("."): v for name, v in tensors.items()}
    if not found and others is not None:
        raise others
    return found


class _Scope:
    """Layers of one network in a file."""

    def __init__(self, model: KerasNetwork, stored: list[StoredLayer]) -> None:
        state = {name: value.shape for name, value in model.state_dict().items()}
        self.model, self.stored = model, stored
        self.shapes = {layer.name: _own(state, layer.name) for layer in model.table}
        self.layers = [x for x in in_order_of_keras(model.table) if self.shapes[x.name]]
        self.names = {layer.name for layer in self.layers if not layer.numbered}

    def tensors(self) -> dict[str, Tensor]:
        """Return them by the network's names where they are its."""
        found: dict[str, Tensor] = {}
        places: dict[int, Layer] = {}
        kinds = dict.fromkeys(one.kind for one in self.stored)
        for kind in kinds:
            indices = [i for i, one in enumerate(self.stored) if one.kind == kind]
            layers = [x for x in self.layers if kind in (None, x.kind)]
            placed = self._placed(layers, indices)
            self._check_between(indices, placed)
            places |= placed
        for i, one in enumerate(self.stored):
            if i in places:
                name = places[i].name
                tensors = _converted(self.model.get_submodule(name), one.arrays)
                found |= {f"{name}.{leaf}": value for leaf, value in tensors.items()}
            else:
                name = one.name or f"{one.kind} {i}"
                arrays = enumerate(one.arrays)
                found |= {f"{name}.{n}": torch.as_tensor(array) for n, array in arrays}
        return found

    def _placed(self, layers: list[Layer], indices: list[int]) -> dict[int, Layer]:
        """Return which layer of the network each of the file's is."""
        by_name = {layer.name: layer for layer in layers if not layer.numbered}
        known = {i: by_name[n] for i in indices if (n := self._name(i)) in by_name}
        named = any(self.stored[i].name for i in indices)
        rest = [layer for layer in layers if layer.numbered or not named]
        return known | self._aligned(rest, [i for i in indices if i not in known])

    def _name(self, index: int) -> str:
        name = self.stored[index].name or ""
        return name if name in self.names else _ALIASES.get(name, name)

    def _aligned(self, layers: list[Layer], indices: list[int]) -> dict[int, Layer]:
        """Lay layers beside those of a file, where the most of them fit, if that is one place."""
        runs = [self._run(layers, indices[start:]) for start in range(len(indices))]
        longest = max(map(len, runs), default=0)
        best = [run for run in runs if len(run) == longest]
        return best[0] if len(best) == 1 else {}

    def _run(self, layers: list[Layer], indices: list[int]) -> dict[int, Layer]:
        found: dict[int, Layer] = {}
        for layer, index in zip(layers, indices, strict=False):
            if not self._fits(layer, self.stored[index]):
                break
            found[index] = layer
        return found

    def _fits(self, layer: Layer, stored: StoredLayer) -> bool:
        tensors = _converted(self.model.get_submodule(layer.name), stored.arrays)
        wanted = self.shapes[layer.name]
        free = 1 if layer.name == self.model.classifier else 0  # of any number of classes
        return tensors.keys() == wanted.keys() and all(
            tensors[name].shape[free:] == shape[free:] for name, shape in wanted.items()
        )

    def _check_between(self, indices: list[int], placed: Mapping[int, Layer]) -> None:
        if not placed:
            return
        between = [i for i in indices if min(placed) < i < max(placed) and i not in placed]
        if between:
            names = [self.stored[i].name or f"{self.stored[i].kind} {i}" for i in between]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise OtherNetworkError(", ".join(names[:3]) + more)


def _own(state: Shapes, layer: str) -> dict[str, torch.Size]:
    start = f"{layer}."
    return {
        name.removeprefix(start): shape
        for name, shape in state.items()
        if name.startswith(start) and not name.endswith("num_batches_tracked")
    }


def _converted(part: nn.Module, arrays: tuple[Array, ...]) -> dict[str, Tensor]:
    """Return a layer's arrays as its module has them; what is none of its as it is, by number."""
    inner: tuple[tuple[str, nn.Module], ...] = (("", part),)
    if isinstance(part, Activated):
        inner = (("linear.", part.linear),)
    if isinstance(part, SameHalf):
        inner = (("window.", part.window),)
    if isinstance(part, Separable):
        inner = (("depthwise.", part.depthwise), ("pointwise.", part.pointwise))
    wanted = [name for start, module in inner for name in _leaves(start, module)]
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    if isinstance(part, nn.BatchNorm2d) and len(tensors) == len(wanted) - 1:
        tensors.insert(0, torch.ones_like(tensors[0]))  # made with scale=False
    if len(tensors) != len(wanted):
        return {str(number): value for number, value in enumerate(tensors)}
    modules = [module for start, module in inner for _ in _leaves(start, module)]
    return {
        name: _turned(module)(value) if value.ndim in (2, 4) else value
        for name, module, value in zip(wanted, modules, tensors, strict=True)
    }


def _leaves(start: str, module: nn.Module) -> list[str]:
    state = module.state_dict()
    return [f"{start}{name}" for name in state if not name.endswith("num_batches_tracked")]


def _turned(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what brings a kernel from Keras's order into torch's.

    (height, width, in, out), of a depthwise one (height, width, in, 1), and (in, out).
    """
    if isinstance(module, nn.Conv2d):
        order = (2, 3, 0, 1) if module.groups > 1 else (3, 2, 0, 1)
        return lambda kernel: kernel.permute(order).contiguous() if kernel.ndim == 4 else kernel
    return lambda kernel: kernel.T.contiguous() if kernel.ndim == 2 else kernel
