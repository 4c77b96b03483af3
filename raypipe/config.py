"""One frozen model per job: the single definition behind Python, CLI, YAML and environment.

Each field's docstring is its help text; `json_schema_extra` holds the heading it is listed under
and whether it may be given by position. `options.resolve` merges the places a value can come from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "BackboneConfig",
    "ClusterConfig",
    "DemoConfig",
    "ExtractConfig",
    "InspectConfig",
    "JobConfig",
    "LayersConfig",
    "PredictConfig",
    "RayConfig",
    "TrainConfig",
]


def option(group: str, *, positional: bool = False) -> Any:
    """Metadata of one option: its heading in the help, and whether it may be given by position."""
    return Field(json_schema_extra={"group": group, "positional": positional})


def _split(value: Any) -> Any:
    """Accept a list, or one text with commas (as an environment variable has)."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [str(part) for part in value]
    return [part.strip() for part in str(value).split(",") if part.strip()]


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def _grid_entries(value: Any) -> Any:
    """Accept `C=0.1,1`, a list of such strings, or a YAML mapping `{C: [0.1, 1]}`."""
    if isinstance(value, dict):
        return [f"{name}={','.join(_split(values))}" for name, values in value.items()]
    return [value] if _is_str(value) else value


def _pool_size(value: str) -> str:
    """Check the form; whether the cluster has room for it is found out when it is known."""
    smallest, _, largest = value.partition(":")
    numbers = [smallest, largest] if ":" in value else [smallest]
    sizes = [int(number) for number in numbers if number.isdecimal()]
    if value != "auto" and (len(sizes) != len(numbers) or sizes != sorted(sizes) or 0 in sizes):
        raise ValueError("auto, N or MIN:MAX with 1 ≤ MIN ≤ MAX")
    return value


Actors = Annotated[str, AfterValidator(_pool_size)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Grid = Annotated[tuple[str, ...], BeforeValidator(_grid_entries)]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class JobConfig(BaseModel):
    """What every job has in common."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, coerce_numbers_to_str=True
    )


class RayConfig(JobConfig):
    """A job that computes on Ray."""

    address: Annotated[str | None, option("Ray")] = None
    """Ray to use: `local` starts one in this process, `auto` or an address joins a running cluster.
    Default: the cluster in RAY_ADDRESS if set, else local."""
    actors: Annotated[Actors, option("Ray")] = "auto"
    """Replicas of the backbone: `auto` (one per GPU, else one per CPU core), N, or MIN:MAX."""
    batch_size: Annotated[Literal["auto"] | Annotated[int, Field(ge=1)], option("Ray")] = "auto"
    """Images per forward pass: `auto` or N. Affects speed, and features by rounding only."""


class BackboneConfig(JobConfig):
    """Which network, and where to cut it."""

    backbone: Annotated[str, option("Backbone")] = "resnet50"
    """A torchvision model, `timm/NAME`, `package.module:callable` or `file.py:callable`."""
    weights: Annotated[str, option("Backbone")] = "DEFAULT"
    """`DEFAULT` or another published set by name, `random` (seeded), or a .safetensors or .pth
    file."""
    weights_sha256: Annotated[str | None, option("Backbone")] = None
    """Refuse a weights file that has another checksum."""
    layer: Annotated[Names, option("Backbone")] = ()
    """Node to cut at; repeat it for several. `raypipe layers BACKBONE` lists them.
    Default: the input of the last fully connected layer."""
    pool: Annotated[Literal["avg", "max", "flatten", "none"], option("Backbone")] = "avg"
    """How a (channels, height, width) or (tokens, channels) output becomes the feature."""
    seed: Annotated[Seed, option("Backbone")] = 0
    """Seed of random weights."""
    size: Annotated[int | None, Field(ge=8), option("Preprocessing")] = None
    """Side of the square that enters the network. Default: what the weights were trained with."""
    resize: Annotated[Literal["squash", "shorter"] | None, option("Preprocessing")] = None
    """`squash` scales both sides to SIZE; `shorter` scales the shorter side to RESIZE_TO and takes
    the centre."""
    resize_to: Annotated[int | None, Field(ge=8), option("Preprocessing")] = None
    """Length of the shorter side before the centre crop (with `shorter`)."""
    crop: Annotated[int | None, Field(ge=8), option("Preprocessing")] = None
    """Side of a centre square taken from the original image before it is resized."""
    interpolation: Annotated[Interpolation | None, option("Preprocessing")] = None
    """How pixels are resampled."""
    antialias: Annotated[bool | None, option("Preprocessing")] = None
    """Filter before shrinking, as Pillow does; `--no-antialias` samples points, as OpenCV does."""
    channels: Annotated[Literal["rgb", "bgr"] | None, option("Preprocessing")] = None
    """Order of the colour channels."""
    normalize: Annotated[
        Literal["weights", "torch", "caffe", "tf", "unit", "none"], option("Preprocessing")
    ] = "weights"
    """`torch`: ImageNet mean and std; `caffe`: BGR minus ImageNet means; `tf`: x/127.5-1;
    `unit`: x/255; `none`: 0..255; `weights`: what the weights were trained with."""
    precision: Annotated[Precision, option("Backbone")] = "auto"
    """Arithmetic of the network; `auto` takes bf16 where the hardware has it, else fp32."""


class ExtractConfig(BackboneConfig, RayConfig):
    """Turn images into features.

    Reads every image of SOURCE, runs it through a pretrained network up to a layer of your choice
    and adds the features to a store. The same command again takes only what is new or changed.
    """

    source: Annotated[str, option("Input", positional=True)]
    """Folder of images, searched at any depth, or a single image."""
    out: Annotated[str, option("Store")]
    """Store to create or extend."""
    label: Annotated[Literal["folder", "none"], option("Store")] = "folder"
    """Where the label comes from: the name of the image's own folder, or nowhere."""
    prune: Annotated[bool, option("Store")] = False
    """Drop rows whose image is gone from the source."""
    moved: Annotated[bool, option("Store")] = False
    """Take SOURCE for the one the store was made from, in another place."""
    dtype: Annotated[Literal["float32", "float16"], option("Store")] = "float32"
    """Type the features are stored in."""
    max_pixels: Annotated[int, Field(ge=1), option("Preprocessing")] = 178_956_970
    """Reject images with more pixels than this before decoding them."""


class TrainConfig(JobConfig):
    """Fit a classifier on the features of a store.

    Holds out a stratified part, finds the best parameters by grid search with cross-validation on
    the rest, and writes the model, its scores and a confusion matrix.
    """

    store: Annotated[str, option("Input", positional=True)]
    """Store written by `extract`."""
    layer: Annotated[str | None, option("Input")] = None
    """Layer to use, where the store has several."""
    out: Annotated[str, option("Output")]
    """Folder for the model and its scores."""
    head: Annotated[Literal["logistic"], option("Model")] = "logistic"
    """The model fitted on the features."""
    grid: Annotated[Grid, option("Model")] = ("C=0.001,0.01,0.1,1,10",)
    """Values to try, as `C=0.1,1,10`."""
    scale: Annotated[Literal["none", "standard", "l2"], option("Model")] = "standard"
    """Scaling of the features: zero mean and unit variance, unit length, or none."""
    max_iter: Annotated[int, Field(ge=1), option("Model")] = 1000
    """Most iterations of one fit."""
    cv: Annotated[int, Field(ge=2), option("Evaluation")] = 3
    """Folds of the cross-validation."""
    test_size: Annotated[float, Field(gt=0, lt=1), option("Evaluation")] = 0.25
    """Share of each class that is held out."""
    seed: Annotated[Seed, option("Evaluation")] = 42
    """Seed of the splits."""
    snapshot: Annotated[int | None, Field(ge=1), option("Input")] = None
    """Snapshot of the store to read. Default: the newest."""
    address: Annotated[str | None, option("Ray")] = None
    """Ray to use: `local`, `auto` or an address. Default: RAY_ADDRESS if set, else local."""


class ClusterConfig(JobConfig):
    """Group the features of a store with k-means."""

    store: Annotated[str, option("Input", positional=True)]
    """Store written by `extract`."""
    layer: Annotated[str | None, option("Input")] = None
    """Layer to use, where the store has several."""
    out: Annotated[str, option("Output")]
    """Folder for the assignments and figures."""
    k: Annotated[int, Field(ge=1), option("Model")]
    """Number of clusters."""
    seed: Annotated[Seed, option("Model")] = 42
    """Seed of the starting centres."""
    scale: Annotated[Literal["none", "standard", "l2"], option("Model")] = "none"
    """Scaling of the features: none, zero mean and unit variance, or unit length."""
    snapshot: Annotated[int | None, Field(ge=1), option("Input")] = None
    """Snapshot of the store to read. Default: the newest."""


class PredictConfig(RayConfig):
    """Apply a trained model to new images or to a store."""

    model: Annotated[str, option("Input", positional=True)]
    """Folder written by `train`."""
    source: Annotated[str, option("Input", positional=True)]
    """Folder of images, a single image, or a store with the model's features."""
    out: Annotated[str, option("Output")]
    """File to write: .csv or .parquet."""
    top_k: Annotated[int, Field(ge=1), option("Output")] = 1
    """How many classes to write per image, most probable first."""
    backbone: Annotated[str | None, option("Backbone")] = None
    """Where the model's backbone is now, if it has moved."""
    weights: Annotated[str | None, option("Backbone")] = None
    """Where the model's weights file is now, if it has moved."""
    max_pixels: Annotated[int, Field(ge=1), option("Preprocessing")] = 178_956_970
    """Reject images with more pixels than this before decoding them."""


class InspectConfig(JobConfig):
    """Show what is in a store."""

    store: Annotated[str, option("Input", positional=True)]
    """Store written by `extract`."""
    snapshot: Annotated[int | None, Field(ge=1), option("Input")] = None
    """Snapshot to show. Default: the newest."""


class LayersConfig(JobConfig):
    """List the nodes a backbone can be cut at, with their output shapes."""

    backbone: Annotated[str, option("Input", positional=True)]
    """A torchvision model, `timm/NAME`, `package.module:callable` or `file.py:callable`."""
    size: Annotated[int, Field(ge=8), option("Input")] = 224
    """Side of the square that enters the network."""


class DemoConfig(JobConfig):
    """Run everything once on bundled data: extract, train, cluster, predict, inspect."""

    out: Annotated[str, option("Output")] = "raypipe-demo"
    """Folder for images, features, models and pictures."""
    backbone: Annotated[str, option("Backbone")] = "resnet18"
    """Backbone to use."""
    weights: Annotated[str | None, option("Backbone")] = None
    """Weights file or name. Default: the published ImageNet weights, or random ones offline."""
    address: Annotated[str | None, option("Ray")] = None
    """Ray to use: `local`, `auto` or an address. Default: RAY_ADDRESS if set, else local."""
