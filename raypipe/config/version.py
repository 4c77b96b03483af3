"""Versions of this code and of the packages that features depend on."""

from __future__ import annotations

from importlib.metadata import version

__version__ = "0.1.0"
_PACKAGES = ("torch", "torchvision", "pillow")


def versions() -> dict[str, str]:
    """Return the versions that stores and predictions tell, by package.

    That of raypipe is of the code that runs: what `submit` sends need not be installed there.
    """
    return {"raypipe": __version__, **{name: version(name) for name in _PACKAGES}}
