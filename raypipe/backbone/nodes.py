"""Nodes of a traced network."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["is_module"]


def is_module(
    node: Any,
    modules: dict[str, nn.Module],
    kind: type[nn.Module] | tuple[type[nn.Module], ...],
) -> bool:
    """Whether a graph's node calls a module of this kind, or of one of these."""
    return node.op == "call_module" and isinstance(modules.get(str(node.target)), kind)
