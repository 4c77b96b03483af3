"""Preprocessing and augmentation as data; no Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from raypipe.config import BackboneConfig
from raypipe.errors import UsageError
from raypipe.spec import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "normalize", "resolve_preprocess", "to_pixels"]

#: Mean and standard deviation of ImageNet's RGB channels in 0..1, as torchvision documents them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

#: With `shorter`, the centre crop sees nothing of an image's ends beyond this proportion.
_LONGEST_ASPECT = 16

_Triple = tuple[float, float, float]

# Mean and std in 0..255 by name. `caffe` is the mean pixel of the original VGG training, in BGR:
# https://github.com/keras-team/keras/blob/v3.3.3/keras/src/applications/imagenet_utils.py
_NORMALIZE: dict[str, tuple[_Triple, _Triple]] = {
    "torch": (
        (255 * IMAGENET_MEAN[0], 255 * IMAGENET_MEAN[1], 255 * IMAGENET_MEAN[2]),
        (255 * IMAGENET_STD[0], 255 * IMAGENET_STD[1], 255 * IMAGENET_STD[2]),
    ),
    "caffe": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def resolve_preprocess(config: BackboneConfig, trained: Preprocess | None) -> Preprocess:
    """Return the preprocessing of a job: what the weights were trained with, overridden by options.

    Args:
        config: the options; None means "as trained".
        trained: what travels with the weights; None where nothing is known about them, which
            gives torchvision's usual evaluation preset.

    Raises:
        UsageError: options that contradict each other.
    """
    base = trained or _usual()
    values = base.model_dump()
    chosen = {
        name: value
        for name in ("size", "resize", "resize_to", "crop", "interpolation", "antialias")
        if (value := getattr(config, name)) is not None
    }
    values |= chosen
    values |= _colour(config, values)
    values["resize_to"] = _shorter_side(config, values, base)
    if values["interpolation"] == "nearest":
        values["antialias"] = False  # one source pixel per target pixel: there is no filter
    if values["interpolation"] == "lanczos" and not values["antialias"]:
        raise UsageError("--no-antialias does not go with --interpolation lanczos; use bicubic")
    return Preprocess(**values)


def _usual() -> Preprocess:
    mean, std = _NORMALIZE["torch"]
    return Preprocess(mean=mean, std=std)


def _colour(config: BackboneConfig, trained: dict[str, object]) -> dict[str, object]:
    """Channel order, mean and std; reversing the channels of trained weights reverses both."""
    if config.normalize == "weights":
        channels = config.channels or trained["channels"]
        if channels == trained["channels"]:
            return {}
        mean, std = trained["mean"], trained["std"]
        return {"channels": channels, "mean": mean[::-1], "std": std[::-1]}  # type: ignore[index]
    mean, std = _NORMALIZE[config.normalize]
    native = "bgr" if config.normalize == "caffe" else "rgb"
    channels = config.channels or native
    if channels != native:
        mean, std = mean[::-1], std[::-1]
    return {"channels": channels, "mean": mean, "std": std}


def _shorter_side(
    config: BackboneConfig, values: dict[str, object], trained: Preprocess
) -> int | None:
    if values["resize"] == "squash":
        if config.resize_to is not None:
            raise UsageError("--resize-to goes with --resize shorter; with squash give --size")
        return None
    size = int(str(values["size"]))
    if config.resize_to is not None:
        if config.resize_to < size:
            raise UsageError(
                f"--resize-to must be at least --size ({size}); got {config.resize_to}"
            )
        return config.resize_to
    # The proportion of the evaluation it was trained for; without one, that of usual ImageNet ones.
    shorter, side = (trained.resize_to, trained.size) if trained.resize_to else (256, 224)
    return round(size * shorter / side)


def to_pixels(image: Image.Image, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Crop and resize an RGB image to the pixels that enter the network, before normalisation.

    Returns:
        (size, size, 3) uint8 in RGB order.
    """
    if preprocess.crop is not None:
        image = _centre(image, preprocess.crop)
    size = preprocess.size
    if preprocess.resize == "squash":
        image = _resize(image, (size, size), preprocess)
    else:
        image = _bounded(image)
        image = _resize(image, _shorter(image.size, preprocess.resize_to or size), preprocess)
        image = _centre(image, size)
    return np.asarray(image)


def _bounded(image: Image.Image) -> Image.Image:
    """Cut an extremely long image around its centre: scaling it up whole could take all memory."""
    width, height = image.size
    most = _LONGEST_ASPECT * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(0, (width - most) // 2), max(0, (height - most) // 2)
    return image.crop((left, top, left + min(width, most), top + min(height, most)))


def _shorter(size: tuple[int, int], shorter_side: int) -> tuple[int, int]:
    """Scale width and height to a shorter side; the longer is cut to whole, as in torchvision."""
    width, height = size
    if width <= height:
        return shorter_side, max(1, int(shorter_side * height / width))
    return max(1, int(shorter_side * width / height)), shorter_side


def _resize(image: Image.Image, size: tuple[int, int], preprocess: Preprocess) -> Image.Image:
    if image.size == size:
        return image
    if preprocess.antialias or preprocess.interpolation == "nearest":
        return image.resize(size, _RESAMPLING[preprocess.interpolation])
    return _resize_by_points(image, size, preprocess.interpolation)


def _resize_by_points(image: Image.Image, size: tuple[int, int], mode: str) -> Image.Image:
    """Resample without a filter for shrinking (half-pixel centres, as OpenCV and torch do)."""
    import torch
    from torch.nn import functional as F

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    scaled = F.interpolate(pixels, size=(size[1], size[0]), mode=mode, align_corners=False)
    rounded = scaled.round_().clamp_(0, 255).to(torch.uint8)[0].permute(1, 2, 0)
    return Image.fromarray(rounded.numpy())


def _centre(image: Image.Image, side: int) -> Image.Image:
    """Cut out a centre square; where the image is smaller, the border is black."""
    width, height = image.size
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def normalize(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """Turn pixels into the network's input, on the device they are on.

    Args:
        pixels: (N, H, W, 3) uint8, RGB.
        preprocess: its channel order, mean and std.

    Returns:
        (N, 3, H, W) float32 in channels-last memory format.
    """
    import torch

    x = pixels.permute(0, 3, 1, 2)  # already channels-last in memory
    if preprocess.channels == "bgr":
        x = x.flip(1)
    mean = torch.tensor(preprocess.mean, device=x.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocess.std, device=x.device).view(1, 3, 1, 1)
    scaled = x.to(torch.float32).sub_(mean).div_(std)
    return scaled.contiguous(memory_format=torch.channels_last)
