"""What tests of networks have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raypipe.actors.embedder import Embedder
from raypipe.backbone import Backbone, restore
from raypipe.backbone.outputs import pool
from raypipe.spec import Preprocess, Spec

OWN = Path(__file__).parent / "own.py"


def own(name: str) -> str:
    return f"{OWN}:{name}"


def images(size: int, count: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    small = torch.randn(count, 3, 9, 9, generator=draw)
    return nn.functional.interpolate(small, size=(size, size), mode="bicubic")


@torch.inference_mode()
def features(backbone: Backbone, x: Tensor) -> dict[str, Tensor]:
    """What a replica computes in plain float32, by column."""
    found = restore(backbone)(x)
    return {output.column: pool(found[output.layer], output) for output in backbone.outputs}


def embedded(backbone: Backbone, x: Tensor, precision: str) -> np.ndarray:
    """What a replica computes in some precision, on what one of uint8 pixels comes nearest to."""
    pre = Preprocess(size=x.shape[-1], mean=(127.5,) * 3, std=(64.0,) * 3)
    spec = Spec(
        backbone="x",
        weights_sha256="",
        outputs=backbone.outputs,
        preprocess=pre,
        precision=precision,  # type: ignore[arg-type]
    )
    found: Any = Embedder(backbone, spec, batch_size=len(x))(pixels(x))
    return found[backbone.outputs[0].column]


def pixels(x: Tensor) -> np.ndarray:
    return (x * 64 + 127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def as_seen(x: Tensor) -> Tensor:
    """The same images with their values rounded to those of pixels."""
    return (torch.from_numpy(pixels(x)).permute(0, 3, 1, 2).float() - 127.5) / 64


def cosine(a: Any, b: Any) -> float:
    one, other = (torch.as_tensor(v).double().flatten(1) for v in (a, b))
    return float(nn.functional.cosine_similarity(one, other).min())


def entering(model: nn.Module, module: str, x: Tensor) -> Tensor:
    """What enters a module of the untouched network, as a hook sees it."""
    seen: list[Tensor] = []
    hook = model.get_submodule(module).register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0].clone())
    )
    with torch.inference_mode():
        model.eval()(x)
    hook.remove()
    return seen[0]


def leaving(model: nn.Module, module: str, x: Tensor, call: int = 0) -> Tensor:
    """What a call of a module returns."""
    seen: list[Tensor] = []
    hook = model.get_submodule(module).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.clone())
    )
    with torch.inference_mode():
        model.eval()(x)
    hook.remove()
    return seen[call]
