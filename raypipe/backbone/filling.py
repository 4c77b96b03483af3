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
        state: weights by name; what has another shape than there, as (out, in), is left out.
        seed: of the others.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(source, blank=True)
        fitting = {
            name: given.float() if given.is_floating_point() else given
            for name, value in model.state_dict().items()
            if (given := state.get(name)) is not None and given.shape == value.shape
        }
        assign(model, fitting)
    return model.eval().requires_grad_(False)
