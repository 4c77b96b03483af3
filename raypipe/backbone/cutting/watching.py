"""Running a whole network, and keeping what it gives at some of its layers."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, fx, nn

from raypipe.backbone.cutting.tracing import Graph
from raypipe.backbone.cutting.untouched import EarlyExit
from raypipe.backbone.libraries.library import Embedding
from raypipe.backbone.outputs import LOGITS

__all__ = ["GraphRun", "watch"]


class GraphRun(fx.Interpreter):
    """Runs a graph and keeps what some nodes give, before anything works on it in place.

    Args:
        model: the network.
        graph: what it computes.
        nodes: those to keep.
    """

    def __init__(self, model: nn.Module, graph: fx.Graph, nodes: set[fx.Node]) -> None:
        super().__init__(model, graph=graph)
        self._nodes = nodes
        self.seen: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        found = super().run_node(n)
        if n in self._nodes:
            self.seen[n] = found.clone() if isinstance(found, Tensor) else found
        return found


@torch.inference_mode()
def watch(
    model: nn.Module,
    graph: Graph | None,
    layers: tuple[str, ...],
    embedding: Embedding | None,
    image: Tensor,
) -> dict[str, Any]:
    """Return `{layer: output}` of a run that goes on behind the last of them, as far as it can.

    Args:
        model: the network.
        graph: what it computes, if it can be traced.
        layers: names of nodes, modules, `logits`, `embedding`.
        embedding: where the network has it.
        image: (1, 3, H, W).
    """
    if graph is not None:
        places = {layer: graph.result if layer == LOGITS else graph.find(layer) for layer in layers}
        nodes = {layer: node for layer, node in places.items() if node is not None}
        if len(nodes) == len(layers):
            run = GraphRun(model, graph.graph, set(nodes.values()))
            with contextlib.suppress(Exception):  # behind the cut, a network need not work
                run.run(image)
            return {layer: run.seen[node] for layer, node in nodes.items() if node in run.seen}
    runner = EarlyExit(model, layers, embedding, leaves=False)
    with contextlib.suppress(Exception):
        return runner(image)  # type: ignore[no-any-return]
    return runner.seen
