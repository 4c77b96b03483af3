"""A truncated network as bytes, so that replicas need not build and cut the full one again.

A traced network is code and modules of torch alone: a replica that loads it imports neither
torchvision nor timm, which takes longer than loading it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from raypipe.backbone.libraries import BackboneSource
from raypipe.backbone.libraries.own import prepare_import


def to_bytes(model: nn.Module, weights: set[str]) -> bytes | None:
    """Return a truncated network without its weights, or None if it has to be built anew.

    Args:
        model: what `truncate` returned; its weights are given up.
        weights: names of the parameters and buffers that travel apart.
    """
    if not isinstance(model, fx.GraphModule):
        return None
    for name in weights:
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        bare = getattr(module, leaf).detach().to("meta")
        is_parameter = leaf in dict(module.named_parameters(recurse=False, remove_duplicate=False))
        setattr(module, leaf, nn.Parameter(bare, requires_grad=False) if is_parameter else bare)
    content = io.BytesIO()
    try:
        torch.save(model, content)
    except Exception:  # it is the user's, and may hold what only its own code can make
        return None
    return content.getvalue()


def from_bytes(data: bytes, source: BackboneSource) -> nn.Module:
    """Return the network; its weights are still to be loaded."""
    prepare_import(source)
    # The bytes come from the driver of this very job, never from a file.
    model: nn.Module = torch.load(io.BytesIO(data), weights_only=False, map_location="cpu")
    return model


def assign(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a network weights by name, (out, in) as its own are; absent ones become small ones."""
    versioned = model.state_dict()  # with the versions that some modules look at
    versioned.clear()
    versioned.update(state)
    model.load_state_dict(versioned, strict=False, assign=True)
    _fill_missing(model)


def _fill_missing(model: nn.Module) -> None:
    """Give weights that have no values some small ones, drawn from torch's generator."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                drawn = torch.empty(parameter.shape).normal_(0, 0.02)
                setattr(module, name, nn.Parameter(drawn, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                setattr(module, name, torch.ones(buffer.shape, dtype=buffer.dtype))
