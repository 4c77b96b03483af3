"""From decoded pixels to the tensor that enters the network; no Ray."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from raypipe.config.types import CropRounding
from raypipe.images.need import BAND, band, in_bands
from raypipe.spec import Preprocess

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

#: With `shorter`, a square centre crop sees nothing of an image's ends beyond this proportion.
_LONGEST_ASPECT = 16

#: Pixels that scaling one side before the other may hold, so that no shape takes all memory.
_MOST_BETWEEN = 2**26

#: Pixels of an image of which no copy is made.
_LARGE = 2**25

#: Values that a CPU's cache holds while several steps go over them.
_CACHED = 2**17

_Weights = npt.NDArray[np.float32]


def least_side(preprocess: Preprocess) -> int | None:
    """Return how many pixels of each side decoding must give; None for all of them.

    Twice what is needed: what remains is filtered as usual. On photographs of 5 megapixels pixels
    then differed by at most 7 of 255, 0.3 on average; at once what is needed, by up to 69.
    """
    return 2 * max(preprocess.scaled_shape) if preprocess.scaled else None


def to_pixels(image: Image.Image, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Crop and resize an RGB image to the pixels that enter the network, before normalisation.

    Returns:
        (height, width, 3) uint8 in RGB order.
    """
    if preprocess.crop is not None:
        image = _cut(image, preprocess.crop, preprocess.crop_rounding)
    if preprocess.resize == "shorter":
        image = _bounded(image, preprocess)
    pixels = _resize(image, scaled_size(image.size, preprocess), preprocess)
    pixels = _with_border(pixels, preprocess)
    return pixels[centre(pixels.shape[:2], preprocess)]


def scaled_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """Return the width and height that an image's width and height are scaled to."""
    target = preprocess.resize_to or preprocess.size
    height, width = preprocess.scaled_shape
    if preprocess.resize == "squash":
        return width, height
    if preprocess.resize == "shorter" and isinstance(target, int):
        return _shorter(size, target)
    # To fit into both sides, or to cover them, as timm's ResizeKeepRatio does.
    extreme = max if preprocess.resize == "border" else min
    ratio = extreme(size[0] / width, size[1] / height)
    return max(1, round(size[0] / ratio)), max(1, round(size[1] / ratio))


def _with_border(pixels: npt.NDArray[np.uint8], preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Fill up to what is cut out, with black or (`border`) the mean colour.

    The odd pixel goes behind, as in torchvision's CenterCrop and in timm:
    https://github.com/huggingface/pytorch-image-models/blob/v1.0.20/timm/data/transforms.py
    """
    missing = [max(0, n - has) for n, has in zip(preprocess.shape, pixels.shape, strict=False)]
    if not any(missing):
        return pixels
    mean = preprocess.mean if preprocess.channels == "rgb" else preprocess.mean[::-1]
    whole = np.zeros((pixels.shape[0] + missing[0], pixels.shape[1] + missing[1], 3), np.uint8)
    if preprocess.resize == "border":
        whole[:] = np.round(mean).astype(np.uint8)
    top, left = missing[0] // 2, missing[1] // 2
    whole[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return whole


def centre(shape: Sequence[int], preprocess: Preprocess) -> tuple[slice, slice]:
    """Return where the centre that enters the network is in an image of (height, width).

    Half a pixel goes to the even side, as in torchvision, or is rounded down, as in transformers:

    https://github.com/pytorch/vision/blob/v0.19.0/torchvision/transforms/functional.py
    """
    whole = int if preprocess.as_transformers else round
    (height, width), (has, wide) = preprocess.shape, shape
    top, left = whole((has - height) / 2), whole((wide - width) / 2)
    return slice(top, top + height), slice(left, left + width)


def _cut(image: Image.Image, side: int, rounding: CropRounding) -> Image.Image:
    """Cut a centre square out of the original; where the image is smaller, the border is black.

    Odd differences are rounded down, as NumPy code does that slices from `(height - side) // 2`; or
    as torchvision's CenterCrop: to even within the image, with the odd pixel of a border behind.
    """
    left, top = ((length - side) // 2 for length in image.size)
    if rounding == "even":
        left, top = (
            round((length - side) / 2) if length >= side else -((side - length) // 2)
            for length in image.size
        )
    return image.crop((left, top, left + side, top + side))


def _bounded(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """Cut an extremely long image around its centre: scaling it up whole could take all memory."""
    width, height = image.size
    aspects = [w / h for h, w in (preprocess.shape, preprocess.scaled_shape)]
    widest = math.ceil(_LONGEST_ASPECT * max(1, *aspects) * height)
    highest = math.ceil(_LONGEST_ASPECT / min(1, *aspects) * width)
    if width <= widest and height <= highest:
        return image
    left, top = max(0, (width - widest) // 2), max(0, (height - highest) // 2)
    return image.crop((left, top, left + min(width, widest), top + min(height, highest)))


def _shorter(size: tuple[int, int], shorter_side: int) -> tuple[int, int]:
    """Scale width and height to a shorter side; the longer is cut to whole, as in torchvision."""
    width, height = size
    if width <= height:
        return shorter_side, max(1, int(shorter_side * height / width))
    return max(1, int(shorter_side * width / height)), shorter_side


def _resize(
    image: Image.Image, size: tuple[int, int], preprocess: Preprocess
) -> npt.NDArray[np.uint8]:
    """Scale to width and height; (height, width, 3) uint8."""
    mode = preprocess.interpolation
    if image.size == size:
        return np.asarray(image)
    if mode != "nearest" and not preprocess.antialias:
        return _resize_by_points(image, size, mode)
    if image.height * size[0] > _MOST_BETWEEN and image.height > size[1]:
        # Filtering may take width first: at its full height, it could take all memory.
        image = image.resize((image.width, size[1]), _PILLOW[mode])
    grows = image.width < size[0] or image.height < size[1]
    # Torch's bicubic is up to 2 of 255 away from Pillow's where it enlarges, and up to 31 on noise
    # where proportions change, since it scales the sides in another order.
    cubic = mode == "bicubic" and preprocess.resize == "shorter" and not grows
    as_tensors = preprocess.as_transformers and mode != "nearest"
    if preprocess.resampler == "torch" and (mode == "bilinear" or cubic or as_tensors):
        return _resize_filtered(image, size, mode)
    return np.asarray(image.resize(size, _PILLOW[mode]))


def _resize_filtered(image: Image.Image, size: tuple[int, int], mode: str) -> npt.NDArray[np.uint8]:
    """Resample with a filter as wide as the scale, as Pillow does, in torch's 8-bit arithmetic.

    2 to 7 times as fast as Pillow, and the same but for 1 of 255 in 1 % of values (bicubic to more
    than half: 2 in 0.001 %). Width is always scaled first; Pillow 13 takes the cheaper side first.
    """
    width, height = size
    if image.width * image.height <= _LARGE:
        filtered = _interpolated(_view(image), height, width, mode)
    else:  # width a band at a time: the same, without copies of the whole
        step = max(1, BAND // image.width)
        bands = (band(image, top, top + step) for top in range(0, image.height, step))
        narrow = [_interpolated(some, len(some), width, mode) for some in bands]
        filtered = _interpolated(np.concatenate(narrow), height, width, mode)
    return filtered if filtered.shape[2] == 3 else _without_fourth(filtered)


def _interpolated(
    pixels: npt.NDArray[np.uint8], height: int, width: int, mode: str
) -> npt.NDArray[np.uint8]:
    import torch
    from torch.nn import functional as F

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the memory may not be written to: it is only read
        channels_last = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    scaled = F.interpolate(
        channels_last, size=(height, width), mode=mode, antialias=True, align_corners=False
    )
    filtered: npt.NDArray[np.uint8] = scaled[0].permute(1, 2, 0).numpy()
    return filtered


def _without_fourth(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Leave out the last of four channels; Pillow does it three times as fast as NumPy or torch."""
    height, width, _ = pixels.shape
    lines = np.ascontiguousarray(pixels)
    image = Image.frombuffer("RGBX", (width, height), lines, "raw", "RGBX", 0, 1)
    return np.frombuffer(image.tobytes("raw", "RGB"), np.uint8).reshape(height, width, 3)


def _view(image: Image.Image) -> npt.NDArray[np.uint8]:
    """(H, W, 4) pixels in Pillow's own memory, the last channel unused; a copy (H, W, 3) if not.

    Pillow before 11.2, and large images that it keeps in several pieces, cannot be viewed.
    """
    try:
        flat: npt.NDArray[np.uint8] = pa.array(image).flatten().to_numpy()
    except (AttributeError, TypeError, ValueError, pa.ArrowException):
        return in_bands(image)
    return flat.reshape(image.height, image.width, -1)


def _resize_by_points(
    image: Image.Image, size: tuple[int, int], mode: str
) -> npt.NDArray[np.uint8]:
    """Resample between the nearest 2 (bilinear) or 4 (bicubic) pixels of a row and of a column.

    OpenCV's `resize` is 1 of 255 off: in halves with Intel's library, in 4 % without (11 bits).
    """
    pixels, (width, height) = in_bands(image), size
    rows, row_weights = _taps(pixels.shape[0], height, mode)
    columns, column_weights = _taps(pixels.shape[1], width, mode)
    if pixels.shape[1] * height > _MOST_BETWEEN:
        used, columns = np.unique(columns, return_inverse=True)
        pixels, columns = pixels[:, used], columns.reshape(column_weights.shape)
    # A row is a line of 3·W numbers: whole lines and single numbers are what `take` is fast at.
    lines = pixels.reshape(pixels.shape[0], -1)
    places = (3 * columns[:, :, None] + np.arange(3)).reshape(len(columns), -1)
    across = np.repeat(column_weights, 3, axis=1)
    upright = sum(
        np.multiply(lines.take(i, axis=0), w[:, None], dtype=np.float32)
        for i, w in zip(rows, row_weights, strict=True)
    )
    scaled = sum(upright.take(i, axis=1) * w for i, w in zip(places, across, strict=True))
    rounded: npt.NDArray[np.uint8] = scaled.round().clip(0, 255).astype(np.uint8)
    return rounded.reshape(height, width, 3)


def _taps(source: int, target: int, mode: str) -> tuple[npt.NDArray[np.int64], _Weights]:
    """Pixels that each target pixel is made of, and their weights; both (taps, target).

    Half-pixel centres; the border repeats; bicubic is Keys's kernel with a = -0.75:
    https://github.com/opencv/opencv/blob/4.10.0/modules/imgproc/src/resize.cpp
    """
    centre = (np.arange(target) + 0.5) * (source / target) - 0.5
    first = np.floor(centre)
    t = centre - first
    if mode == "bilinear":
        weights = np.stack([1 - t, t])
    else:
        a, u, s, r = -0.75, 1 - t, 1 + t, 2 - t
        near = [(a + 2) * d**3 - (a + 3) * d**2 + 1 for d in (t, u)]
        far = [a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a for d in (s, r)]
        weights = np.stack([far[0], *near, far[1]])
    offsets = np.arange(len(weights))[:, None] - (len(weights) // 2 - 1)
    indices = np.clip(first + offsets, 0, source - 1).astype(np.int64)
    return indices, weights.astype(np.float32)


def normalize(pixels: Tensor, preprocess: Preprocess, dtype: torch.dtype | None = None) -> Tensor:
    """Turn pixels into the network's input, on the device they are on.

    Args:
        pixels: (N, H, W, 3) of 0..255, RGB; uint8, or float32 as of `float_views`.
        preprocess: its channel order, mean and std.
        dtype: of the result, to which values computed in float32 are rounded; float32 if None.

    Returns:
        (N, 3, H, W) in channels-last memory format.
    """
    import torch

    if preprocess.channels == "bgr":
        pixels = pixels.flip(-1)
    count, height, width, channels = pixels.shape
    # Whole lines of pixels are what arithmetic is fast at: three values at a time are not.
    lines = pixels.reshape(count, height, width * channels)
    mean, std = (
        torch.tensor(values, device=pixels.device).repeat(width)
        for values in (preprocess.mean, preprocess.std)
    )
    found = torch.empty(lines.shape, dtype=dtype or torch.float32, device=pixels.device)
    per_step = (
        max(1, _CACHED // (height * width * channels)) if pixels.device.type == "cpu" else count
    )
    steps = zip(torch.split(lines, per_step), torch.split(found, per_step), strict=True)
    for some, place in steps:
        place.copy_(some.to(torch.float32, copy=True).sub_(mean).div_(std))
    return found.view(count, height, width, channels).permute(0, 3, 1, 2)
