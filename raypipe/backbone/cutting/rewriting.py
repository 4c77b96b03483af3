"""Rewriting a traced network without the nodes behind the cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import fx, nn

from raypipe.backbone.cutting.tracing import mutates
from raypipe.backbone.nodes import is_module

__all__ = ["rewrite"]

#: Modules that neither change their input nor return a view of it.
_LEAVES_INPUT_ALONE = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm, nn.MaxPool2d)


def rewrite(model: nn.Module, graph: fx.Graph, places: Mapping[str, fx.Node]) -> fx.GraphModule:
    """Return a module that computes `{layer: output}` and nothing behind the last of them.

    It shares its parameters with the network.

    Args:
        model: the network.
        graph: what it computes.
        places: the node of each layer.
    """
    kept = _kept(model, graph, places.values())
    modules = dict(model.named_modules())
    cut, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    returned = dict[fx.Node, fx.Node]()
    for node in (node for node in graph.nodes if node in kept):
        copies[node] = returned[node] = cut.node_copy(node, lambda known: copies[known])
        others = [user for user in node.users if user in kept]
        if node in places.values() and not all(
            is_module(user, modules, _LEAVES_INPUT_ALONE) for user in others
        ):  # what follows may work in place on what is returned
            returned[node] = cut.call_method("clone", (copies[node],))
    cut.output({layer: returned[node] for layer, node in places.items()})
    return _opened(fx.GraphModule(model, cut).eval())


def _kept(model: nn.Module, graph: fx.Graph, wanted: Iterable[fx.Node]) -> set[fx.Node]:
    """Return what the wanted nodes are made of, and what works in place in front of the last."""
    wanted = set(wanted)
    order = list(graph.nodes)
    last = max(order.index(node) for node in wanted)
    roots = [*wanted, *(node for node in order if node.op == "placeholder")]
    # Statements as `y.clamp_(min=0)` have no users, and still change what follows.
    roots += [n for n in order[:last] if n.op not in _INERT and mutates(n, model)]
    kept = set[fx.Node]()
    while roots:
        node = roots.pop()
        if node not in kept:
            kept.add(node)
            roots += node.all_input_nodes
    return kept


_INERT = ("placeholder", "get_attr", "output")


def _opened(model: fx.GraphModule) -> fx.GraphModule:
    """Trace into torchvision's blocks of layers, which tracing keeps whole.

    So that their layers can be folded and fused, and replicas need not import torchvision for them.
    """
    try:
        return fx.GraphModule(model, fx.Tracer().trace(model)).eval()
    except Exception:  # control flow on data within a block
        return model
