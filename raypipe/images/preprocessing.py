"""The preprocessing of a job: what the weights were trained with, and what options change of it."""

from __future__ import annotations

from typing import Any

from raypipe.config import BackboneConfig
from raypipe.config.sides import Sides, both, squared, written
from raypipe.config.values import Colour
from raypipe.errors import UsageError
from raypipe.images.decoders import load_decoder
from raypipe.spec import Preprocess

#: Mean and standard deviation of ImageNet's RGB channels in 0..1, as torchvision documents them.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_Triple = tuple[float, float, float]
#: Options that are not taken as they are, but together.
_COLOUR = {"channels", "mean", "std"}

# Mean and std in 0..255 by name. `caffe` is the mean pixel of the original VGG training, in BGR:
# https://github.com/keras-team/keras/blob/v3.3.3/keras/src/applications/imagenet_utils.py
_NORMALIZE: dict[str, tuple[_Triple, _Triple]] = {
    "torch": (
        (255 * _IMAGENET_MEAN[0], 255 * _IMAGENET_MEAN[1], 255 * _IMAGENET_MEAN[2]),
        (255 * _IMAGENET_STD[0], 255 * _IMAGENET_STD[1], 255 * _IMAGENET_STD[2]),
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
    of_both = Preprocess.model_fields.keys() & BackboneConfig.model_fields.keys() - _COLOUR
    chosen = {name: value for name in of_both if (value := getattr(config, name)) is not None}
    values |= chosen
    values |= _colour(config, values)
    values["resize_to"] = _resize_to(config, values, base)
    if values["interpolation"] == "nearest":
        values["antialias"] = False  # one source pixel per target pixel: there is no filter
    if not values["antialias"]:
        _check_points(values)
    if config.scaled_decode and (values["crop"] is not None or not values["antialias"]):
        other = "--crop" if values["crop"] is not None else "--no-antialias or nearest pixels"
        raise UsageError(f"--scaled-decode does not go with {other}: these need every pixel")
    for name in config.decoder:
        load_decoder(name)
    values |= {"scaled": config.scaled_decode, "gpu_decoded": config.gpu_decode}
    found = Preprocess(**values | {"decoders": config.decoder})
    if config.gpu_decode:
        _check_gpu_decode(found)
    return found


def _check_points(values: dict[str, Any]) -> None:
    if values["interpolation"] == "lanczos":
        raise UsageError("--no-antialias does not go with --interpolation lanczos; use bicubic")
    if values["resampler"] == "pillow" and values["interpolation"] != "nearest":
        raise UsageError(
            "--resampler pillow always filters; got --no-antialias; give one of the two"
        )


def _check_gpu_decode(wanted: Preprocess) -> None:
    smaller = any(a < b for a, b in zip(wanted.scaled_shape, wanted.shape, strict=True))
    others = {
        "--crop": wanted.crop is not None,
        "--no-antialias or nearest pixels": not wanted.antialias,
        "--interpolation lanczos": wanted.interpolation == "lanczos",
        "--resampler pillow": wanted.resampler == "pillow",
        "--scaled-decode": wanted.scaled,
        "--resize border": wanted.resize == "border",
        "a --resize-to below --size": smaller,
    }
    for name in (name for name, given in others.items() if given):
        raise UsageError(
            f"--gpu-decode does not go with {name}: a GPU decodes all of an image, and resizes it "
            "with a bilinear or bicubic filter to what the network's input is cut out of"
        )


def _usual() -> Preprocess:
    mean, std = _NORMALIZE["torch"]
    return Preprocess(mean=mean, std=std)


def _colour(config: BackboneConfig, trained: dict[str, object]) -> dict[str, object]:
    """Channel order, mean and std; reversing the channels of trained weights reverses both."""
    given = given_colour(config)
    if given is not None:
        order = config.channels or trained["channels"]
        step = -1 if order == "bgr" else 1
        return {"channels": order, "mean": given[0][::step], "std": given[1][::step]}
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


def given_colour(config: BackboneConfig) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and std of --mean and --std for pixels of 0..255, in RGB order."""
    if config.mean is None and config.std is None:
        return None
    if config.mean is None or config.std is None:
        raise UsageError("--mean and --std go together; got one of them")
    if config.normalize != "weights":
        raise UsageError(f"--mean and --std do not go with --normalize {config.normalize}")
    if not all(config.std.parts):
        raise UsageError(f"--std must be above 0; got {config.std}")
    return _of_bytes(config.mean), _of_bytes(config.std)


def _of_bytes(colour: Colour) -> tuple[float, ...]:
    return tuple(255 * part for part in colour.parts)


def _resize_to(config: BackboneConfig, values: dict[str, Any], trained: Preprocess) -> Sides | None:
    size: Sides = values["size"]
    resize = values["resize"]
    if config.resize_to is not None:
        if resize != "border":
            _check_resize_to(config.resize_to, size, resize)
        return config.resize_to
    if resize == "squash" and (trained.resize != "squash" or not trained.resize_to):
        return None
    if resize == "border" and trained.resize != "border":
        return size
    # The proportion of the evaluation it was trained for; without one, that of usual ImageNet ones.
    is_known = (trained.resize_to and trained.resize == resize) or trained.resize == "border"
    scaled, part = (trained.scaled_shape, trained.shape) if is_known else ((256, 256), (224, 224))
    if resize == "shorter" and part[0] != part[1] and scaled[0] == scaled[1]:
        return _in_proportion(max(both(size)), scaled[0], max(part))  # one side, whatever the shape
    height, width = map(_in_proportion, both(size), scaled, part)
    return squared(height, width)


def _check_resize_to(resize_to: Sides, size: Sides, resize: str) -> None:
    """Refuse what is smaller than the input; a shorter side may be, than the longer of that."""
    least = both(size)
    if resize == "shorter" and isinstance(resize_to, int):
        least = (min(least), min(least))
    if any(n < one for n, one in zip(both(resize_to), least, strict=True)):
        raise UsageError(
            f"--resize-to must be at least --size ({written(size)}); got {written(resize_to)}"
        )


def _in_proportion(length: int, whole: int, part: int) -> int:
    return round(length * whole / part)
