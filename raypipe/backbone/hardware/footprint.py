"""Memory that a network takes per image, and the number of images a CPU should take at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from raypipe.backbone import Backbone, restore
from raypipe.backbone.hardware.precision import DTYPES
from raypipe.config.sides import Sides, both
from raypipe.spec import Spec

#: The most that glibc's allocator keeps in one piece (see `memory.keep_freed`). Outputs above that
#: are new pages each time, which the system has to clear, and are far outside of any cache.
_KEPT_BYTES = 32 * 2**20

_SMALLEST, _LARGEST, _USUAL = 4, 32, 16


def cpu_batch_size(backbone: Backbone, spec: Spec) -> int:
    """Return how many images to take at a time on a CPU: the most whose outputs stay reusable.

    It depends on the network and the precision alone, so that a run that goes on after a kill
    computes the same bits.
    """
    largest = largest_output(restore(backbone), spec.preprocess.size)
    if not largest:
        return _USUAL
    fitting = _KEPT_BYTES // (largest * DTYPES[spec.precision].itemsize)
    return min(_LARGEST, max(_SMALLEST, 1 << (max(1, fitting).bit_length() - 1)))


def pass_bytes(backbone: Backbone, spec: Spec, images: int) -> int:
    """Return how many bytes a pass of so many images takes at least: input and largest output."""
    height, width = spec.preprocess.shape
    values = 3 * height * width + largest_output(restore(backbone), spec.preprocess.size)
    return images * values * DTYPES[spec.precision].itemsize


def largest_output(model: nn.Module, size: Sides) -> int:
    """Return the values in the largest output of a layer for one image of a size.

    Computed for a blank one: tensors that have shapes only would take no time, but torch imports
    its compiler for them, which takes a second. 0 if the network cannot be run so.
    """
    most = 0

    def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal most
        if isinstance(output, Tensor):
            most = max(most, output.numel())

    for module in model.modules():
        module.register_forward_hook(look)
    try:
        with torch.inference_mode():
            model(torch.zeros(1, 3, *both(size)))
    except Exception:  # a network may look at values, which are not there
        return 0
    return most


def knee(rates: Mapping[int, float], within: float = 0.05) -> int:
    """Return the smallest batch size whose rate is at most `within` below the best.

    Args:
        rates: images per second by batch size.
        within: share of the best rate.

    Raises:
        ValueError: there are no rates.
    """
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= (1 - within) * best)
