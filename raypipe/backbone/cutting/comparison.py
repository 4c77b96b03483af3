"""Comparing a cut network with the untouched one, and trying whether that is repeatable."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.backbone.cutting.tracing import Graph
from raypipe.backbone.cutting.untouched import EarlyExit, called_module
from raypipe.backbone.cutting.watching import GraphRun
from raypipe.backbone.libraries.library import Embedding
from raypipe.backbone.outputs import EMBEDDING, LOGITS
from raypipe.config.sides import Sides, both, measured
from raypipe.errors import UsageError

#: Relative to the largest value: rounding of float32 is far below, another computation far above.
_CLOSE = 1e-4
_CLOSE_IN_BATCHES = 1e-3


def sample_images(size: Sides, count: int = 2) -> Tensor:
    """Return (count, 3, H, W) images as normalised ones are: soft shapes and some noise."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 3, 8, 8, generator=draw)
    soft = F.interpolate(coarse, size=both(size), mode="bilinear", align_corners=False)
    return soft + 0.3 * torch.randn(count, 3, *both(size), generator=draw)


def unable(name: str, size: Sides, error: Exception) -> UsageError:
    """Return what to say of a network that failed on an image of a size.

    Args:
        name: the network's.
        size: side of the image, or (height, width).
        error: what it raised, in its own words.
    """
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    if isinstance(error, TypeError) and "forward() missing" in first:
        return UsageError(
            f"--backbone: {name} takes other arguments than one batch of images: {first}; "
            "wrap it in a network of your own that gives it the others"
        )
    reason = first.partition(" but got Proxy")[0]  # an assertion that was traced
    return UsageError(f"--size: {name} cannot process a {measured(size, '×')} image: {reason}")


@dataclass(frozen=True)
class Whole:
    """An untouched network.

    Attributes:
        model: the network.
        graph: what tracing made of it.
        embedding: where it has its embedding, if that is asked for.
        place: the name of the node that tracing found for the embedding.
    """

    model: nn.Module
    graph: Graph
    embedding: Embedding | None
    place: str


@torch.inference_mode()
def differing(whole: Whole, cut: nn.Module, layers: tuple[str, ...], images: Tensor) -> list[str]:
    """Return the layers at which a cut network gives something else than the untouched one.

    Where the cut is what a module returns, or the embedding, a hook there has what is right;
    elsewhere, the whole graph has to give what the network gives, and the cut what the graph has at
    its node.

    Args:
        whole: the untouched network.
        cut: what `truncate` made of its graph.
        layers: where it is cut.
        images: (N, 3, H, W).

    Raises:
        Exception: whatever the untouched network raises.
    """
    before = {name: value.clone() for name, value in whole.model.named_buffers()}
    right = _right(whole, layers, images)
    after = dict(whole.model.named_buffers())
    if not all(name in after and torch.equal(before[name], after[name]) for name in before):
        return list(layers)  # tracing took for constants what each run changes
    try:
        found = cut(images)
    except Exception:  # the untouched one has not failed
        return list(layers)
    return [layer for layer in layers if not _is_close(right.get(layer), found[layer], _CLOSE)]


def _right(whole: Whole, layers: tuple[str, ...], images: Tensor) -> dict[str, Any]:
    hooks = {}
    for layer in layers:
        if layer == whole.place and whole.embedding is not None:
            hooks[layer] = EMBEDDING
        elif layer == LOGITS or whole.graph.module_of(layer):
            hooks[layer] = layer
    names = tuple(dict.fromkeys(hooks.values()))
    seen = _untouched(whole.model, names, whole.embedding, images) if names else {}
    right = {layer: seen[name] for layer, name in hooks.items()}
    nodes = {layer: whole.graph.find(layer) for layer in layers if layer not in hooks}
    if not nodes:
        return right
    result = whole.model(images)
    run = GraphRun(whole.model, whole.graph.graph, {node for node in nodes.values() if node})
    try:
        is_same = _is_close(result, run.run(images), _CLOSE)
    except Exception:  # which the network did not
        return right
    return right | (
        {layer: run.seen.get(node) for layer, node in nodes.items() if node} if is_same else {}
    )


def _untouched(
    model: nn.Module, layers: tuple[str, ...], embedding: Embedding | None, images: Tensor
) -> dict[str, Any]:
    found: dict[str, Any] = EarlyExit(model, layers, embedding)(images)
    return found


def _is_close(right: Any, found: Any, tolerance: float) -> bool:
    if isinstance(right, Tensor) and isinstance(found, Tensor):
        right, found = (torch.view_as_real(v) if v.is_complex() else v for v in (right, found))
        if right.shape != found.shape:
            return False
        right, found = right.double(), found.double()
        largest = float(right.abs().nan_to_num(posinf=0.0).max()) if right.numel() else 0.0
        return torch.allclose(right, found, rtol=0, atol=tolerance * largest, equal_nan=True)
    if isinstance(right, Mapping) and isinstance(found, Mapping):
        return right.keys() == found.keys() and all(
            _is_close(right[name], found[name], tolerance) for name in right
        )
    if isinstance(right, tuple | list) and isinstance(found, tuple | list):
        pairs = zip(right, found, strict=False)
        return len(right) == len(found) and all(_is_close(a, b, tolerance) for a, b in pairs)
    return type(right) is type(found) and not isinstance(right, Tensor)


@torch.inference_mode()
def check_input_kept(model: nn.Module, name: str, images: Tensor) -> None:
    """Make sure that a network leaves its (N, 3, H, W) images as they are.

    They may be given to it again, as halves of a batch for which memory does not suffice.

    Raises:
        UsageError: it works on them in place.
    """
    given = images.clone()
    with contextlib.suppress(Exception):  # behind the cut, where a network need not work
        model(given)
    if not torch.equal(given, images):
        raise UsageError(
            f"--backbone: {name} changes its input in place (as `x.mul_(2)`, `x -= mean`); "
            "have it compute a tensor of its own: `x = x * 2`"
        )


@torch.inference_mode()
def check_repeatable(
    model: nn.Module, cut: nn.Module, layers: tuple[str, ...], name: str, images: Tensor
) -> None:
    """Make sure that features depend neither on chance nor on other images of a batch.

    Args:
        model: the untouched network.
        cut: what computes its layers.
        layers: where it is cut.
        name: the network's name, for messages.
        images: (2, 3, H, W).

    Raises:
        UsageError: they do, or a layer gives no tensor per image.
    """
    both, alone = cut(images), cut(images[:1])
    for layer in layers:
        pair, single = both[layer], alone[layer]
        if not isinstance(pair, Tensor):
            continue
        if pair.ndim == 0 or len(pair) != len(images) or len(single) != 1:
            raise UsageError(f"--layer: node {layer!r} gives no tensor per image; cut at another")
        if _is_close(pair[:1], single, _CLOSE_IN_BATCHES):
            continue
        check_deterministic(model, cut, name, images)
        where = _without_statistics(model) or _first_unequal(model, images, images[:1])
        raise UsageError(
            f"--backbone: in {name} an image's features depend on the other images of its batch, "
            f"{where}; they have to be its own"
        )


@torch.inference_mode()
def check_deterministic(model: nn.Module, cut: nn.Module, name: str, images: Tensor) -> None:
    """Make sure that a network gives the same result for the same (N, 3, H, W) images each time.

    Raises:
        UsageError: it does not.
    """
    if not _is_close(cut(images), cut(images), _CLOSE):
        raise UsageError(
            f"--backbone: {name} gives another result for the same image each time, "
            f"{_first_unequal(model, images, images)}; features have to be repeatable: remove what "
            "is random in evaluation"
        )


def _without_statistics(model: nn.Module) -> str:
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]
    return (
        f"because of batch norm without running statistics ({', '.join(names[:3])})"
        if names
        else ""
    )


def _first_unequal(model: nn.Module, one: Tensor, other: Tensor) -> str:
    """Say at which module two runs begin to differ, on the images that both have."""
    count = min(len(one), len(other))
    runs = [_outputs(model, images) for images in (one, other)]
    for (name, first), (_, second) in zip(*runs, strict=False):
        if first.ndim and not _is_close(first[:count], second[:count], _CLOSE_IN_BATCHES):
            return f"from {name} on"
    return "outside of its modules"


def _outputs(model: nn.Module, images: Tensor) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []

    def remember(name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                found.append((name, output.clone()))

        return keep

    hooks = [
        module.register_forward_hook(remember(name))
        for name, module in model.named_modules()
        if name and not any(module.children())
    ]
    try:
        model(images)
    except Exception:  # behind the cut, where a network need not work
        return found
    finally:
        for hook in hooks:
            hook.remove()
    return found


def hookable(layer: str, model: nn.Module) -> bool:
    """Whether the untouched network has a layer: it is a module's call, or stands for an end."""
    known = dict(model.named_modules())
    return layer in (LOGITS, EMBEDDING) or called_module(layer, known) is not None
