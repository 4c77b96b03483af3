"""The preprocessing of a job: what the weights were trained with, and what options change of it."""

from __future__ import annotations

from raypipe.config import BackboneConfig
from raypipe.config.values import Colour
from raypipe.errors import UsageError
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
    values["resize_to"] = _shorter_side(config, values, base)
    if values["interpolation"] == "nearest":
        values["antialias"] = False  # one source pixel per target pixel: there is no filter
    if values["interpolation"] == "lanczos" and not values["antialias"]:
        raise UsageError("--no-antialias does not go with --interpolation lanczos; use bicubic")
    if config.scaled_decode and (values["crop"] is not None or not values["antialias"]):
        other = "--crop" if values["crop"] is not None else "--no-antialias or nearest pixels"
        raise UsageError(f"--scaled-decode does not go with {other}: these need every pixel")
    if config.gpu_decode:
        _check_gpu_decode(config, values)
    if config.gpu_decode and values["resize"] == "border":
        raise UsageError("--gpu-decode does not go with --resize border")
    return Preprocess(**values, scaled=config.scaled_decode, gpu_decoded=config.gpu_decode)


def _check_gpu_decode(config: BackboneConfig, values: dict[str, object]) -> None:
    others = {
        "--crop": values["crop"] is not None,
        "--no-antialias or nearest pixels": not values["antialias"],
        "--interpolation lanczos": values["interpolation"] == "lanczos",
        "--scaled-decode": config.scaled_decode,
    }
    for name in (name for name, given in others.items() if given):
        raise UsageError(
            f"--gpu-decode does not go with {name}: a GPU decodes all of an image, and resizes it "
            "with a bilinear or bicubic filter"
        )


def _usual() -> Preprocess:
    mean, std = _NORMALIZE["torch"]
    return Preprocess(mean=mean, std=std)


def _colour(config: BackboneConfig, trained: dict[str, object]) -> dict[str, object]:
    """Channel order, mean and std; reversing the channels of trained weights reverses both."""
    given = _given(config)
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


def _given(config: BackboneConfig) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
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


def _shorter_side(
    config: BackboneConfig, values: dict[str, object], trained: Preprocess
) -> int | None:
    if values["resize"] == "squash" and config.resize_to is None:
        if trained.resize != "squash" or not trained.resize_to:
            return None
        return round(int(str(values["size"])) * trained.resize_to / trained.size)
    size = int(str(values["size"]))
    if config.resize_to is not None:
        if config.resize_to < size and values["resize"] != "border":
            raise UsageError(
                f"--resize-to must be at least --size ({size}); got {config.resize_to}"
            )
        return config.resize_to
    if values["resize"] == "border" and trained.resize != "border":
        return size
    # The proportion of the evaluation it was trained for; without one, that of usual ImageNet ones.
    is_known = (trained.resize_to and trained.resize == "shorter") or trained.resize == "border"
    shorter, side = (trained.resize_to or 256, trained.size) if is_known else (256, 224)
    return round(size * shorter / side)
