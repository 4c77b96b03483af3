"""Backbones by name, and building them."""

from __future__ import annotations

from torch import nn

from raypipe.backbone.libraries import BackboneSource, library_for, library_of
from raypipe.backbone.libraries.own import prepare_import
from raypipe.errors import UsageError

__all__ = ["BackboneSource", "build", "find", "prepare_import"]


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
    return model.eval()
