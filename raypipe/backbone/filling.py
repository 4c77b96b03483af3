"""Whole networks with weights, of which some may be absent behind the cut."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from raypipe.backbone.libraries.library import BackboneSource
from raypipe.backbone.registry import build
from raypipe.backbone.shipping import assign


def filled(source: BackboneSource, state: Mapping[str, Tensor], seed: int) -> nn.Module:
    """Build the whole network in float32; weights that are absent are drawn from the seed.

    Args:
        source: how to build it.
        state: weights by name; what has another shape than there, as (out, in), or is of another
            kind of numbers, is left out.
        seed: of the others.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(source, blank=True)
        fitting = {
            name: given.float() if given.is_floating_point() else given
            for name, value in model.state_dict().items()
            if (given := state.get(name)) is not None
            and given.shape == value.shape
            and is_alike(given, value)
        }
        assign(model, fitting)
    return model.requires_grad_(False)


def is_alike(given: Tensor, value: Tensor) -> bool:
    """Whether a tensor has values that another one can take: dense, of the same kind of numbers.

    Both are (d, …). Floating-point numbers of a byte have their scale elsewhere.
    """
    if given.layout is not torch.strided or given.is_meta or given.is_quantized:
        return False
    if given.is_floating_point() and given.element_size() == 1:
        return False
    return _kind(given) == _kind(value)


def _kind(value: Tensor) -> tuple[bool, ...]:
    return value.is_floating_point(), value.is_complex(), value.dtype is torch.bool
