"""Libraries of networks, in the order in which they are asked whether a name is theirs.

To add one: a module with a `Library`, and its place in this list.
"""

from __future__ import annotations

from raypipe.backbone.libraries.keras import Keras
from raypipe.backbone.libraries.library import (
    Arguments,
    BackboneSource,
    Description,
    Embedding,
    Library,
    Published,
)
from raypipe.backbone.libraries.open_clip import OpenClip
from raypipe.backbone.libraries.own import OwnFile, OwnModule, check_code, differs
from raypipe.backbone.libraries.pypi import PyPI
from raypipe.backbone.libraries.timm import Timm
from raypipe.backbone.libraries.torchvision import Torchvision
from raypipe.backbone.libraries.transformers import Transformers

__all__ = [
    "LIBRARIES",
    "Arguments",
    "BackboneSource",
    "Description",
    "Embedding",
    "Library",
    "OwnFile",
    "OwnModule",
    "Published",
    "check_code",
    "differs",
    "library_for",
    "library_of",
]

#: The last one takes every name that has no other form.
LIBRARIES: tuple[Library, ...] = (
    Timm(), PyPI(), Transformers(), OpenClip(), Keras(), OwnFile(), OwnModule(), Torchvision(),
)  # fmt: skip


def library_for(name: str) -> Library:
    """Return the library that a name belongs to."""
    return next(library for library in LIBRARIES if library.owns(name))


def library_of(source: BackboneSource) -> Library:
    """Return the library that a source was found in."""
    return next(library for library in LIBRARIES if library.kind == source.kind)
