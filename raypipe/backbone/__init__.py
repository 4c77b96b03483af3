"""A truncated network that can be sent to replicas, and set up there; no Ray.

This module imports neither torchvision nor timm: replicas start sooner without them. They find and
load networks, which is in `loading`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from raypipe.backbone.libraries.library import BackboneSource, Embedding
from raypipe.backbone.registry import build
from raypipe.backbone.shipping import assign, from_bytes
from raypipe.spec import Output, Preprocess

__all__ = ["Backbone", "restore"]


@dataclass(frozen=True)
class Backbone:
    """A truncated network, verified and ready to be sent to replicas.

    Attributes:
        source: how to build the full network anew.
        outputs: the feature columns it makes, and the nodes they are taken from.
        network: the truncated network without its weights, if it can be sent.
        state: the truncated network's parameters and buffers, by name.
        weights_sha256: checksum of the weights file (or of the tensors, if there was no file).
        trained: the preprocessing that travels with the weights, where it is known.
        embedding: where the network has its embedding, if that is one of the layers.
        rewritten: whether it is a rewritten graph, and not the network as it is.
        usual: the node of the embedding, where it was looked for.
    """

    source: BackboneSource
    outputs: tuple[Output, ...]
    network: bytes | None
    state: dict[str, npt.NDArray[np.generic]]
    weights_sha256: str
    trained: Preprocess | None
    embedding: Embedding | None = None
    rewritten: bool = True
    usual: str = ""

    @property
    def layers(self) -> tuple[str, ...]:
        """Nodes it is cut at, each once."""
        return tuple(dict.fromkeys(output.layer for output in self.outputs))


def restore(backbone: Backbone) -> nn.Module:
    """Rebuild the truncated network from what `load` verified, in evaluation mode.

    The module maps (N, 3, H, W) to a dict of one tensor per layer.
    """
    if backbone.network is not None:
        truncated = from_bytes(backbone.network, backbone.source)
    else:
        from raypipe.backbone.truncate import truncate

        model, where = build(backbone.source, blank=True), backbone.embedding
        truncated = truncate(model, backbone.layers, where, rewritten=backbone.rewritten)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # arrays from the object store are read-only, and stay so
        state = {name: torch.from_numpy(value) for name, value in backbone.state.items()}
    assign(truncated, state)  # `fit_state` saw to the names in front of the cut
    return truncated.eval().requires_grad_(False)
