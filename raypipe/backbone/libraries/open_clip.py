"""Image towers of open_clip's networks."""

from __future__ import annotations

import importlib
import re
import types
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.backbone.libraries.library import (
    BackboneSource,
    Description,
    Embedding,
    Library,
    Published,
    times_255,
)
from raypipe.errors import UsageError, nearest
from raypipe.spec import Preprocess

_PREFIX = "open_clip/"
_RESIZE = {"shortest": "shorter", "squash": "squash"}


def encode_with_tokens(model: nn.Module, x: Tensor) -> Tensor:
    """Return CoCa's (N, D) features of (N, 3, H, W) images, as its `encode_image` does.

    Its image tower gives tokens as well, and features are brought to unit length.

    https://github.com/mlfoundations/open_clip/blob/v3.3.0/src/open_clip/coca_model.py
    """
    found, _ = model(x)
    return F.normalize(found, dim=-1)


class OpenClip(Library):
    """`open_clip/ARCHITECTURE`; its published sets have tags."""

    kind = "open_clip"
    form = "open_clip/ARCHITECTURE"

    def owns(self, name: str) -> bool:
        """Whether a name begins with `open_clip/`."""
        return name.startswith(_PREFIX)

    def find(self, name: str) -> BackboneSource:
        """Return the source of an architecture that open_clip knows."""
        target, known = name.removeprefix(_PREFIX), _open_clip().list_models()
        if target not in known:
            raise UsageError(
                f"--backbone: open_clip has no architecture {target!r}{nearest(target, known)}"
            )
        return BackboneSource(self.kind, target, name)

    def build(self, source: BackboneSource, *, blank: bool = False) -> object:
        """Build the image tower alone."""
        if blank:
            with torch.device("meta"):
                model = _tower(source.target)
            if not any(module._non_persistent_buffers_set for module in model.modules()):
                return model  # otherwise it holds values that no weights file brings
        return _tower(source.target)

    def check_weights(self, source: BackboneSource, weights: str) -> None:
        """Raise a `UsageError` unless it is a tag, or there is only one."""
        _tag(source, weights)

    def published(self, source: BackboneSource, weights: str) -> Published:
        """Return the image tower of a published set, by the library's own loading."""
        tag = _tag(source, weights)
        model = _open_clip().create_model(
            source.target, pretrained=tag, require_pretrained=True, weights_only=True
        )
        return Published(model.visual.state_dict(), _description(source, tag))

    def descriptions(self, source: BackboneSource) -> Iterable[Description]:
        """Return what each published set says; without one, what open_clip takes."""
        return [_description(source, tag) for tag in _tags(source.target) or [""]]

    def embedding(self, model: nn.Module) -> Embedding | None:
        """Return what `encode_image` returns: the output of the image tower."""
        with_tokens = getattr(model, "output_tokens", False)
        return Embedding(call=encode_with_tokens) if with_tokens else Embedding()

    def prefix_tokens(self, model: nn.Module) -> int | None:
        """Return what the tower of timm says; open_clip's own transformers have a class token."""
        trunk = getattr(model, "trunk", None)
        if trunk is not None:
            return super().prefix_tokens(trunk)
        return 1 if hasattr(model, "class_embedding") else None


def _open_clip() -> types.ModuleType:
    try:
        return importlib.import_module("open_clip")
    except ImportError:
        raise UsageError(
            "--backbone: open_clip/… needs the open_clip_torch package; "
            "pip install 'raypipe-features[open-clip]'"
        ) from None


def _tower(target: str) -> nn.Module:
    """Build what all of its classes have as `visual`; their text towers may need downloads."""
    config = _open_clip().get_model_config(target)
    image = {**config["vision_cfg"], "timm_model_pretrained": False}
    build = importlib.import_module("open_clip.model")._build_vision_tower
    return cast(nn.Module, build(config["embed_dim"], image, config.get("quick_gelu", False)))


def _tags(target: str) -> list[str]:
    """Return the tags of the published sets that were trained with the network's activation."""
    library = _open_clip()
    quick = library.get_model_config(target).get("quick_gelu", False)
    return [
        tag
        for tag in library.list_pretrained_tags_by_model(target)
        if library.get_pretrained_cfg(target, tag).get("quick_gelu", False) == quick
    ]


def _tag(source: BackboneSource, weights: str) -> str:
    tags = _tags(source.target)
    if weights in tags:
        return weights
    if weights == "DEFAULT" and len(tags) == 1:
        return tags[0]
    everything = _open_clip().list_pretrained_tags_by_model(source.target)
    if weights in everything:
        raise UsageError(
            f"--weights: {weights} was trained with another activation than {source.name} has; "
            f"give --backbone {_other(source.name)}"
        )
    listed = ", ".join([*tags, "random"])
    raise UsageError(
        f"--weights: {source.name} has {listed}, or give a file; "
        f"got {weights!r}{nearest(weights, tags)}"
    )


def _other(name: str) -> str:
    """Return the name of the same architecture with the other activation."""
    return name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"


def _description(source: BackboneSource, tag: str) -> Description:
    library = _open_clip()
    said: dict[str, Any] = library.get_pretrained_cfg(source.target, tag) if tag else {}
    checksum = re.search(r"/([0-9a-f]{64})/", said.get("url", ""))
    return Description(
        trained=_preprocess(source, said), sha256_prefix=checksum[1] if checksum else None
    )


def _preprocess(source: BackboneSource, said: dict[str, Any]) -> Preprocess:
    """Return what open_clip's `image_transform` does in evaluation.

    https://github.com/mlfoundations/open_clip/blob/v3.3.0/src/open_clip/transform.py
    """
    library = _open_clip()
    size = library.get_model_config(source.target)["vision_cfg"].get("image_size", 224)
    mode = said.get("resize_mode", "shortest")
    if not isinstance(size, int) or mode not in _RESIZE:
        raise UsageError(
            f"--backbone: {source.name} takes images of {size}, resized by {mode}; "
            "only square ones, resized by shortest or squash, are supported"
        )
    return Preprocess(
        resize=_RESIZE[mode],
        resize_to=size if mode == "shortest" else None,
        size=size,
        interpolation=said.get("interpolation", "bicubic"),
        antialias=True,
        mean=times_255(said.get("mean", library.OPENAI_DATASET_MEAN)),
        std=times_255(said.get("std", library.OPENAI_DATASET_STD)),
    )
