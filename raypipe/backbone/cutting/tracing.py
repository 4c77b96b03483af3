"""A network's graph, with names for its nodes and for what each call of a module returns."""

from __future__ import annotations

import contextlib
import io
import math
import operator
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from raypipe.backbone.nodes import NamedLayer

Call = Callable[[nn.Module, Tensor], Tensor]


@dataclass
class Graph:
    """What a traced network computes.

    Attributes:
        graph: all of it.
        names: nodes by name, as torchvision's `get_graph_node_names` has them: the path of a module
            and, within it, the operation; of several of one name, the second is `name_1`.
        outputs: what the calls of modules return; the second call of a module is `name_1`.
        inputs: what goes into modules in their first call.
        result: what the network returns, if that is one node.
    """

    graph: fx.Graph
    names: dict[str, fx.Node]
    outputs: dict[str, fx.Node]
    inputs: dict[str, fx.Node] = field(default_factory=dict)
    result: fx.Node | None = None

    def find(self, layer: str) -> fx.Node | None:
        """Return the node that a layer's name stands for, if any."""
        return self.names.get(layer) or self.outputs.get(layer) or self._last_below(layer)

    def name_of(self, node: fx.Node) -> str | None:
        """Return a node's own name."""
        return next((name for name, known in self.names.items() if known is node), None)

    def module_of(self, layer: str) -> str | None:
        """Return the layer's name if it stands for what a call of a module returns."""
        node = self.find(layer)
        return layer if node is not None and self.outputs.get(layer) is node else None

    def _last_below(self, layer: str) -> fx.Node | None:
        """Return the last node of a module that returns something else than one tensor."""
        below = [node for name, node in self.names.items() if name.startswith(f"{layer}.")]
        return below[-1] if below else None


class _Tracer(fx.Tracer):
    """Keeps torchvision's operators whole and names nodes, as its own feature extraction does.

    https://github.com/pytorch/vision/blob/v0.19.0/torchvision/models/feature_extraction.py

    That is not imported, which would take as long as torch itself. A network that has some of its
    operators has imported them.
    """

    def __init__(self) -> None:
        operators = sys.modules.get("torchvision.ops")
        self._leaves = (
            tuple(
                kind
                for kind in vars(operators).values()
                if isinstance(kind, type) and issubclass(kind, nn.Module)
            )
            if operators
            else ()
        )
        super().__init__(autowrap_modules=(math, operators) if operators else (math,))
        self.node_to_qualname: dict[fx.Node, str] = {}
        self.outputs: dict[str, fx.Node] = {}
        self.inputs: dict[str, fx.Node] = {}
        self._calls: Counter[str] = Counter()
        self._next: dict[str, int] = {}
        self._within = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        path, before = self.path_of_module(m), self._within
        number, self._calls[path] = self._calls[path], self._calls[path] + 1
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, fx.Proxy)]
        if given:
            self.inputs.setdefault(path, given[0].node)
        self._within = path
        try:
            if self.is_leaf_module(m, path):
                found = self.create_proxy("call_module", path, args, kwargs)
            else:
                found = forward(*args, **kwargs)
        finally:
            self._within = before
        if isinstance(found, fx.Proxy):
            self.outputs[f"{path}_{number}" if number else path] = found.node
        return found

    def create_proxy(self, *args: Any, **kwargs: Any) -> fx.Proxy:
        proxy = super().create_proxy(*args, **kwargs)
        self.node_to_qualname[proxy.node] = self._qualified(self._within, proxy.node)
        return proxy

    def _qualified(self, module_qualname: str, node: fx.Node) -> str:
        """Name a node as torchvision does, which compares each with all before: minutes if many."""
        own = () if node.op == "call_module" else (str(node),)
        name = ".".join(filter(None, (module_qualname, *own)))
        stem = _NUMBERED.fullmatch(name)
        name = stem[1] if stem else name
        number = self._next.get(name, 0)
        name += f"_{number}" if number else ""
        self._next[name] = 1
        if last := _NUMBERED.fullmatch(name):
            self._next[last[1]] = int(last[2]) + 1
        return name


_NUMBERED = re.compile(r"(.+)_([0-9]+)", re.DOTALL)


def trace(model: nn.Module, call: Call | None = None) -> Graph | None:
    """Return the network's graph in evaluation mode, or None where it cannot be traced.

    Args:
        model: the network.
        call: what to trace instead of its `forward`.
    """
    tracer = _Tracer()
    try:
        with warnings.catch_warnings(), as_forward(model, call):
            warnings.simplefilter("ignore")
            model.eval()
            graph = tracer.trace(model)
    except Exception:  # control flow on data, foreign code: many ways not to be traceable
        return None
    names = _names(tracer, dict(model.named_modules()))
    returned = next(node for node in graph.nodes if node.op == "output").args[0]
    result = returned if isinstance(returned, fx.Node) else None
    return Graph(graph, names, tracer.outputs, tracer.inputs, result)


def _names(tracer: _Tracer, modules: dict[str, nn.Module]) -> dict[str, fx.Node]:
    """Return nodes by name.

    torchvision numbers nodes anew where a module's own name ends in a number: its `conv_1` is what
    the module `conv_2` returns. Here, the name of a module is its own.
    """
    own = dict[fx.Node, str]()
    for name, node in tracer.outputs.items():
        path = name if name in modules else name.rpartition("_")[0]
        if node.op == "call_module" and node.target == path:
            own.setdefault(node, name)
        elif isinstance(modules.get(path), NamedLayer):
            own[node] = name
    return {own.get(node, name): node for node, name in tracer.node_to_qualname.items()}


@contextlib.contextmanager
def as_forward(model: nn.Module, call: Call | None) -> Iterator[None]:
    """Have a network's `forward` do something else for a while, or just take images alone.

    Its other arguments have defaults, which tracing would take for something that is given.
    """
    kind = type(model)

    def forward(self: nn.Module, x: Tensor) -> Any:
        return kind.forward(self, x) if call is None else call(self, x)

    model.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    try:
        yield
    finally:
        model.__class__ = kind


_IN_PLACE = {
    *(value for name, value in vars(operator).items() if name.startswith("i") and callable(value)),
    operator.setitem,
} - {operator.index, operator.indexOf, operator.inv, operator.invert, operator.is_, operator.is_not}


@contextlib.contextmanager
def unreported() -> Iterator[None]:
    """Let a traced network fail without the report of its code that torch.fx prints beside."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def mutates(node: fx.Node, model: nn.Module) -> bool:
    """Whether a node may change what goes into it."""
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    if node.kwargs.get("inplace") or "out" in node.kwargs:
        return True
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.endswith("__")
    name = getattr(node.target, "__name__", "")
    return node.op == "call_function" and (
        node.target in _IN_PLACE
        or (name.endswith("_") and not name.endswith("__"))
        or (node.target in _WITH_INPLACE and True in node.args)
    )


_WITH_INPLACE = (
    torch.nn.functional.relu,
    torch.nn.functional.relu6,
    torch.nn.functional.hardtanh,
    torch.nn.functional.hardswish,
    torch.nn.functional.silu,
    torch.nn.functional.mish,
    torch.nn.functional.elu,
    torch.nn.functional.leaky_relu,
)
