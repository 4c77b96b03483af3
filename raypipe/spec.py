"""The spec: everything that changes a feature's value; canonical form and fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from raypipe import schema
from raypipe.config.sides import Sides, both
from raypipe.config.types import CropRounding, Interpolation, Orientation, Pool, Resampler
from raypipe.config.values import Filter

#: Raise this when a change of the code changes the value of features (decoding, resampling, …).
REVISION = 2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocess(_Frozen):
    """From decoded RGB pixels to the tensor that enters the network.

    In order: centre `crop` of the original; `resize` to `size` (squash), or of the shorter side to
    `resize_to` followed by a centre crop of `size` (shorter), of both sides to `resize_to` followed
    by that crop (squash with a `resize_to`), or of the longer side to `resize_to` followed by that
    crop, with the mean colour beyond the image (border); channel order; then `(x - mean) / std`
    with x in 0..255 and one mean and std per channel, in that channel order.

    `size` and `resize_to` are the side of a square, or (height, width). A `resize_to` of two sides
    is what the image covers (shorter) or fits into (border) with its own proportions, as timm
    scales for images that are not square.

    The centre `crop` starts at (side − crop) // 2, as NumPy code slices it, or with `crop_rounding`
    even where torchvision's CenterCrop starts; the centre crop of `shorter` always does so. Beyond
    the image it is black.
    """

    orientation: Orientation = "exif"
    """Whether images are turned as their EXIF orientation says."""
    crop: int | None = None
    crop_rounding: CropRounding = "down"
    resize: Literal["squash", "shorter", "border"] = "shorter"
    resize_to: Sides | None = 256
    size: Sides = 224
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    resampler: Resampler = "torch"
    """What filters; points are taken by rules of our own."""
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    as_transformers: bool = False
    """Whether images are resized as torch resizes tensors, with bicubic filters too, and the centre
    crop rounds down, as the transformers library does both."""
    scaled: bool = False
    """Whether large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size."""
    gpu_decoded: bool = False
    """Whether plain JPEGs are decoded and resized by a GPU."""
    decoders: tuple[str, ...] = ()
    """Decoders of one's own that are asked first, as `module:function`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what enters the network."""
        return both(self.size)

    @property
    def scaled_shape(self) -> tuple[int, int]:
        """Height and width that an image is scaled by, before the centre is taken."""
        return both(self.resize_to or self.size)

    @model_serializer(mode="wrap")
    def _without_the_unusual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not used: the form is that of before there was such a thing."""
        values: dict[str, Any] = handler(self)
        for name in ("as_transformers", "scaled", "gpu_decoded", "decoders"):
            if not values.get(name):
                values.pop(name, None)
        for name in ("orientation", "crop_rounding", "resampler"):
            if values.get(name) == type(self).model_fields[name].default:
                values.pop(name)
        return values


class Augment(_Frozen):
    """Random changes of the resized image, for `views` further views of each.

    Drawn uniformly per view, with Keras's meaning: an angle up to `rotate` degrees either way, a
    shift up to the share `shift` of height and of width, a shear up to `shear` radians, a zoom of
    height and of width each within 1 ± `zoom`, and with `flip` a mirror image half of the time.
    What comes in from outside the image repeats its border. Shear is in radians, as Keras's
    `shear_range` was before it meant degrees; the centre of rotation, shear and zoom is
    (height/2 + 0.5, width/2 + 0.5), as in keras_preprocessing 1.1.
    """

    views: int = 1
    original: bool = True
    """Whether the image itself is there, too, as the first view."""
    rotate: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    seed: int = 0
    float_views: bool = False
    """Whether values of views keep their fractions, as Keras's do; else they are rounded."""

    @model_serializer(mode="wrap")
    def _without_the_original(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is as usual: the form is that of before there was such a thing."""
        values: dict[str, Any] = handler(self)
        for name in ("original", "float_views"):
            if values.get(name) == type(self).model_fields[name].default:
                values.pop(name)
        return values


class Output(_Frozen):
    """One feature column: the node it is taken from, and how its output becomes the feature."""

    column: str
    layer: str
    pool: Pool = "avg"
    channels: Literal["first", "last"] | None = None
    """Which axis of one image's output holds channels, where that is unusual: with three axes, they
    are usually first; with two, as (tokens, channels), last."""
    prefix: int = 0
    """Class and register tokens in front of those of the patches, where pooling has to know."""

    @model_serializer(mode="wrap")
    def _without_the_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is as usual: the form is that of before there was such a thing."""
        values: dict[str, Any] = handler(self)
        for name in ("channels", "prefix"):
            if not values.get(name):
                values.pop(name, None)
        return values


class HeadSpec(_Frozen):
    """Everything that changes a prediction, given the features it is made of."""

    sha256: str
    """Checksum of the fitted head: its arrays and settings."""
    classes_sha256: str
    """Checksum of the names of the classes, in the order of the probabilities."""
    column: str
    """The feature column the head reads."""
    top_k: int = 1
    probabilities: bool = False
    threshold: float | None = None
    where: tuple[Filter, ...] = ()
    """Filters, stored as `COLUMN=LOW:HIGH`."""

    @property
    def is_selective(self) -> bool:
        """Whether rows may be left without a label."""
        return self.threshold is not None or bool(self.where)

    @property
    def columns(self) -> tuple[str, ...]:
        """`predicted`, `probability`, `predicted_2`, … and what else was asked for."""
        ranks = ["", *(f"_{rank}" for rank in range(2, self.top_k + 1))]
        ranked = [f"{name}{r}" for r in ranks for name in (schema.PREDICTED, schema.PROBABILITY)]
        every = [schema.PROBABILITIES] if self.probabilities else []
        return (*ranked, *every, *([schema.STATUS] if self.is_selective else []))


class Spec(_Frozen):
    """Everything that changes a feature's value. Two equal specs give equal features.

    With a `head`, the store holds predictions made of those features, and not the features.
    """

    revision: int = REVISION
    backbone: str
    """Kind and name, without the folder it lies in: `torchvision/resnet50`, `net.py:build`."""
    source_sha256: str | None = None
    """Checksum of the backbone's own source file, where it is not a published one."""
    arguments: dict[str, bool | int | str | tuple[int, ...]] = {}
    """Of the network's constructor, as the weights ask for them, where they are unusual."""
    weights_sha256: str
    outputs: tuple[Output, ...]
    preprocess: Preprocess = Preprocess()
    augment: Augment | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    dtype: Literal["float32", "float16"] = "float32"
    head: HeadSpec | None = None

    @model_serializer(mode="wrap")
    def _without_the_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the head where there is none: features have the form they had before it."""
        values: dict[str, Any] = handler(self)
        for name in ("head", "arguments"):
            if not values.get(name):
                values.pop(name, None)
        return values

    @property
    def layers(self) -> tuple[str, ...]:
        """Nodes the network is cut at, each once."""
        return tuple(dict.fromkeys(output.layer for output in self.outputs))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns with features; with a head, of its predictions and filters."""
        outputs = tuple(output.column for output in self.outputs)
        if self.head is None:
            return outputs
        filters = (column for column in outputs if column != self.head.column)
        return (*self.head.columns, *filters)

    @property
    def views(self) -> int:
        """Rows per image: the image itself, if it is wanted, and its augmented views."""
        return self.augment.original + self.augment.views if self.augment else 1

    @property
    def pixel_type(self) -> Literal["uint8", "float32"]:
        """What pixels, 0..255, are kept as until they enter the network."""
        return "float32" if self.augment and self.augment.float_views else "uint8"

    @property
    def pixel_bytes(self) -> int:
        """Memory of the pixels of all views of an image."""
        each = 4 if self.pixel_type == "float32" else 1
        return 3 * math.prod(self.preprocess.shape) * self.views * each

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the canonical JSON form."""
        return digest(json.dumps(self.model_dump(mode="json"), sort_keys=True))


def digest(*parts: str | bytes) -> str:
    """Hexadecimal SHA-256 of the parts, each preceded by its length so that none run together."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def difference(old: Spec, new: Spec) -> list[str]:
    """Return one line per field in which two specs differ, as `field: old → new`."""
    before, after = dict(_flatten(old.model_dump())), dict(_flatten(new.model_dump()))
    return [
        f"{name}: {_short(before.get(name))} → {_short(after.get(name))}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name == "outputs":
            for output in value:
                last = f" channels {output['channels']}" if output.get("channels") else ""
                yield f"output {output['column']}", f"{output['layer']}:{output['pool']}{last}"
        elif isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _short(value: Any) -> str:
    sides = isinstance(value, tuple) and len(value) == 2
    between = "x" if sides else ", "
    text = between.join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text[:12] + "…" if len(text) == 64 else text
