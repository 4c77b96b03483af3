"""Nodes of a traced network."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import fx, nn


class NamedLayer(nn.Module):
    """A module that is one layer: what it returns has its name, whatever it is made of."""


def count_calls(graph: fx.Graph) -> Counter[str]:
    """Return how often each module is called, by its name."""
    return Counter(str(node.target) for node in graph.nodes if node.op == "call_module")


def is_module(
    node: Any,
    modules: dict[str, nn.Module],
    kind: type[nn.Module] | tuple[type[nn.Module], ...],
) -> bool:
    """Whether a graph's node calls a module of this kind, or of one of these."""
    return node.op == "call_module" and isinstance(modules.get(str(node.target)), kind)
