"""Compiling a network with its weights frozen, once per machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import cast

import torch
from filelock import FileLock
from torch import Tensor, nn

from raypipe.backbone.hardware.parity import ENOUGH, least_cosine
from raypipe.errors import RaypipeError


@torch.inference_mode()
def compile_network(model: nn.Module, example: Tensor) -> nn.Module:
    """Return the network compiled for inputs like the example.

    PyTorch keeps what it has compiled in a folder of the machine (TORCHINDUCTOR_CACHE_DIR). Of the
    replicas on a machine one compiles, while the others wait to find it there.

    Args:
        model: a prepared network.
        example: (N, 3, height, width), an input as it will get, in size and type.

    Raises:
        RaypipeError: it cannot be compiled, or computes something else when it is.
    """
    from torch._inductor import config  # takes seconds, for those who compile

    compiled = torch.compile(model, dynamic=False)
    expected = model(example)
    try:
        # As an option of torch.compile it comes too late for a part of what it does: on MobileNet
        # v1, 4.2 instead of 2.5 ms per image.
        with FileLock(_lock_file()), config.patch(freezing=True):
            found = compiled(example)
    except Exception as error:  # compilers fail in many ways; without them it works
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        raise RaypipeError(
            f"--compile: the network cannot be compiled here ({type(error).__name__}: {first}); "
            "give --compile off"
        ) from None
    for layer, value in expected.items():
        if value.is_floating_point() and (cosine := least_cosine(value, found[layer])) < ENOUGH:
            raise RaypipeError(
                f"--compile: compiled, layer {layer} gives something else (cosine {cosine:.4f}); "
                "give --compile off"
            )
    return cast(nn.Module, compiled)


def _lock_file() -> Path:
    name = f"raypipe-compiling-{os.getuid() if hasattr(os, 'getuid') else ''}.lock"
    return Path(tempfile.gettempdir(), name)
