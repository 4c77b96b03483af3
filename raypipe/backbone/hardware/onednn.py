"""Convolution, sum and activation in one pass over memory, on CPUs.

PyTorch's own compiler makes these calls of oneDNN; here they are made without compiling, which
gives most of its gain on convolutional networks at no start-up time. The operators are PyTorch's
own but not documented: they are tried before they are used, and a network stays as it is where one
is missing or gives something else.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from raypipe.backbone.nodes import count_calls, is_module

_Activation = tuple[str, list[float], str]
_NONE: _Activation = ("none", [], "")
_RELU: _Activation = ("relu", [], "")
_RELU6: _Activation = ("hardtanh", [0.0, 6.0], "")

_SUMS = (operator.add, torch.add)


class FusedConv2d(nn.Module):
    """A convolution, with what is added to its output and the activation that follows, if any.

    Args:
        convolution: its weights, channels-last.
        activation: name, numbers and variant, as oneDNN's operators take them.
    """

    def __init__(self, convolution: nn.Conv2d, activation: _Activation = _NONE) -> None:
        super().__init__()
        self.weight: Tensor = convolution.weight.detach()
        self.bias = convolution.bias
        self.activation = activation
        self.channels, _, *self.kernel = self.weight.shape
        self.shape = (
            convolution.padding,
            convolution.stride,
            convolution.dilation,
            convolution.groups,
        )

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Return activation(convolution(x) + added) for (N, C, H, W); `added` may be broadcast."""
        if not self.weight.is_mkldnn:  # else they would be brought into this order for each batch
            order = torch.ops.mkldnn._reorder_convolution_weight
            self.weight = order(self.weight, *self.shape, x.shape)
        operands = (self.weight, self.bias, *self.shape)
        run = torch.ops.mkldnn._convolution_pointwise
        if added is None:
            return cast(Tensor, run(x, *operands, *self.activation))
        relu = self.activation is not _NONE  # behind a sum there is no other
        if added.shape != self._output_shape(x) or added.dtype != x.dtype:  # to be broadcast
            total = run(x, *operands, *_NONE) + added
            return F.relu(total) if relu else total
        name = "relu" if relu else None
        return cast(Tensor, run.binary(x, added, *operands, "add", 1.0, name, [], ""))

    @property
    def non_negative(self) -> bool:
        """Whether no output is negative, whatever the input."""
        name, numbers, _ = self.activation
        return name in ("relu", "sigmoid") or (name == "hardtanh" and numbers[0] >= 0)

    def _output_shape(self, x: Tensor) -> tuple[int, ...]:
        padding, stride, dilation, _ = self.shape
        sides = []
        for i, kernel in enumerate(self.kernel):
            room = x.shape[2 + i] + 2 * int(padding[i]) - dilation[i] * (kernel - 1) - 1
            sides.append(room // stride[i] + 1)
        return (x.shape[0], self.channels, *sides)


def fuse(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Replace convolutions, and sums and activations behind them, by one operator each.

    Args:
        model: a network on the CPU, channels-last, of this type; changed in place.
        dtype: float32 or bfloat16; with another one nothing is changed.
    """
    if not isinstance(model, fx.GraphModule) or not _works(dtype):
        return model
    modules, calls = dict(model.named_modules()), count_calls(model.graph)
    for node in list(model.graph.nodes):
        if is_module(node, modules, nn.Conv2d) and len(node.args) == 1 and not node.kwargs:
            convolution = modules[str(node.target)]
            if _is_plain(convolution) and calls[str(node.target)] == 1:
                _fuse_at(model, node, convolution)
    model.delete_all_unused_submodules()
    model.recompile()
    return model


def _fuse_at(model: fx.GraphModule, node: fx.Node, convolution: nn.Conv2d) -> None:
    """Put one operator in the place of a convolution and of what follows it."""
    chain, added = [node], None
    user = _only_user(node)
    if user is not None and (added := _other_summand(node, user)) is not None:
        chain.append(user)
        user = _only_user(user)
    activation = _NONE if user is None else _activation(model, user, after_sum=added is not None)
    if user is not None and activation is not _NONE:
        chain.append(user)
    name, last = str(node.target), chain[-1]
    model.set_submodule(name, FusedConv2d(convolution, activation))
    with model.graph.inserting_before(last):
        inputs = node.args if added is None else (*node.args, added)
        last.replace_all_uses_with(model.graph.call_module(name, inputs))
    for replaced in reversed(chain):
        model.graph.erase_node(replaced)


def _is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        type(module) is nn.Conv2d
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _other_summand(node: fx.Node, addition: fx.Node) -> fx.Node | None:
    """Return what a sum adds to a node's output."""
    if addition.op != "call_function" or len(addition.args) != 2 or addition.kwargs:
        return None
    left, right = addition.args
    if addition.target is operator.iadd:  # may change only the convolution's own output
        wanted = right if left is node else None
    elif addition.target in _SUMS:
        wanted = right if left is node else left
    else:
        return None
    return wanted if isinstance(wanted, fx.Node) and wanted is not node else None


_ACTIVATIONS: dict[type[nn.Module], Callable[[Any], _Activation]] = {
    nn.ReLU: lambda _: _RELU,
    nn.ReLU6: lambda _: _RELU6,
    nn.Hardtanh: lambda m: ("hardtanh", [float(m.min_val), float(m.max_val)], ""),
    nn.Hardswish: lambda _: ("hardswish", [], ""),
    nn.SiLU: lambda _: ("swish", [], ""),
    nn.GELU: lambda m: ("gelu", [], m.approximate),
    nn.LeakyReLU: lambda m: ("leaky_relu", [float(m.negative_slope)], ""),
    nn.Sigmoid: lambda _: ("sigmoid", [], ""),
}


def _activation(model: fx.GraphModule, node: fx.Node, *, after_sum: bool) -> _Activation:
    """Return the activation that a node applies; behind a sum, oneDNN has relu only."""
    if node.op == "call_function" and node.target in (F.relu, torch.relu):
        return _RELU
    if node.op != "call_module":
        return _NONE
    module = model.get_submodule(str(node.target))
    known = _ACTIVATIONS.get(type(module))
    if known is None or (after_sum and type(module) is not nn.ReLU):
        return _NONE
    return known(module)


@cache
def _works(dtype: torch.dtype) -> bool:
    """Try the operators on a small input against PyTorch's plain ones."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    draw = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(16, 16, 3, padding=1, bias=False).requires_grad_(False)
    layer.weight.copy_(torch.randn(16, 16, 3, 3, generator=draw) / 12)
    layer = layer.to(dtype).to(memory_format=torch.channels_last)
    x = torch.randn(1, 16, 8, 8, generator=draw).to(dtype)
    x = x.to(memory_format=torch.channels_last)
    plain = layer(x)
    try:
        pairs = (
            (FusedConv2d(layer, _RELU6)(x), F.relu6(plain)),
            (FusedConv2d(layer, _RELU)(x, x), F.relu(plain + x)),
            (FusedConv2d(layer)(x, x), plain + x),
        )
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    close = 1e-4 if dtype == torch.float32 else 0.05
    return all(torch.allclose(found, wanted, atol=close, rtol=close) for found, wanted in pairs)
