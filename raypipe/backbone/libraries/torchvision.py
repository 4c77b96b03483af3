"""torchvision's classification networks."""

from __future__ import annotations

import contextlib
import importlib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from raypipe.backbone.libraries.library import (
    Arguments,
    BackboneSource,
    Description,
    Embedding,
    Library,
    Published,
    times_255,
)
from raypipe.errors import UsageError, nearest
from raypipe.spec import Preprocess

#: These two spend a minute on an initialisation that weights replace.
_SLOW = ("googlenet", "inception_v3")

#: Of its densenets, files have the names of an older version:
#: https://github.com/pytorch/vision/blob/v0.19.0/torchvision/models/densenet.py
_OLD_DENSENET = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$"
)


class Torchvision(Library):
    """Names as `resnet50`; the published sets are the members of an enum for each."""

    kind = "torchvision"
    form = "a torchvision model"

    def owns(self, name: str) -> bool:
        """Take every name: it is asked last."""
        del name
        return True

    def find(self, name: str) -> BackboneSource:
        """Return the source of a classification model; quantised ones are others."""
        models, target = _models(), name.lower()
        known = models.list_models(module=models)
        if target not in known:
            what = "quantised" if target.startswith("quantized_") else "unknown"
            hint = nearest(target.removeprefix("quantized_"), known)
            raise UsageError(
                f"--backbone: {what} backbone {name!r}; give {self.form}, timm/NAME, pypi/NAME, "
                "hf/ID, open_clip/ARCHITECTURE, keras/NAME, package.module:callable or "
                f"file.py:callable{hint}"
            )
        return BackboneSource(self.kind, target, f"torchvision/{target}")

    def build(self, source: BackboneSource, *, blank: bool = False) -> object:
        """Build it, without values where weights will bring all of them."""
        name, arguments = source.target, dict(source.arguments)
        if name in _SLOW:
            arguments["init_weights"] = False
        if blank:
            # RegNets compute their own widths with tensors, which have no values then.
            with torch.device("meta"), contextlib.suppress(NotImplementedError):
                model: nn.Module = _models().get_model(name, weights=None, **arguments)
                if not any(module._non_persistent_buffers_set for module in model.modules()):
                    return model  # otherwise it holds values that no weights file brings
        return _models().get_model(name, weights=None, **arguments)

    def check_weights(self, source: BackboneSource, weights: str) -> None:
        """Raise a `UsageError` unless it is a member of the network's enum."""
        _chosen(source, weights)

    def published(self, source: BackboneSource, weights: str) -> Published:
        """Return a published set."""
        chosen = _chosen(source, weights)
        state = chosen.get_state_dict(progress=False, check_hash=True)
        return Published(state, _description(source, chosen))

    def descriptions(self, source: BackboneSource) -> Iterable[Description]:
        """Return what each published set says."""
        known = _models().get_model_weights(source.target)
        usual = known.DEFAULT
        others = [member for member in known if member is not usual]
        return [_description(source, member) for member in (usual, *others)]

    def renamed(self, source: BackboneSource, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the tensors under today's names; shapes, as (out, in), stay as they are."""
        if not source.target.startswith("densenet"):
            return state
        return {_OLD_DENSENET.sub(r"\1\2", name): value for name, value in state.items()}

    def classes(self, model: nn.Module, count: int) -> Arguments | None:
        """Return `num_classes`."""
        del model
        return (("num_classes", count),)

    def classifiers(self, model: nn.Module) -> tuple[str, ...]:
        """Return the last layer with weights; they are registered in order of use."""
        return ([n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1],)

    def embedding(self, model: nn.Module) -> Embedding | None:
        """Return what goes into the classifier's last layer."""
        return Embedding(module=self.classifiers(model)[0])

    def prefix_tokens(self, model: nn.Module) -> int | None:
        """Return 1 for its vision transformers, which have a class token."""
        return 1 if isinstance(model, _models().VisionTransformer) else None


def _models() -> types.ModuleType:
    return importlib.import_module("torchvision.models")


def _chosen(source: BackboneSource, weights: str) -> Any:
    known = _models().get_model_weights(source.target)
    name = weights.rsplit(".", 1)[-1]  # ResNet50_Weights.IMAGENET1K_V2 or IMAGENET1K_V2
    if name == "DEFAULT":
        return known.DEFAULT
    if name not in known.__members__:
        names = [*known.__members__, "random"]
        raise UsageError(
            f"--weights: {source.name} has {', '.join(names)}, or give a file; "
            f"got {weights!r}{nearest(name, names)}"
        )
    return known[name]


def _description(source: BackboneSource, member: Any) -> Description:
    checksum = re.search(r"-([0-9a-f]{8,})\.\w+$", member.url)
    return Description(
        _arguments(source.target, member.meta),
        preset_preprocess(member.transforms()),
        checksum[1] if checksum else None,
    )


def _arguments(name: str, meta: Mapping[str, Any]) -> Arguments:
    """Return what torchvision's own constructors take from the weights, where it is unusual.

    Its functions do so by `_ovewrite_named_param`; a test compares with them, set by set.
    """
    found: dict[str, Any] = {}
    if name in _SLOW:
        found["transform_input"] = True
    size = tuple(meta.get("min_size", ()))
    if name.startswith("vit_") and size != (224, 224):
        found["image_size"] = size[0]
    if name.startswith("maxvit") and size != (224, 224):
        found["input_size"] = size
    categories = meta["categories"]  # None where only the layers before the classifier count
    if categories is not None and len(categories) != 1000:
        found["num_classes"] = len(categories)
    return tuple(found.items())


def preset_preprocess(preset: Any) -> Preprocess:
    """Return what torchvision's evaluation preset does."""
    (size,), (resize_to,) = preset.crop_size, preset.resize_size
    return Preprocess(
        resize="shorter",
        resize_to=resize_to,
        size=size,
        interpolation=preset.interpolation.value,
        antialias=True,
        mean=times_255(preset.mean),
        std=times_255(preset.std),
    )
