"""Networks of keras.applications, with the weights that Keras saves; Keras itself is not needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from raypipe.backbone.checkpoints import FILE_TYPES
from raypipe.backbone.keras_networks import weight_files
from raypipe.backbone.keras_networks.layers import Activated
from raypipe.backbone.keras_networks.matching import OtherNetworkError, tensors_of
from raypipe.backbone.keras_networks.networks import NETWORKS, network
from raypipe.backbone.keras_networks.sketch import KerasNetwork
from raypipe.backbone.libraries.library import (
    Arguments,
    BackboneSource,
    Description,
    Embedding,
    Library,
    Published,
)
from raypipe.errors import UsageError, nearest
from raypipe.spec import Preprocess

_PREFIX = "keras/"
_WITHOUT_TOP: Arguments = (("include_top", False),)
#: Published sets, and whether they have a top; the second is Keras's own word for the first.
_SETS = {"DEFAULT": True, "imagenet": True, "keras": True, "imagenet_notop": False}

#: `preprocess_input`: BGR minus the mean pixel of ImageNet, or -1 to 1.
#: https://github.com/keras-team/keras/blob/v3.3.3/keras/src/applications/imagenet_utils.py
_CAFFE = ("vgg16", "vgg19", "resnet50")
_MEAN_PIXEL = (103.939, 116.779, 123.68)
_LARGE = ("xception", "inception_v3")

_ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class _File:
    """A published file: its name below the network's folder, and the MD5 that Keras states."""

    path: str
    md5: str | None


#: With and without a top. Keras states no checksums of MobileNet's.
_FILES = {
    "vgg16": ("64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
    "vgg19": ("cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"),
    "resnet50": ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    "xception": ("0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97"),
    "inception_v3": ("9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63"),
    "mobilenet": (None, None),
}


class Keras(Library):
    """`keras/NAME`, for the networks of keras.applications that are here."""

    kind = "keras"
    form = "keras/NAME"
    file_types = (*weight_files.FILE_TYPES, *FILE_TYPES)

    def owns(self, name: str) -> bool:
        """Whether a name begins with `keras/`."""
        return name.startswith(_PREFIX)

    def find(self, name: str) -> BackboneSource:
        """Return the source of one of the networks."""
        target = name.removeprefix(_PREFIX)
        if target not in NETWORKS:
            raise UsageError(
                f"--backbone: of keras.applications, there are {', '.join(NETWORKS)}; "
                f"got {name!r}{nearest(target, NETWORKS)}"
            )
        return BackboneSource(self.kind, target, name)

    def build(self, source: BackboneSource, *, blank: bool = False) -> object:
        """Build it with a top, of `classes` classes, unless `include_top` is false."""
        arguments = dict(source.arguments)
        has_top = arguments.get("include_top", True)
        classes = int(arguments.get("classes", 1000)) if has_top else None
        with torch.device("meta" if blank else "cpu"):
            return network(source.target, classes)

    def check_weights(self, source: BackboneSource, weights: str) -> None:
        """Raise a `UsageError` unless it is a published set."""
        if weights not in _SETS:
            names = ["imagenet", "imagenet_notop", "random"]
            raise UsageError(
                f"--weights: {source.name} has {', '.join(names)}, or give a file "
                f"({', '.join(weight_files.FILE_TYPES)}); got {weights!r}{nearest(weights, names)}"
            )

    def published(self, source: BackboneSource, weights: str) -> Published:
        """Return a published set, by the address and checksum that Keras has."""
        with_top, without = self.descriptions(source)
        has_top = _SETS[weights]
        path = _downloaded(_file(source.target, has_top), source.target)
        state = self.tensors(source, path, path.read_bytes())
        return Published(state, with_top if has_top else without)

    def tensors(self, source: BackboneSource, path: Path, data: bytes) -> dict[str, Tensor]:
        """Return a file's tensors by the network's names; of Keras's files, as torch has them.

        Their shapes are (out, in, height, width) and (out, in).

        Raises:
            UsageError: it is of another network.
        """
        if not path.name.lower().endswith(weight_files.FILE_TYPES):
            return super().tensors(source, path, data)
        model = cast(
            KerasNetwork, self.build(BackboneSource(self.kind, source.target, ""), blank=True)
        )
        try:
            return tensors_of(model, weight_files.read_layers(data))
        except OtherNetworkError as error:
            raise UsageError(
                f"--weights: {path} is of another network than {source.name}: amid the layers of "
                f"that, it has {error}"
            ) from None

    def descriptions(self, source: BackboneSource) -> Iterable[Description]:
        """Return the network with its top and without; both have the preprocessing of Keras."""
        trained = _preprocess(source.target)
        return [Description(trained=trained), Description(_WITHOUT_TOP, trained)]

    def descriptions_of(
        self, source: BackboneSource, state: Mapping[str, Tensor]
    ) -> Iterable[Description]:
        """Return the network with its top alone, if a file has that, of any (classes, in)."""
        with_top, without = self.descriptions(source)
        model = self.build(source, blank=True)
        top = [name for name, part in cast(nn.Module, model).named_modules() if _is_top(name, part)]
        ends = [f"{name}.weight" for name in top]
        has_top = all(any(name.endswith(end) for name in state) for end in ends)
        return [with_top] if has_top else [with_top, without]

    def classes(self, model: nn.Module, count: int) -> Arguments | None:
        """Return `classes`."""
        return (("classes", count),) if self.classifiers(model) else None

    def classifiers(self, model: nn.Module) -> tuple[str, ...]:
        """Return what computes the classes; without a top, there is none."""
        name = cast(KerasNetwork, model).classifier
        if not name:
            return ()
        within = isinstance(model.get_submodule(name), Activated)
        return (f"{name}.linear" if within else name,)

    def embedding(self, model: nn.Module) -> Embedding | None:
        """Return what enters the layer of the classes; without a top, the mean of the last map."""
        return Embedding(module=cast(KerasNetwork, model).classifier)


def _is_top(name: str, part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) or name == "conv_preds"


def _preprocess(target: str) -> Preprocess:
    """Return what `load_img(target_size=…)` and `preprocess_input` do."""
    caffe = target in _CAFFE
    return Preprocess(
        resize="squash",
        resize_to=None,
        size=299 if target in _LARGE else 224,
        interpolation="nearest",
        antialias=False,
        channels="bgr" if caffe else "rgb",
        mean=_MEAN_PIXEL if caffe else (127.5,) * 3,
        std=(1.0,) * 3 if caffe else (127.5,) * 3,
    )


def _file(target: str, has_top: bool) -> _File:
    md5 = _FILES[target][0 if has_top else 1]
    if target == "mobilenet":
        return _File(f"mobilenet/mobilenet_1_0_224_tf{'' if has_top else '_no_top'}.h5", md5)
    folder = "resnet" if target == "resnet50" else target
    end = "" if has_top else "_notop"
    return _File(f"{folder}/{target}_weights_tf_dim_ordering_tf_kernels{end}.h5", md5)


def _downloaded(file: _File, what: str) -> Path:
    """Return where a published file lies; it is downloaded unless it is there already."""
    path = Path(torch.hub.get_dir(), "checkpoints", Path(file.path).name)
    if path.is_file() and _is_right(path, file):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(f"{_ADDRESS}/{file.path}", str(path), progress=False)
    if not _is_right(path, file):
        path.unlink()
        raise ValueError(f"the file of {what} has another checksum than {file.md5}")
    return path


def _is_right(path: Path, file: _File) -> bool:
    with path.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    return file.md5 in (None, found.hexdigest())
