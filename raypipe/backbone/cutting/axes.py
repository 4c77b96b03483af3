"""The axis that holds channels, of every tensor that a network computes.

Layers tell: a convolution has channels first, a layer norm last. From there it is followed forwards
and backwards through what is done element by element, and through what moves axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

_KEY = "_raypipe_number"

#: Functions with channels at axis 1 of inputs and outputs, by parts of their names.
_SPATIAL = ("conv", "pool", "batch_norm", "group_norm", "instance_norm", "interpolate", "unfold")
_NORMS = ("layer_norm", "rms_norm")
_MOVES = {
    "permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "reshape", "view",
    "flatten", "unflatten", "squeeze", "unsqueeze", "__getitem__", "getitem", "contiguous", "clone",
    "cat", "concat", "stack", "chunk", "split", "tensor_split", "unbind", "narrow", "select",
    "mean", "sum", "amax", "roll", "expand", "pad", "flip", "T", "mT", "index_select",
}  # fmt: skip
_MIXES = {"matmul", "__matmul__", "bmm", "baddbmm", "einsum", "scaled_dot_product_attention"}


@dataclass(frozen=True)
class _Tensor:
    """Stands for a tensor: its number and shape."""

    number: int
    shape: torch.Size


@dataclass(frozen=True)
class _Step:
    """One call of a function, as `run` on tensors of the same shapes."""

    inputs: tuple[_Tensor, ...]
    outputs: tuple[_Tensor, ...]
    run: Callable[[_Tensor, int], list[int | None]] | None
    """Where each output has the axis of an input; None: at the same place."""


class ChannelAxes(TorchFunctionMode):
    """Watches a network run, as a context; then `of` says which axis of a tensor has channels."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._steps: list[_Step] = []
        self._sure: dict[int, int | None] = {}
        self._vectors: set[int] = set()
        self._likely: dict[int, int] = {}
        self._solved: dict[int, int | None] | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor | tuple | list):
            self._observe(func, args, kwargs or {}, result)
        return result

    def of(self, tensor: Tensor | int) -> int | None:
        """Return the axis, or None where it cannot be known.

        Args:
            tensor: one that the network computed, or its number. One of two axes, (N, C), has
                channels at the second.
        """
        if self._solved is None:
            self._solved = self._solve()
        number = tensor if isinstance(tensor, int) else self.number(tensor)
        return 1 if number in self._vectors else self._solved.get(number)

    def number(self, tensor: Tensor) -> int:
        """Return the number of an (N, …, C, …) tensor, to ask by when that is gone."""
        return self._note(tensor).number

    def _note(self, value: Tensor) -> _Tensor:
        number = getattr(value, _KEY, None)
        if number is None:
            number, self._count = self._count, self._count + 1
            setattr(value, _KEY, number)
            if value.ndim == 2:
                self._vectors.add(number)
        return _Tensor(number, value.shape)

    def _observe(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        name = getattr(func, "__name__", "")
        noted = tree_map(lambda v: self._note(v) if isinstance(v, Tensor) else v, (args, kwargs))
        inputs = tuple(_flat(noted))
        found = [result] if isinstance(result, Tensor) else [v for v in result if _is(v)]
        outputs = tuple(self._note(value) for value in found)
        if not inputs or not outputs:
            return
        if any(part in name for part in _SPATIAL):
            self._mark((inputs[0], outputs[0]), 1, self._sure)
        elif name in _NORMS:
            shape = args[1] if len(args) > 1 else kwargs.get("normalized_shape", ())
            if len(tuple(shape)) == 1:
                last = (inputs[0], outputs[0])
                for value in last:
                    self._mark((value,), len(value.shape) - 1, self._sure)
        elif name in _MOVES:
            self._steps.append(_Step(inputs, outputs, _mover(func, noted)))
        elif name == "linear":
            self._mark(inputs[:1], len(inputs[0].shape) - 1, self._likely)
            self._steps.append(_Step(inputs[:1], outputs, None))
        elif name not in _MIXES:
            same = tuple(value for value in inputs if _broadcasts(value.shape, outputs[0].shape))
            self._steps.append(_Step(same, outputs[:1], None))

    @staticmethod
    def _mark(values: Iterable[_Tensor], axis: int, into: dict[int, Any]) -> None:
        for value in values:
            if len(value.shape) > 2:
                known = into.setdefault(value.number, axis)
                if known != axis:
                    into[value.number] = None

    def _solve(self) -> dict[int, int | None]:
        found = self._spread(dict(self._sure))
        for number, axis in self._likely.items():
            found.setdefault(number, axis)
        return self._spread(found)

    def _spread(self, known: dict[int, int | None]) -> dict[int, int | None]:
        size = -1
        while size != len(known):
            size = len(known)
            for step in self._steps:
                _forwards(step, known)
            for step in reversed(self._steps):
                _backwards(step, known)
        return known


def _forwards(step: _Step, known: dict[int, int | None]) -> None:
    if all(output.number in known for output in step.outputs):
        return
    for value in step.inputs:
        axis = known.get(value.number)
        if axis is None:
            continue
        places = [axis] * len(step.outputs) if step.run is None else step.run(value, axis)
        for output, place in zip(step.outputs, places, strict=False):
            if place is not None and len(output.shape) > 2:
                known.setdefault(output.number, place)


def _backwards(step: _Step, known: dict[int, int | None]) -> None:
    output = next((o for o in step.outputs if known.get(o.number) is not None), None)
    if output is None or all(value.number in known for value in step.inputs):
        return
    index = step.outputs.index(output)
    for value in step.inputs:
        if value.number in known or len(value.shape) <= 2:
            continue
        for axis in range(1, len(value.shape)):
            places = [axis] * (index + 1) if step.run is None else step.run(value, axis)
            if index < len(places) and places[index] == known[output.number]:
                known[value.number] = axis
                break


def _mover(func: Any, noted: Any) -> Callable[[_Tensor, int], list[int | None]]:
    """Return what says where a function moves an axis: it is tried on numbers along that axis."""

    @cache
    def run(value: _Tensor, axis: int) -> list[int | None]:
        args, kwargs = tree_map(lambda v: _probe(v, value, axis) if _noted(v) else v, noted)
        try:
            result = func(*args, **kwargs)
        except Exception:  # it may want integers
            return []
        found = [result] if isinstance(result, Tensor) else [v for v in result if _is(v)]
        longest = sum(v.shape[axis] for v in _flat(noted) if len(v.shape) > axis)
        return [_varying(output, longest) for output in found]

    return run


def _probe(noted: _Tensor, wanted: _Tensor, axis: int) -> Tensor:
    shape = noted.shape
    if len(shape) != len(wanted.shape):
        return torch.zeros(1).expand(shape)
    line = torch.arange(1.0, shape[axis] + 1)
    return line.view([-1 if i == axis else 1 for i in range(len(shape))]).expand(shape)


def _varying(output: Tensor, longest: int) -> int | None:
    """Return the one axis along which values vary, unless others have been merged into it."""
    if not output.numel() or not output.is_floating_point():
        return None
    axes = [
        axis
        for axis in range(output.ndim)
        if output.shape[axis] > 1 and bool((output.narrow(axis, 0, 1) != output).any())
    ]
    return axes[0] if len(axes) == 1 and output.shape[axes[0]] <= longest else None


def _flat(noted: Any) -> list[_Tensor]:
    found: list[_Tensor] = []
    tree_map(lambda v: found.append(v) if _noted(v) else None, noted)
    return found


def _noted(value: Any) -> bool:
    return isinstance(value, _Tensor)


def _is(value: Any) -> bool:
    return isinstance(value, Tensor)


def _broadcasts(shape: torch.Size, whole: torch.Size) -> bool:
    return len(shape) == len(whole) and all(a in (1, b) for a, b in zip(shape, whole, strict=True))
