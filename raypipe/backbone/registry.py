"""Backbones by name, and building them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from raypipe.backbone.libraries import BackboneSource, library_for, library_of
from raypipe.errors import UsageError


def find(name: str) -> BackboneSource:
    """Return the source of the backbone that a name means.

    Raises:
        UsageError: there is none; the nearest names are suggested.
    """
    return library_for(name).find(name)


def build(source: BackboneSource, *, blank: bool = False) -> nn.Module:
    """Build the full network, in evaluation mode, with whatever weights its constructor gives.

    Args:
        source: what `find` returned.
        blank: weights will be assigned, so no time or memory need be spent on initial ones.

    Raises:
        UsageError: the callable is missing or fails.
    """
    model = library_of(source).build(source, blank=blank)
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"--backbone: {source.name} must return a torch.nn.Module; got {type(model).__name__}"
        )
    unfit = _unfit(model)
    if unfit:
        raise UsageError(
            f"--backbone: {source.name} returns {unfit}; give the network itself, as it was "
            "before that"
        )
    try:
        model.eval()
    except Exception as error:  # the network is the user's: it may raise anything
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(
            f"--backbone: {source.name} cannot be put into evaluation mode: {first}"
        ) from None
    return model


def _unfit(model: nn.Module) -> str:
    """Say what a network is, if its weights cannot be exchanged or its modules not be watched."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        return "a network compiled by torch.jit"
    if any(is_lazy(value) for value in model.state_dict().values()):
        return "lazy modules, whose weights have no shapes"
    other = [name for name, value in model.state_dict().items() if not isinstance(value, Tensor)]
    if other:
        return f"a network with weights that are no tensors, as quantised ones ({other[0]})"
    return ""
