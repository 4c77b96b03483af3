"""timm's networks."""

from __future__ import annotations

import importlib
import inspect
import math
import types
from collections.abc import Iterable
from typing import Any, cast

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
from raypipe.config.sides import squared
from raypipe.errors import UsageError, nearest
from raypipe.spec import Preprocess

_PREFIX = "timm/"


def embed(model: nn.Module, x: Tensor) -> Tensor:
    """Return timm's (N, D) features before the logits, as `num_classes=0` gives them.

    `x` holds (N, 3, H, W) images.

    https://huggingface.co/docs/timm/feature_extraction
    """
    network = cast(Any, model)
    return cast(Tensor, network.forward_head(network.forward_features(x), pre_logits=True))


class Timm(Library):
    """`timm/NAME`, or `timm/NAME.TAG` for another of its published sets."""

    kind = "timm"
    form = "timm/NAME"

    def owns(self, name: str) -> bool:
        """Whether a name begins with `timm/`."""
        return name.startswith(_PREFIX)

    def find(self, name: str) -> BackboneSource:
        """Return the source of `timm/NAME`."""
        target = name.removeprefix(_PREFIX)
        known = _timm().list_models()
        if target.split(".")[0] not in known:
            raise UsageError(f"--backbone: timm has no model {target!r}{nearest(target, known)}")
        return BackboneSource(self.kind, target, name)

    def build(self, source: BackboneSource, *, blank: bool = False) -> object:
        """Build it; its constructor reads what depends on the weights from the set's own entry."""
        del blank
        arguments = dict(source.arguments)
        try:
            return _timm().create_model(source.target, pretrained=False, **arguments)
        except RuntimeError as error:
            raise UsageError(f"--backbone: timm cannot build {source.target!r}: {error}") from None

    def check_weights(self, source: BackboneSource, weights: str) -> None:
        """Raise a `UsageError` unless it is `DEFAULT`."""
        if weights != "DEFAULT":
            raise UsageError(
                "--weights: for timm give DEFAULT, random or a file; "
                f"another set is part of the name (timm/{source.target}.TAG); got {weights!r}"
            )

    def published(self, source: BackboneSource, weights: str) -> Published:
        """Return the weights of the set that is part of the name, converted by timm."""
        self.check_weights(source, weights)
        model = _timm().create_model(source.target, pretrained=True)
        return Published(model.state_dict(), Description(trained=_preprocess(source)))

    def descriptions(self, source: BackboneSource) -> Iterable[Description]:
        """Return what timm's entry of the set says."""
        return [Description(trained=_preprocess(source))]

    def classes(self, model: nn.Module, count: int) -> Arguments | None:
        """Return `num_classes`."""
        return (("num_classes", count),) if self.classifiers(model) else None

    def classifiers(self, model: nn.Module) -> tuple[str, ...]:
        """Return what timm's entry calls the classifier; distilled networks have two."""
        named = (getattr(model, "pretrained_cfg", None) or {}).get("classifier")
        return (named,) if isinstance(named, str) else tuple(named or ())

    def embedding(self, model: nn.Module) -> Embedding | None:
        """Return timm's pre-logits."""
        if not _has_head(model):
            raise UsageError(
                f"--layer: timm has no embedding of {type(model).__name__}; name a layer"
            )
        return Embedding(call=embed)


def _has_head(model: nn.Module) -> bool:
    """Whether a network can leave out its logits alone; encoders for other uses cannot."""
    head = getattr(model, "forward_head", None)
    if head is None or "pre_logits" not in inspect.signature(head).parameters:
        return False
    try:
        head(None, pre_logits=True)
    except NotImplementedError:
        return False
    except Exception:  # of one that looks at what it is given
        return True
    return True


def _timm() -> types.ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise UsageError(
            f"--backbone: the timm package cannot be imported ({error}); "
            "pip install --force-reinstall timm"
        ) from None


def _preprocess(source: BackboneSource) -> Preprocess | None:
    """Return what timm's evaluation transform does.

    https://github.com/huggingface/pytorch-image-models/blob/v1.0.20/timm/data/transforms_factory.py
    """
    timm = _timm()
    entry = timm.get_pretrained_cfg(source.target)
    if entry is None:
        return None
    config = timm.data.resolve_data_config(pretrained_cfg=entry.to_dict())
    channels, *shape = config["input_size"]
    if channels != 3:
        raise UsageError(
            f"--backbone: {source.name} was trained on images of {channels} channels; only ones of "
            "three are supported"
        )
    squash = config["crop_mode"] == "squash"
    border = config["crop_mode"] == "border"
    scaled = [math.floor(side / config["crop_pct"]) for side in shape]
    return Preprocess(
        resize="squash" if squash else "border" if border else "shorter",
        resize_to=None if squash and scaled == shape else squared(*scaled),
        size=squared(*shape),
        interpolation=config["interpolation"],
        antialias=True,
        mean=times_255(config["mean"]),
        std=times_255(config["std"]),
    )
