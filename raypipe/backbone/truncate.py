"""Cutting a network, so that nothing behind the cut is computed."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import (
    NodePathTracer,
    create_feature_extractor,
    get_graph_node_names,
)

from raypipe.backbone.nodes import is_module
from raypipe.errors import UsageError, nearest

#: Stands for the network's own output.
LOGITS = "logits"

#: Modules that neither change their input nor return a view of it.
_LEAVES_INPUT_ALONE = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm, nn.MaxPool2d)


def truncate(model: nn.Module, layers: tuple[str, ...]) -> nn.Module:
    """Return a module that maps (N, 3, H, W) to `{layer: output}` and computes no more than that.

    A network that torch.fx can trace is rewritten without the nodes behind the last cut. Another
    one is run as it is and left as soon as the last cut has been reached.

    Raises:
        UsageError: a layer that does not exist; the nearest names are suggested.
    """
    nodes = _graph_nodes(model)
    if nodes is None:
        modules = dict(model.named_modules())
        _check_layers(layers, [*(name for name in modules if name), LOGITS])
        return EarlyExit(model, layers)
    _check_layers(layers, [*_with_prefixes(nodes), LOGITS])
    return _rewrite(model, layers, nodes)


def default_layer(model: nn.Module) -> str:
    """Return the node that feeds the last fully connected layer: the network's own feature.

    Dropout in between is skipped. Without a fully connected layer, or where the network cannot be
    traced, it is the last node or module.
    """
    graph = _trace(model)
    if graph is None:
        return str([name for name, _ in model.named_modules() if name][-1])
    tracer, traced = graph
    names: dict[fx.Node, str] = tracer.node_to_qualname
    modules = dict(model.named_modules())
    linear = [node for node in traced.nodes if is_module(node, modules, nn.Linear)]
    if not linear:
        last = next(node for node in reversed(traced.nodes) if node.op != "output")
        return str(names[last])
    node = linear[-1].all_input_nodes[0]
    while is_module(node, modules, nn.Dropout):
        node = node.all_input_nodes[0]
    return str(names[node])


def node_shapes(model: nn.Module, size: int) -> list[tuple[str, tuple[int, ...]]]:
    """Return every node that gives a tensor per image, with its shape for a size×size input."""
    nodes = _graph_nodes(model)
    names = [name for name in nodes or dict(model.named_modules()) if name]
    shapes: list[tuple[str, tuple[int, ...]]] = []
    image = torch.zeros(1, 3, size, size)
    with torch.inference_mode():
        if nodes is None:
            outputs = _outputs_of_modules(model, image)
        else:
            outputs = _rewrite(model, tuple(names), nodes)(image)
    for name in names:
        output = outputs.get(name)
        if isinstance(output, Tensor) and output.ndim >= 2 and output.shape[0] == 1:
            shapes.append((name, tuple(output.shape[1:])))
    return shapes


class EarlyExit(nn.Module):
    """Runs a network that cannot be rewritten and leaves it once every layer has been seen."""

    def __init__(self, model: nn.Module, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self._seen: dict[str, Any] = {}
        modules = dict(model.named_modules())
        for layer in layers:
            if layer in modules:  # all but `logits`
                modules[layer].register_forward_hook(self._hook(layer))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the network's own names, so that weights load as into the full network."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights by the network's own names."""
        return self.model.load_state_dict(*args, **kwargs)

    def forward(self, x: Tensor) -> dict[str, Any]:
        """Return `{layer: output}` for (N, 3, H, W).

        Raises:
            UsageError: the network does not come by one of the layers.
        """
        self._seen = {}
        try:
            result = self.model(x)
        except _Reached:
            return self._seen
        if LOGITS in self.layers:
            self._seen.setdefault(LOGITS, result)
        absent = [layer for layer in self.layers if layer not in self._seen]
        if not absent:
            return self._seen
        raise UsageError(f"--layer: the network never reaches {', '.join(absent)}")

    def _hook(self, layer: str) -> Any:
        def remember(_module: nn.Module, _inputs: Any, output: Any) -> None:
            # What follows may work in place on it, if anything does.
            several = len(self.layers) > 1 and isinstance(output, Tensor)
            self._seen[layer] = output.clone() if several else output
            if len(self._seen) == len(self.layers):
                raise _Reached

        return remember


class _Reached(BaseException):
    """Leaves the forward pass; no `except Exception` in a network's code may catch it."""


def _trace(model: nn.Module) -> tuple[Any, fx.Graph] | None:
    tracer = NodePathTracer()
    try:
        return tracer, tracer.trace(model.eval())
    except Exception:  # control flow on data, foreign code: many ways not to be traceable
        return None


def _rewrite(model: nn.Module, layers: tuple[str, ...], nodes: list[str]) -> fx.GraphModule:
    # Training mode is never used: its graph is cut at the start, and dropped.
    first = get_graph_node_names(model, suppress_diff_warning=True)[0][0]
    places = {layer: _resolve(layer, nodes) for layer in layers}
    both = create_feature_extractor(
        model,
        train_return_nodes={first: first},
        eval_return_nodes={node: node for node in places.values()},
        suppress_diff_warning=True,
    )
    graph, modules = both.eval_graph, dict(both.named_modules())
    output = next(node for node in graph.nodes if node.op == "output")
    for node in output.all_input_nodes:
        others = [user for user in node.users if user is not output]
        if not all(is_module(user, modules, _LEAVES_INPUT_ALONE) for user in others):
            # What follows may work in place on what is returned.
            with graph.inserting_after(node):
                output.replace_input_with(node, graph.call_method("clone", (node,)))
    output.args = ({layer: output.args[0][place] for layer, place in places.items()},)
    graph._tracer_cls = None  # torchvision's, which whoever loads the pickled module would import
    return _opened(fx.GraphModule(both, graph).eval())


def _opened(model: fx.GraphModule) -> fx.GraphModule:
    """Trace into torchvision's blocks of layers, which it keeps whole.

    So that their layers can be folded and fused, and replicas need not import torchvision for them.
    """
    try:
        return fx.GraphModule(model, fx.Tracer().trace(model)).eval()
    except Exception:  # control flow on data within a block
        return model


def _resolve(layer: str, nodes: list[str]) -> str:
    """Return the node that a layer stands for: itself, or the last one below it."""
    if layer in nodes:
        return layer
    below = [node for node in nodes if node.startswith(f"{layer}.")]
    return (below or nodes)[-1]  # the last one of all is `logits`


def _graph_nodes(model: nn.Module) -> list[str] | None:
    """Names of the nodes in evaluation mode, or None where the network cannot be traced."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about training mode
            names: list[str] = get_graph_node_names(model)[1]
    except Exception:
        return None
    finally:
        model.eval()
    return names


def _with_prefixes(nodes: list[str]) -> list[str]:
    """A module's name stands for its last node: `layer4` for `layer4.2.relu_2`."""
    names: dict[str, None] = {}
    for node in nodes:
        parts = node.split(".")
        names.update((".".join(parts[: i + 1]), None) for i in range(len(parts)))
    return list(names)


def _check_layers(layers: tuple[str, ...], known: list[str]) -> None:
    for layer in layers:
        if layer not in known:
            raise UsageError(
                f"--layer: no node {layer!r} in this network{nearest(layer, known)} "
                "`raypipe layers BACKBONE` lists all"
            )


def _outputs_of_modules(model: nn.Module, image: Tensor) -> dict[str, Any]:
    outputs: dict[str, Any] = {}

    def remember(name: str) -> Any:
        return lambda _module, _inputs, output: outputs.__setitem__(name, output)

    hooks = [m.register_forward_hook(remember(name)) for name, m in model.named_modules() if name]
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs
