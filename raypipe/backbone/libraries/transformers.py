"""Image networks of the transformers library, from its hub or a local folder."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import logging
import re
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from raypipe.backbone.libraries.library import (
    BackboneSource,
    Description,
    Embedding,
    Library,
    Published,
)
from raypipe.backbone.libraries.processors import preprocess_of
from raypipe.errors import UsageError
from raypipe.spec import digest
from raypipe.storage import user_path

_PREFIX = "hf/"
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

#: What a configuration holds beside the network's architecture.
_BESIDE = {
    "architectures", "dtype", "finetuning_task", "id2label", "label2id", "problem_type",
    "torch_dtype", "transformers_version",
}  # fmt: skip

#: Tokens in front of those of the patches, by the parameter that holds them.
_PREFIX_TOKENS = ("class_embedding", "cls_token", "distillation_token", "register_tokens")


def embed(model: nn.Module, x: Tensor) -> Tensor:
    """Return the (N, D) feature of (N, 3, H, W) images, as transformers names it.

    That is `get_image_features` of networks for images and text, `image_embeds` of image towers
    with a projection, `pooler_output` of the others.

    https://huggingface.co/docs/transformers/main_classes/output

    Raises:
        UsageError: the network has none of these.
    """
    network = cast(Any, model)
    if hasattr(network, "get_image_features"):
        found = _call(network, network.get_image_features, x)
    elif is_classifier(network):
        base = _base(network)
        found = _call(base, base, x) if base is not network else None
    else:
        found = _call(network, type(network).outputs.__get__(network), x)
    for name in ("image_embeds", "pooler_output"):
        value = getattr(found, name, None)
        found = value if isinstance(value, Tensor) else found
    if isinstance(found, Tensor) and found.ndim == 4 and found.shape[2:] == (1, 1):
        found = found.flatten(1)
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise UsageError(
            f"--layer: transformers has no pooled feature of {type(model).__name__}; name a layer"
        )
    return found


def is_classifier(model: nn.Module) -> bool:
    """Whether a network of transformers ends in classes of images."""
    return type(model).__name__.endswith("ForImageClassification")


def _base(model: Any) -> Any:
    """Return a classifier's network without its last layer."""
    kind = _transformers().PreTrainedModel
    return next((part for part in model.children() if isinstance(part, kind)), model.base_model)


class Transformers(Library):
    """`hf/ORGANISATION/NAME` on the hub, or `hf/FOLDER` with a model that was saved there."""

    kind = "hf"
    form = "hf/ID or hf/FOLDER"

    def owns(self, name: str) -> bool:
        """Whether a name begins with `hf/`."""
        return name.startswith(_PREFIX)

    def find(self, name: str) -> BackboneSource:
        """Return the source of a network by its configuration, which travels to other machines."""
        target = name.removeprefix(_PREFIX)
        folder = user_path(target, "--backbone")
        if folder.is_dir():
            target, name = str(folder), _PREFIX + folder.name
        elif not _ID.fullmatch(target):
            raise UsageError(
                f"--backbone: no folder at {str(folder)!r}; give {self.form}; got {name!r}"
            )
        config = _loaded(name, _transformers().AutoConfig.from_pretrained, target)
        with _told(name):
            code = {"class": _class_of(name, config), "config": config.to_dict()}
        text = json.dumps(code, sort_keys=True)
        return BackboneSource(self.kind, target, name, code=text, sha256=_architecture(config))

    def build(self, source: BackboneSource, *, blank: bool = False) -> object:
        """Build the image part from its configuration."""
        said = json.loads(source.code or "{}")
        library = _transformers()
        config = library.CONFIG_MAPPING[said["config"]["model_type"]].from_dict(said["config"])
        make = getattr(library, said["class"])._from_config
        with _told(source.name):
            if not blank:
                return _for_images(make(config, dtype=torch.float32))
            with importlib.import_module("transformers.initialization").no_init_weights():
                return _for_images(_without_values(make(config, dtype=torch.float32)))

    def check_weights(self, source: BackboneSource, weights: str) -> None:
        """Raise a `UsageError` unless it is `DEFAULT`."""
        if weights != "DEFAULT":
            raise UsageError(
                f"--weights: for {source.name} give DEFAULT (what is in its own folder), random or "
                f"a file; got {weights!r}"
            )

    def published(self, source: BackboneSource, weights: str) -> Published:
        """Return the tensors of the model's safetensors files, by the library's own loading."""
        self.check_weights(source, weights)
        kind = getattr(_transformers(), json.loads(source.code or "{}")["class"])
        model, found = _loaded(
            source.name,
            kind.from_pretrained,
            source.target,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        absent = set(found["missing_keys"])
        state = {name: value for name, value in model.state_dict().items() if name not in absent}
        return Published(state, *self.descriptions(source))

    def descriptions(self, source: BackboneSource) -> Iterable[Description]:
        """Return what the model's own image processor does."""
        processor = _loaded(
            source.name, _transformers().AutoImageProcessor.from_pretrained, source.target
        )
        return [Description(trained=preprocess_of(source.name, processor))]

    def classifiers(self, model: nn.Module) -> tuple[str, ...]:
        """Return the classifier of those that have one."""
        return ("classifier",) if isinstance(getattr(model, "classifier", None), nn.Module) else ()

    def embedding(self, model: nn.Module) -> Embedding | None:
        """Return the pooled or image features; of classifiers without, what enters the last layer.

        Without is said by transformers with `pooler = None`.
        """
        if is_classifier(model) and getattr(_base(model), "pooler", True) is None:
            last = getattr(model, "classifier", None)
            if not isinstance(last, nn.Linear):
                raise UsageError(
                    f"--layer: transformers has no pooled feature of {type(model).__name__}; "
                    "name a layer"
                )
            return Embedding(module="classifier")
        return Embedding(call=embed)

    def prefix_tokens(self, model: nn.Module) -> int | None:
        """Return how many class, distillation and register tokens it has parameters for."""
        count = 0
        for name, value in model.named_parameters():
            if name.rpartition(".")[2] in _PREFIX_TOKENS:
                count += value.shape[1] if value.ndim == 3 else 1
        return count


def _transformers() -> types.ModuleType:
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise UsageError(
            "--backbone: hf/… needs the transformers package; pip install 'raypipe-features[hf]'"
        ) from None


def _loaded(name: str, load: Any, target: str, **more: Any) -> Any:
    """Have transformers load something, of which no foreign code is ever run."""
    with _told(name):
        local = Path(target).is_dir()
        return load(target, trust_remote_code=False, local_files_only=local, **more)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what fails in transformers into one line, without its progress and advice between."""
    own, hub = _transformers().utils.logging, logging.getLogger("huggingface_hub")
    levels, bars = (own.get_verbosity(), hub.level), own.is_progress_bar_enabled()
    own.set_verbosity_error()
    hub.setLevel(logging.ERROR)  # each of its five attempts is a warning
    own.disable_progress_bar()
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # of many kinds: files, their contents, the network, what is absent
        first = " ".join(str(error).split())[:300] or type(error).__name__
        raise UsageError(f"--backbone: transformers cannot load {name}: {first}") from None
    finally:
        own.set_verbosity(levels[0])
        hub.setLevel(levels[1])
        if bars:
            own.enable_progress_bar()


def _class_of(name: str, config: Any) -> str:
    """Return the class that a configuration is of: what it was saved as, or its bare network."""
    library = _transformers()
    saved = (config.architectures or [""])[0]
    if config.model_type == "timm_wrapper":
        raise UsageError(f"--backbone: {name} is a model of timm; give timm/NAME")
    ends = ("ForImageClassification", "VisionModelWithProjection")
    kind = getattr(library, saved, None) if saved.endswith(ends) else None
    if isinstance(config, getattr(kind, "config_class", ())):
        return str(saved)
    bare = library.MODEL_MAPPING.get(type(config), None)
    if bare is None or not _takes_images(bare):
        raise UsageError(
            f"--backbone: {name} ({config.model_type}) is no network of transformers that takes "
            "images; give one with an image tower, as CLIP, SigLIP, DINOv2, ViT, Swin or ConvNeXt"
        )
    return str(bare.__name__)


def _takes_images(kind: Any) -> bool:
    return hasattr(kind, "get_image_features") or "pixel_values" in _arguments(kind.forward)


def _arguments(function: Any) -> Iterable[str]:
    return inspect.signature(function).parameters


def _architecture(config: Any) -> str:
    """Checksum of what a configuration says about the network."""
    said = {k: v for k, v in config.to_diff_dict().items() if k not in _BESIDE and k[0] != "_"}
    return digest(json.dumps(said, sort_keys=True, default=str))


def _for_images(model: Any) -> nn.Module:
    """Have a network take (N, 3, H, W) images alone, and leave out the parts that read text.

    Its own `forward` takes many things, or text first.
    """
    if hasattr(model, "get_image_features"):
        for name in [n for n, _ in model.named_children() if n.startswith(("text", "logit"))]:
            delattr(model, name)
    kind = type(model)

    def forward(self: Any, x: Tensor) -> Any:
        if is_classifier(self):
            return _call(self, kind.forward.__get__(self), x).logits
        return embed(self, x)

    made = {"forward": forward, "outputs": kind.forward, "__module__": kind.__module__}
    model.__class__ = type(kind.__name__, (kind,), made)
    return cast(nn.Module, model)


def _call(network: Any, function: Any, x: Tensor) -> Any:
    """Call it with images; their size may be another one than that of the position embeddings."""
    known = getattr(function, "forward", function) if isinstance(function, nn.Module) else function
    more = {}
    if "interpolate_pos_encoding" in _arguments(known) and not _is_usual(network, x):
        more["interpolate_pos_encoding"] = True
    return function(pixel_values=x, **more)


def _is_usual(network: Any, x: Tensor) -> bool:
    config = getattr(network.config, "vision_config", network.config)
    side = getattr(config, "image_size", None)
    usual = tuple(side) if isinstance(side, list | tuple) else (side, side)
    return tuple(x.shape[2:]) == usual


def _without_values(model: nn.Module) -> nn.Module:
    """Take the values of parameters and kept buffers away: weights will be assigned.

    Other buffers, as of positions, are computed by constructors and are in no file.
    """
    for module in model.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(value.detach().to("meta"), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            if name not in module._non_persistent_buffers_set:
                setattr(module, name, buffer.to("meta"))
    return model
