"""Max pooling of bfloat16 as integers, on CPUs.

PyTorch's own looks for the place of each maximum too, and takes a tenth of ResNet-18's time for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from raypipe.backbone.hardware.onednn import FusedConv2d
from raypipe.backbone.nodes import count_calls

_Sides = tuple[int, int]


class NonNegativeMaxPool2d(nn.Module):
    """Max pooling of bfloat16 values of which none is negative: their bits are ordered as they are.

    Args:
        kernel: height and width of windows.
        stride: from one window to the next.
        padding: on each side; less than half the kernel.
    """

    def __init__(self, kernel: _Sides, stride: _Sides, padding: _Sides) -> None:
        super().__init__()
        self.windows = tuple(zip(kernel, stride, padding, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the greatest value in each window of (N, C, H, W), as (N, C, H′, W′)."""
        bits = x.view(torch.int16)
        for dim, window in zip((2, 3), self.windows, strict=True):
            bits = _maximum_along(bits, dim, *window)
        return bits.view(x.dtype)


def _maximum_along(x: Tensor, dim: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Return the greatest value in each window along one dimension."""
    length = x.shape[dim]
    count = (length + 2 * padding - kernel) // stride + 1

    def values(offset: int, first: int, end: int) -> Tensor:
        """Return the values at one place of the windows from `first` to `end`."""
        span = x.narrow(dim, first * stride + offset, (end - 1 - first) * stride + 1)
        return span[(slice(None),) * dim + (slice(None, None, stride),)]

    # The same place of all windows: its offset, and the windows for which it is not padding.
    places = [
        (offset, max(0, -(offset // stride)), min(count, (length - 1 - offset) // stride + 1))
        for offset in range(-padding, kernel - padding)
    ]
    # Window i begins at i·stride − padding: the values at one place of all windows are one strided
    # slice, and the result is the maximum of `kernel` such slices. The first two that all windows
    # have make a new tensor, into which the others are taken in place: those that are padding for
    # some windows, into the part of the other windows.
    begin = [place for place in places if place[1:] == (0, count)][:2]
    found = values(*begin[0])
    found = torch.maximum(found, values(*begin[1])) if len(begin) == 2 else found.clone()
    for offset, first, end in places:
        if first < end and (offset, first, end) not in begin:
            some = found.narrow(dim, first, end - first)
            torch.maximum(some, values(offset, first, end), out=some)
    return found


def replace_max_pools(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Replace max pooling behind convolutions whose activation leaves nothing negative.

    Args:
        model: a network on the CPU, with its convolutions fused; changed in place.
        dtype: in others than bfloat16, PyTorch's own is as fast and stays.
    """
    if not isinstance(model, fx.GraphModule) or dtype != torch.bfloat16:
        return model
    modules, calls = dict(model.named_modules()), count_calls(model.graph)
    for node in model.graph.nodes:
        pool = modules.get(str(node.target))
        if node.op != "call_module" or not isinstance(pool, nn.MaxPool2d):
            continue
        before = modules.get(str(node.all_input_nodes[0].target))
        fits = calls[str(node.target)] == 1 and _is_plain(pool)
        if fits and isinstance(before, FusedConv2d) and before.non_negative:
            sides = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
            model.set_submodule(str(node.target), NonNegativeMaxPool2d(*sides))
    return model


def _is_plain(pool: nn.MaxPool2d) -> bool:
    within = zip(_pair(pool.kernel_size), _pair(pool.padding), strict=True)
    return (
        not (pool.return_indices or pool.ceil_mode)
        and _pair(pool.dilation) == (1, 1)
        and all(2 * padding < kernel for kernel, padding in within)
    )


def _pair(value: int | tuple[int, ...]) -> _Sides:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
