"""Comparing a backbone that was cut with its untouched network once more, on real images."""

from __future__ import annotations

import torch
from torch import Tensor

from raypipe.backbone import Backbone, restore
from raypipe.backbone.cutting.comparison import Whole, differing
from raypipe.backbone.cutting.tracing import trace
from raypipe.backbone.filling import filled
from raypipe.errors import UsageError


def check_resemblance(backbone: Backbone, images: Tensor) -> None:
    """Make sure that a rewritten network gives what the untouched one gives.

    Args:
        backbone: a network that may have been rewritten; one that runs as it is needs no check.
        images: (N, 3, H, W) float32, as they enter it.

    Raises:
        UsageError: it gives something else at one of the layers.
    """
    if not backbone.rewritten:
        return
    state = {name: torch.from_numpy(value.copy()) for name, value in backbone.state.items()}
    model = filled(backbone.source, state, seed=0)
    graph = trace(model)
    if graph is None:
        return
    whole = Whole(model, graph, backbone.embedding, backbone.usual)
    wrong = differing(whole, restore(backbone), backbone.layers, images)
    if wrong:
        raise UsageError(
            f"--layer: on sampled images, node {wrong[0]!r} of the network that torch.fx has "
            f"rewritten gives something else than {backbone.source.name} itself; cut at another"
        )
