"""Tensors of a network that weights do not hold: what its constructor computes is all there is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from raypipe.errors import UsageError

#: Attributes of every module; of these, buffers that are not saved count.
_OWN = frozenset(vars(nn.Module()))


def constants(model: nn.Module) -> dict[str, list[Tensor]]:
    """Return the tensors (d, …) that are no copies of parameters, by their attributes."""
    places = {value.untyped_storage().data_ptr() for value in model.parameters()} - {0}
    found: dict[str, list[Tensor]] = {}
    for path, module in model.named_modules():
        own = {name: value for name, value in vars(module).items() if name not in _OWN}
        own |= {name: module._buffers[name] for name in module._non_persistent_buffers_set}
        for name, value in own.items():
            tensors = [torch.as_tensor(v) for v in tree_leaves(value) if _is_constant(v, places)]
            if tensors:
                found[f"{path}.{name}" if path else name] = tensors
    return found


def _is_constant(value: object, places: set[int]) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    if not isinstance(value, Tensor) or value.is_meta or value.requires_grad:
        return False
    return value.layout is torch.strided and value.untyped_storage().data_ptr() not in places


def check_constants(
    name: str, one: Mapping[str, list[Tensor]], other: Mapping[str, list[Tensor]]
) -> None:
    """Make sure that a network has the same constants each time it is built.

    Args:
        name: the network's name, for messages.
        one: of a network, by `constants`; tensors (d, …).
        other: of the same network, built with other random numbers.

    Raises:
        UsageError: they are drawn at random.
    """
    drawn = [
        path
        for path, tensors in one.items()
        if path in other and not all(map(_same, tensors, other[path]))
    ]
    if drawn:
        more = f" and {len(drawn) - 3} more" if len(drawn) > 3 else ""
        raise UsageError(
            f"--backbone: {name} has other values in {', '.join(drawn[:3])}{more} each time it is "
            "built, and weights do not hold them; make them parameters or buffers that are saved, "
            "or draw them from a generator with a seed of its own"
        )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
