"""Rewriting a traced network so that it does the same with fewer passes over memory."""

from __future__ import annotations

from torch import fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from raypipe.backbone.nodes import count_calls, is_module


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Merge each batch norm into the convolution in front of it, where the network was traced.

    Saves a pass over memory per layer, and lets the arithmetic of lower precisions start from the
    product of both, computed in float32. For evaluation only; expects loaded weights.
    """
    if not isinstance(model, fx.GraphModule):
        return model
    graph = model.graph
    modules = dict(model.named_modules())
    calls = count_calls(graph)
    for node in list(graph.nodes):
        if not is_module(node, modules, nn.BatchNorm2d):
            continue
        norm, convolution = modules[str(node.target)], node.all_input_nodes[0]
        if norm.running_var is None or not is_module(convolution, modules, nn.Conv2d):
            continue
        name = str(convolution.target)
        if len(convolution.users) > 1 or calls[name] > 1 or calls[str(node.target)] > 1:
            continue  # its own output is needed as well
        merged = fuse_conv_bn_eval(modules[name].eval(), norm.eval())
        model.set_submodule(name, merged)
        node.replace_all_uses_with(convolution)
        graph.erase_node(node)
    model.delete_all_unused_submodules()
    model.recompile()
    return model


def merge_padding(model: nn.Module, *, uneven: bool) -> nn.Module:
    """Let convolutions pad with zeros themselves where a layer of its own does it before them.

    Such a layer copies its whole input: in networks from TensorFlow, a quarter of the time. Where
    it pads one side more than the other, the filter is extended by zeros on the side that gets
    less: the same products, and some of zero.

    Args:
        model: a network; one that was not traced stays as it is.
        uneven: whether filters may be extended; it pays where memory limits, as on CPUs.
    """
    if not isinstance(model, fx.GraphModule):
        return model
    modules = dict(model.named_modules())
    calls = count_calls(model.graph)
    for node in list(model.graph.nodes):
        if not is_module(node, modules, nn.ZeroPad2d) or len(node.users) != 1:
            continue
        user = next(iter(node.users))
        convolution = modules.get(str(user.target))
        if not is_module(user, modules, nn.Conv2d) or calls[str(user.target)] > 1:
            continue
        if _absorb(convolution, modules[str(node.target)].padding, uneven):  # type: ignore[arg-type]
            node.replace_all_uses_with(node.all_input_nodes[0])
            model.graph.erase_node(node)
    model.delete_all_unused_submodules()
    model.recompile()
    return model


def _absorb(convolution: nn.Conv2d, padding: tuple[int, ...], uneven: bool) -> bool:
    """Pad within a convolution; return whether it can be done."""
    left, right, top, bottom = padding
    even = left == right and top == bottom
    own = convolution.padding
    if (
        min(padding) < 0
        or isinstance(own, str)
        or convolution.padding_mode != "zeros"
        or not (even or (uneven and convolution.dilation == (1, 1)))
    ):
        return False
    if not even:
        missing = (right - left, left - right, bottom - top, top - bottom)
        weight = F.pad(convolution.weight.detach(), [max(0, side) for side in missing])
        convolution.weight = nn.Parameter(weight, requires_grad=False)
        convolution.kernel_size = (weight.shape[2], weight.shape[3])
    convolution.padding = (own[0] + max(top, bottom), own[1] + max(left, right))
    return True
