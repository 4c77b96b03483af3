"""Cutting a network, so that nothing behind the cut is computed."""

from __future__ import annotations

import shlex

from torch import fx, nn

from raypipe.backbone.cutting.rewriting import rewrite
from raypipe.backbone.cutting.tracing import Graph, trace
from raypipe.backbone.cutting.untouched import EarlyExit, called_module
from raypipe.backbone.libraries.library import Embedding
from raypipe.backbone.outputs import EMBEDDING, LOGITS
from raypipe.errors import UsageError, nearest

#: Names of layers in a message, the last ones.
_SHOWN = 5


def truncate(
    model: nn.Module,
    layers: tuple[str, ...],
    embedding: Embedding | None = None,
    *,
    graph: Graph | None = None,
    rewritten: bool = True,
) -> nn.Module:
    """Return a module that maps (N, 3, H, W) to `{layer: output}` and computes no more than that.

    A network that torch.fx can trace is rewritten without the nodes behind the last cut. Another
    one, or one whose layers are no nodes, is run as it is and left once they have been seen.

    Args:
        model: the network; what is returned shares its parameters.
        layers: names of nodes or modules, `logits`, `embedding`.
        embedding: where the network has it.
        graph: of the network, if it has been traced before.
        rewritten: False runs it as it is.

    Raises:
        UsageError: a layer that does not exist; the nearest names are suggested.
    """
    graph = (graph or trace(model)) if rewritten else None
    check_layers(model, layers, graph)
    places = _places(model, graph, layers, embedding)
    if places is not None:
        where, nodes = places
        return rewrite(model, where.graph, nodes)
    modules = dict(model.named_modules())
    for layer in layers:
        if layer not in (LOGITS, EMBEDDING) and called_module(layer, modules) is None:
            raise UsageError(
                f"--layer: {layer} is a node of the rewritten network, which does not do here; "
                "cut at a module"
            )
    return EarlyExit(model, layers, embedding)


def check_layers(
    model: nn.Module, layers: tuple[str, ...], graph: Graph | None, backbone: str = "BACKBONE"
) -> None:
    """Raise a `UsageError` where the network, called `backbone`, has no layer of a name."""
    modules = dict(model.named_modules())
    for layer in layers:
        is_known = layer in (LOGITS, EMBEDDING) or called_module(layer, modules) is not None
        if not is_known and (graph is None or graph.find(layer) is None):
            nodes = [*graph.names, *graph.outputs] if graph is not None else []
            known = dict.fromkeys([*nodes, *filter(None, modules), LOGITS, EMBEDDING])
            last = ", ".join([*(nodes or known)][-_SHOWN:])
            raise UsageError(
                f"--layer: no node {layer!r} in this network"
                f"{nearest(layer, known) or f'; its last ones are {last};'} "
                f"`raypipe layers {shlex.quote(backbone)}` lists all"
            )


def _places(
    model: nn.Module, graph: Graph | None, layers: tuple[str, ...], embedding: Embedding | None
) -> tuple[Graph, dict[str, fx.Node]] | None:
    """Return a graph that has all layers, and their nodes; None if there is none."""
    if graph is None:
        return None
    if layers == (EMBEDDING,) and embedding is not None and embedding.call is not None:
        called = trace(model, embedding.call)
        if called is None or called.result is None:
            return None
        return called, {EMBEDDING: called.result}
    nodes = {layer: _node(graph, layer, embedding) for layer in layers}
    found = {layer: node for layer, node in nodes.items() if node is not None}
    return (graph, found) if len(found) == len(nodes) else None


def _node(graph: Graph, layer: str, embedding: Embedding | None) -> fx.Node | None:
    if layer == LOGITS:
        return graph.result
    if layer != EMBEDDING:
        return graph.find(layer)
    if embedding is None or embedding.call is not None:
        return None
    return graph.inputs.get(embedding.module) if embedding.module else graph.result
