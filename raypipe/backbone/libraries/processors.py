"""The preprocessing of transformers' image processors, where it can be reproduced."""

from __future__ import annotations

from typing import Any, NoReturn

from raypipe.config.sides import Sides, both, squared, written
from raypipe.errors import UsageError
from raypipe.spec import Preprocess

#: As Pillow numbers its filters.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}

#: Processors that resize, crop and normalise as their base class does.
_PLAIN = {
    "BeitImageProcessor", "BitImageProcessor", "BlipImageProcessor", "ChineseCLIPImageProcessor",
    "CLIPImageProcessor", "DeiTImageProcessor", "DINOv3ViTImageProcessor",
    "MobileNetV1ImageProcessor", "MobileNetV2ImageProcessor", "MobileViTImageProcessor",
    "PvtImageProcessor", "SegformerImageProcessor", "SiglipImageProcessor", "ViTImageProcessor",
}  # fmt: skip

#: Ones that resize to more than they are told, and cut that out.
_ENLARGING = {"ConvNextImageProcessor", "LevitImageProcessor"}

#: Of the plain ones, those that can bring channels into the other order.
_FLIPPING = {"MobileViTImageProcessor"}

#: Of the plain ones, those that never crop, whatever they are told.
_UNCROPPED = {"SegformerImageProcessor"}


def preprocess_of(name: str, processor: Any) -> Preprocess:
    """Return what an image processor does.

    https://github.com/huggingface/transformers/blob/main/src/transformers/image_processing_backends.py

    Args:
        name: the network's name, for messages.
        processor: of `AutoImageProcessor`.

    Raises:
        UsageError: it does something that cannot be expressed.
    """
    kind = type(processor).__name__.removesuffix("Fast").removesuffix("Pil")
    try:
        return _preprocess(name, kind, processor)
    except UsageError:
        raise
    except Exception as error:  # its file may say anything
        _refuse(name, kind, f"is not understood: {' '.join(str(error).split())[:200]}")


def _preprocess(name: str, kind: str, processor: Any) -> Preprocess:
    if not processor.do_resize:
        _refuse(name, kind, "does not resize")
    if getattr(processor, "do_pad", False) and getattr(processor, "pad_size", None):
        _refuse(name, kind, f"surrounds images to {_said(processor.pad_size)}")
    filter_ = _FILTERS.get(int(processor.resample))
    if filter_ is None:
        _refuse(name, kind, f"resamples with Pillow's filter {processor.resample}")
    mean, std = _colour(processor)
    return Preprocess(
        **_geometry(name, kind, processor),
        interpolation=filter_,
        antialias=filter_ != "nearest",
        as_transformers=True,
        channels="bgr" if kind in _FLIPPING and processor.do_flip_channel_order else "rgb",
        mean=mean,
        std=std,
    )


def _geometry(name: str, kind: str, processor: Any) -> dict[str, Any]:
    """Return how it resizes and crops, as fields of `Preprocess`."""
    if kind not in {*_PLAIN, *_ENLARGING}:
        _refuse(name, kind, "is not known here")
    shorter, crop = processor.size.get("shortest_edge"), None
    if processor.do_center_crop and kind not in _UNCROPPED:
        crop = _sides(name, kind, processor.crop_size)
    if kind == "ConvNextImageProcessor" and shorter and not crop:
        if shorter >= 384:
            return {"resize": "squash", "resize_to": None, "size": shorter}
        shorter, crop = int(shorter / processor.crop_pct), shorter
    elif kind == "LevitImageProcessor" and shorter and crop:
        shorter = int((256 / 224) * shorter)
    elif kind in _ENLARGING:
        _refuse(name, kind, f"makes images of {_said(processor.size)}")
    if shorter and crop and not processor.size.get("longest_edge"):
        sides, found = shorter, {"resize": "shorter", "resize_to": shorter, "size": crop}
    else:
        sides = _sides(name, kind, processor.size)
        whole = sides if crop and crop != sides else None
        found = {"resize": "squash", "resize_to": whole, "size": crop or sides}
    if crop and any(one > of for one, of in zip(both(crop), both(sides), strict=True)):
        _refuse(name, kind, f"cuts {written(crop)} pixels out of {written(sides)}")
    return found


def _sides(name: str, kind: str, size: Any) -> Sides:
    height, width = size.get("height"), size.get("width")
    if not height or not width:
        _refuse(name, kind, f"makes images of {_said(size)}")
    return squared(height, width)


def _said(size: Any) -> dict[str, int]:
    return {name: value for name, value in dict(size).items() if value is not None}


def _colour(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel for pixels of 0..255."""
    one = 1 / processor.rescale_factor if processor.do_rescale else 1.0
    if not processor.do_normalize:
        return (0.0,) * 3, (one,) * 3
    mean, std = processor.image_mean, processor.image_std
    return tuple(one * float(v) for v in mean), tuple(one * float(v) for v in std)


def _refuse(name: str, kind: str, why: str) -> NoReturn:
    raise UsageError(
        f"--backbone: the preprocessing of {name} cannot be reproduced: its {kind} {why}"
    )
