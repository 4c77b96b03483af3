"""The node of the image's feature, and how it is found in networks of one's own."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from raypipe.backbone.cutting.tracing import Graph, trace
from raypipe.backbone.cutting.untouched import called_module
from raypipe.backbone.libraries.library import Embedding
from raypipe.backbone.nodes import is_module
from raypipe.backbone.outputs import EMBEDDING, LOGITS
from raypipe.errors import UsageError

_SKIPPED = (nn.Dropout, nn.Identity)


def embedding_layer(model: nn.Module, graph: Graph | None, embedding: Embedding) -> str:
    """Return the name of the node that is the embedding, or `embedding` where none is.

    Args:
        model: the network with its weights.
        graph: what it computes, if it can be traced.
        embedding: where it has its embedding.
    """
    if graph is None:
        return EMBEDDING
    if embedding.call is not None:
        called = trace(model, embedding.call)
        return _same_node(model, graph, called) or EMBEDDING
    node = graph.inputs.get(embedding.module) if embedding.module else graph.result
    modules = dict(model.named_modules())
    while node is not None and is_module(node, modules, nn.Dropout):
        node = node.all_input_nodes[0]
    return (graph.name_of(node) if node is not None else None) or EMBEDDING


def _same_node(model: nn.Module, graph: Graph, called: Graph | None) -> str | None:
    """Return the first node of one graph that computes what another one returns."""
    if called is None or called.result is None:
        return None
    numbers = dict[Any, int]()
    wanted = _numbered(model, called.graph, numbers)[called.result]
    ours = _numbered(model, graph.graph, numbers)
    return next((name for name, node in graph.names.items() if ours[node] == wanted), None)


def _numbered(model: nn.Module, graph: fx.Graph, numbers: dict[Any, int]) -> dict[fx.Node, int]:
    """Number nodes so that two get the same number if they compute the same from the same."""
    modules, found = dict(model.named_modules()), dict[fx.Node, int]()
    for node in graph.nodes:
        if is_module(node, modules, _SKIPPED):
            found[node] = found[node.all_input_nodes[0]]
            continue
        made_of = fx.node.map_arg((node.args, node.kwargs), lambda known: _Number(found[known]))
        target = node.target if node.op != "get_attr" else _value(model, str(node.target))
        place = "" if node.op == "placeholder" else target
        found[node] = numbers.setdefault((node.op, place, repr(made_of)), len(numbers))
    return found


class _Number(int):
    """A node's number; apart from the numbers among its arguments."""

    def __repr__(self) -> str:
        return f"#{int(self)}"


def _value(model: nn.Module, name: str) -> str:
    """Return a parameter's name; of a constant, which each tracing names anew, its digest."""
    if not name.startswith("_tensor_constant"):
        return name
    value = getattr(model, name)
    if value.is_meta:
        return name
    content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{value.dtype}{tuple(value.shape)}{hashlib.sha256(content).hexdigest()}"


def own_embedding(model: nn.Module, graph: Graph | None, images: Tensor) -> Embedding:
    """Find the embedding of a network that no library describes.

    It is the input of the fully connected layer that the network's output comes from; without such
    a layer, it is the network's own output. `images` are (N, 3, H, W), for networks that cannot be
    traced.

    Raises:
        UsageError: several layers could be meant.
    """
    if graph is not None and graph.result is not None:
        return _from_graph(model, graph, graph.result)
    return _from_run(model, images)


def _from_graph(model: nn.Module, graph: Graph, result: fx.Node) -> Embedding:
    modules = dict(model.named_modules())
    linear = {name for name, module in modules.items() if isinstance(module, nn.Linear)}
    calls = {name: called_module(name, modules) for name in graph.outputs}
    heads = {
        graph.outputs[name]: name for name, call in calls.items() if call and call[0] in linear
    }
    node: fx.Node | None = result
    while node is not None and node not in heads:
        before = node if _is_thin(node, modules) else None
        node = before.all_input_nodes[0] if before and before.all_input_nodes else None
        if node is None:
            break
    if node is not None:
        return _entering(model, heads[node])
    several = _merged_heads(result, heads, modules)
    if several:
        _refuse(model, several)
    return Embedding()


_THIN_MODULES = (nn.Dropout, nn.Identity, nn.Softmax, nn.LogSoftmax, nn.Sigmoid, nn.Flatten)
_THIN = {
    "softmax", "log_softmax", "sigmoid", "dropout", "flatten", "view", "reshape", "squeeze",
    "contiguous", "clone", "float",
}  # fmt: skip
_MERGES = {"add", "iadd", "sub", "mul", "truediv", "div", "cat", "stack", "mean", "sum"}


def _is_thin(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node turns a classifier's output into another form of it."""
    return is_module(node, modules, _THIN_MODULES) or _name(node) in _THIN


def _name(node: fx.Node) -> str:
    if node.op not in ("call_method", "call_function"):
        return ""
    return str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")


def _merged_heads(
    result: fx.Node, heads: dict[fx.Node, str], modules: dict[str, nn.Module]
) -> list[str]:
    """Return the fully connected layers whose outputs an output is put together from."""
    found, rest, merged = list[str](), [result], False
    while rest:
        node = rest.pop()
        if node in heads:
            found.append(heads[node])
        elif _name(node) in _MERGES or _is_thin(node, modules):
            merged |= _name(node) in _MERGES
            rest += node.all_input_nodes
        else:
            return []
    return found if merged else []


def _from_run(model: nn.Module, images: Tensor) -> Embedding:
    outputs: dict[str, Any] = {}

    calls: Counter[str] = Counter()

    def remember(name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            number, calls[name] = calls[name], calls[name] + 1
            outputs[f"{name}_{number}" if number else name] = output.clone()

        return keep

    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    hooks = [m.register_forward_hook(remember(name)) for name, m in linear.items()]
    try:
        with torch.inference_mode():
            result = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(result, Tensor):
        _refuse(model, list(outputs))
    same = [name for name, output in outputs.items() if _comes_from(result, output)]
    if len(same) == 1:
        return _entering(model, same[0])
    wide = [name for name, output in outputs.items() if output.shape[-1] == result.shape[-1]]
    if same or wide:
        _refuse(model, same or wide)
    return Embedding()


def _entering(model: nn.Module, head: str) -> Embedding:
    """Return what goes into a layer, unless that is called several times and this is a later."""
    if head not in dict(model.named_modules()):
        _refuse(model, [head])
    return Embedding(module=head)


def _comes_from(result: Tensor, output: Tensor) -> bool:
    """Whether a network's result is a layer's output, or probabilities made of it."""
    if result.numel() != output.numel():
        return False
    forms = (output, F.softmax(output, -1), F.log_softmax(output, -1), output.sigmoid())
    return any(torch.equal(result.reshape(-1), form.reshape(-1)) for form in forms)


def _refuse(model: nn.Module, heads: list[str]) -> NoReturn:
    listed = ", ".join(heads) or "none"
    raise UsageError(
        f"--layer: {type(model).__name__} does not say which of its nodes is the image's feature: "
        f"its output is not that of one fully connected layer (candidates: {listed}); "
        f"name a layer of `raypipe layers BACKBONE`, or {LOGITS} for the network's own output"
    )
