"""What is given for each name of timm and torchvision, by shapes alone: networks have no values.

`python -m tests.backbone.every_name FILE` writes a line for each name, and goes on where it was
stopped; the tables of docs/networks.md are counted from these.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import timm
import torch
import torchvision
from torch import Tensor, fx, nn

from raypipe.backbone.cutting import cut as cutting
from raypipe.backbone.cutting.comparison import sample_images
from raypipe.backbone.cutting.cut import Cut, cut
from raypipe.backbone.libraries import BackboneSource, library_of
from raypipe.backbone.outputs import parse_outputs, pool
from raypipe.backbone.registry import find
from raypipe.errors import UsageError
from raypipe.spec import Output

#: Networks that can neither be built nor run without values are built with values up to this size.
_MOST_PARAMETERS = 60_000_000


@dataclass
class Found:
    """What there is for a name.

    Attributes:
        name: as `--backbone` takes it.
        kind: the network's class.
        shape: of two images' features.
        result: `right`, `refused`, `wrong` or, where shapes do not tell, `unknown`.
        why: refused or wrong.
        rewritten: whether the traced graph is used.
        nodes: how many nodes, or modules of an untraced network, it can be cut at.
        values: whether it was built with values.
    """

    name: str
    kind: str = ""
    shape: tuple[int, ...] = ()
    result: str = "right"
    why: str = ""
    rewritten: bool = False
    nodes: int = 0
    values: bool = False


def families() -> dict[str, list[str]]:
    """Return every name by family: torchvision's are one, timm's by the module they are from."""
    known = {"torchvision": torchvision.models.list_models(module=torchvision.models)}
    for family in timm.models.list_modules():
        known[family] = [f"timm/{name}" for name in timm.list_models(module=family)]
    return {family: names for family, names in known.items() if names}


def look(name: str) -> Found:
    """Cut a network without values as one that is named alone would be, and compare shapes."""
    found = Found(name)
    try:
        source = find(name)
        described = next(iter(library_of(source).descriptions(source)))
        source = replace(source, arguments=described.arguments)
        size = described.trained.size if described.trained else 224
        _compare(found, source, torch.empty_like(sample_images(size), device="meta"))
    except UsageError as error:
        found.result, found.why = "refused", str(error)
    except Exception as error:  # whatever it is, it is not what a user should see
        found.result, found.why = "wrong", f"{type(error).__name__}: {error}"
    return found


def _compare(found: Found, source: BackboneSource, images: Tensor) -> None:
    try:
        with _blank():
            model = _shapes_of(source)
            found.kind = type(model).__name__
            _compare_built(found, source, model, images)
        return
    except UsageError:
        raise
    except Exception as error:  # of networks that compute with values, too
        count = sum(p.numel() for p in model.parameters()) if found.kind else 0
        if count > _MOST_PARAMETERS:
            found.result, found.why = "unknown", f"{type(error).__name__}: {error}"
            return
    found.values = True
    model = _built(source)
    found.kind = type(model).__name__
    _compare_built(found, source, model, images)


def _compare_built(found: Found, source: BackboneSource, model: nn.Module, images: Tensor) -> None:
    images = torch.zeros_like(images, device=next(model.parameters()).device)
    with torch.no_grad(), torch.device(images.device):
        made = cut(source, model, parse_outputs((), "avg"), 224)
        found.rewritten = isinstance(made.network, fx.GraphModule)
        found.nodes = len(made.graph.names) if made.graph else len(list(model.modules())) - 1
        value = made.network(images)[made.layers[0]]
        given = pool(value, _described(made, value, images))
        right = _right(source, model, images)
    found.shape = tuple(given.shape)
    if given.shape != right.shape and pool(right, made.outputs[0]).shape != given.shape:
        found.result, found.why = "wrong", f"{tuple(given.shape)}, not {tuple(right.shape)}"


def _described(made: Cut, value: Tensor, images: Tensor) -> Output:
    """Return the output with where its channels are, if it is no vector."""
    if value.ndim == 2:
        return made.outputs[0]
    with mock.patch.object(cutting, "sample_images", lambda _size, count=2: images[:count]):
        return made.described(224)[0]


def _right(source: BackboneSource, model: nn.Module, images: Tensor) -> Tensor:
    """Return what the library gives: timm without classes, torchvision's last layer's input."""
    if source.kind == "timm":
        right: Tensor = timm.create_model(source.target, num_classes=0).eval()(images)
        return right
    seen: list[int] = []

    def remember(module: nn.Module, _inputs: Any, output: Any) -> None:
        width = getattr(module, "in_features", None) or getattr(module, "in_channels", None)
        if width and isinstance(output, Tensor) and output.shape[1] == 1000:
            seen.append(width)

    hooks = [module.register_forward_hook(remember) for module in model.modules()]
    model(images)
    for hook in hooks:
        hook.remove()
    return images.new_zeros(len(images), seen[-1])


def _built(source: BackboneSource) -> nn.Module:
    model = library_of(source).build(source)
    assert isinstance(model, nn.Module)
    return model.eval()


def _shapes_of(source: BackboneSource) -> nn.Module:
    """Build a network without values; where numbers come from tensors, with untouched memory."""
    try:
        with torch.device("meta"):
            return _built(source)
    except Exception:
        return _built(source).to("meta")


@contextlib.contextmanager
def _blank() -> Iterator[None]:
    """Leave out what initialises weights."""
    with contextlib.ExitStack() as stack:
        for module in (nn.init, timm.layers.weight_init):
            for name, value in list(vars(module).items()):
                if name.endswith("_") and not name.endswith("__") and callable(value):
                    stack.enter_context(mock.patch.object(module, name, lambda t, *_a, **_k: t))
        yield


def main(path: Path) -> None:
    """Write a line for each name that a file does not have yet."""
    known = {json.loads(line)["name"] for line in path.open()} if path.exists() else set()
    with path.open("a") as file:
        for name in chain.from_iterable(families().values()):
            if name not in known:
                print(json.dumps(asdict(look(name))), file=file, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
