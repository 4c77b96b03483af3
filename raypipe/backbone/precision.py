"""Making a network ready to be evaluated in a given arithmetic, with little loss."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from raypipe.backbone.nodes import is_module

__all__ = ["DTYPES", "fold_batch_norm", "prepare", "round_keeping_sums"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def prepare(model: nn.Module, precision: str, device: str | torch.device) -> nn.Module:
    """Return the network ready for evaluation: batch norm folded, cast, channels-last, on a device.

    Args:
        model: a truncated network with its weights, in float32.
        precision: `fp32`, `bf16` or `fp16`.
        device: where it is to run.
    """
    model = fold_batch_norm(model)
    dtype = DTYPES[precision]
    if dtype != torch.float32:
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
                rounded = round_keeping_sums(module.weight.detach(), dtype)
                module.weight = nn.Parameter(rounded, requires_grad=False)
    return model.to(device, dtype).to(memory_format=torch.channels_last)


def round_keeping_sums(weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Round (channels, …) filters so that each one's sum is kept: the rounding error is passed on.

    A depthwise filter has a handful of taps on one channel, often nearly cancelling each other. On
    smooth regions its output is the local mean times the sum of its taps, so independent rounding
    errors of the taps come out as an offset. Here each tap is rounded together with the error so
    far, the largest (coarsest) first, as in error diffusion. On MobileNet v1 in bfloat16 this
    raises the least cosine to float32 features over 1,360 photographs from 0.9982 to 0.9995.

    Returns:
        A float32 tensor whose values `dtype` represents exactly.
    """
    flat = weights.float().flatten(1)
    order = flat.abs().argsort(dim=1, descending=True)
    taps = flat.gather(1, order)
    rounded = torch.empty_like(taps)
    error = torch.zeros(len(taps), device=taps.device)
    for i in range(taps.shape[1]):
        exact = taps[:, i] + error
        rounded[:, i] = exact.to(dtype).float()
        error = exact - rounded[:, i]
    return torch.empty_like(flat).scatter(1, order, rounded).view_as(weights)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Merge each batch norm into the convolution in front of it, where the network was traced.

    Saves a pass over memory per layer, and lets the arithmetic of lower precisions start from the
    product of both, computed in float32. For evaluation only; expects loaded weights.
    """
    if not isinstance(model, fx.GraphModule):
        return model
    graph = model.graph
    modules = dict(model.named_modules())
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
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
