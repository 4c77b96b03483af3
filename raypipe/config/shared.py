"""Groups of options that several jobs share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from raypipe.config.label_rules import LabelRule, SplitRule, expanded
from raypipe.config.sides import Sides
from raypipe.config.types import (
    Address,
    CropRounding,
    Id,
    Interpolation,
    Names,
    Orientation,
    Pool,
    Precision,
    Resampler,
    Seed,
    option,
)
from raypipe.config.values import ANY_NUMBER, Actors, Bar, Colour, HiddenLayers, Shares, Size


class JobConfig(BaseModel):
    """What every job has in common."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    )


class StoreConfig(JobConfig):
    """A job on a store."""

    store: Annotated[str, option("Input", position=1)]
    """Store written by `extract`."""


class SnapshotConfig(StoreConfig):
    """A job that reads a snapshot of a store."""

    snapshot: Annotated[int | None, Field(ge=1), option("Input")] = None
    """Snapshot of the store to read. Default: the newest."""


class SourceConfig(JobConfig):
    """Where images come from."""

    source: Annotated[str, option("Input", position=1)]
    """Images: a folder, a bucket's prefix, an archive, a table or arrays. Of folders and prefixes
    (any depth) all that are in it; else a file, a .zip, a WebDataset shard (.tar,
    .tar.gz; also as a folder of shards or a pattern), a table (.parquet, .csv, .tsv, .jsonl), or
    arrays (.h5, .npy, .npz). Paths, or URIs as s3://bucket/prefix and gs://bucket/prefix."""
    glob: Annotated[Names, option("Input", usual=True)] = ()
    """Take only items whose id matches, as `*.jpg` or `train/**/*.png`; repeat it for several."""
    since: Annotated[Id | None, option("Input")] = None
    """Take only items whose id is this or sorts behind it, as `2026/11/21`. What lies in front of
    it in a folder or bucket is not even listed, and stays as it is in the store."""
    id_column: Annotated[str | None, option("Input")] = None
    """Column of a table with the ids. Default: `id` if there is one, else the URI or row number."""
    image_column: Annotated[str | None, option("Input")] = None
    """Column of a table, or array in an HDF5 or .npz file, with the images: their bytes, or their
    URIs (paths, http(s)://, s3://, gs://). Default: found by its usual names."""
    allow_outside: Annotated[bool, option("Input")] = False
    """Let a table name local files outside its own folder, and link-local addresses, which are
    those of a cloud's metadata. Without it such a table is refused: it may come from anybody."""
    max_pixels: Annotated[int, Field(ge=1), option("Preprocessing")] = 178_956_970
    """Reject images with more pixels than this before decoding them."""


class LabelConfig(SourceConfig):
    """Where images, their labels and their splits come from."""

    label: Annotated[LabelRule, option("Input", usual=True)] = "auto"
    """Where labels come from, as `folder`, `column:NAME`, `filename`, `file:PATH`. `folder`: the
    image's own; `folder:first` is the top-most one, `folder:path` all of them, `folder:last` its
    own even if others have its name. `column` or `column:NAME` of a table (key in the json of a
    shard, array), by default `label`. `filename` or `filename:REGEX`: the expression's first group;
    by default what is in front of the number, `cat` of `cat.12.jpg`. `file:PATH`: a table (.csv,
    .tsv) with a label for each id, which may lack the extension; columns are known by usual names,
    or as `file:PATH:ID,LABEL`. `none`. `auto`: folder for folders and .zip, except dates as
    `2026/11/21`, else column. A split's folder on top is no part of a label."""
    label_column: Annotated[str, option("Input", instead="--label column:NAME")] = "label"
    """Column, key in json, or array with the labels."""
    label_pattern: Annotated[str, option("Input", instead="--label filename:REGEX")] = (
        r"^(.+?)[._ -]*\d*(?:\.[^.]*)?$"
    )
    """Regular expression for --label filename."""
    label_file: Annotated[str | None, option("Input", instead="--label file:PATH")] = None
    """Table with a label for each id."""
    label_id: Annotated[str | None, option("Input", instead="--label file:PATH:ID,LABEL")] = None
    """Column of that table with the ids."""
    label_limit: Annotated[int | None, Field(ge=1), option("Input")] = None
    """Take only the first N images of each label, in natural order (2 before 10)."""
    split: Annotated[SplitRule, option("Input", usual=True)] = "none"
    """Record which images are for training, validation and test. From the top-most `folder` (train,
    valid, test, …), from a `column` or `column:NAME` (by default `split`), or by `hash` of its id,
    which stays as it is when the set grows; `hash:0.8,0.1,0.1`: shares of train, validation and
    test, or train and test."""
    split_column: Annotated[str, option("Input", instead="--split column:NAME")] = "split"
    """Column with the split."""
    split_sizes: Annotated[Shares, option("Input", instead="--split hash:SHARES")] = Shares.parse(
        "0.8,0.1,0.1"
    )
    """Shares for --split hash."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, given: Any) -> Any:
        return expanded(given)


class IngestConfig(LabelConfig):
    """A job that adds to a store what is new or changed in a source."""

    prune: Annotated[bool, option("Store")] = False
    """Drop rows whose image is gone from the source."""
    retry_rejects: Annotated[bool, option("Store")] = False
    """Try items again that were rejected before. Those whose server did not answer always are."""
    max_seconds_per_image: Annotated[float, Field(gt=0, le=86400), option("Preprocessing")] = 60.0
    """Reject images that take longer than this to decode."""
    moved: Annotated[bool, option("Store")] = False
    """Take SOURCE for the one the store was made from, in another place; later runs then do so."""
    max_rejects: Annotated[Bar | None, option("Store")] = None
    """End with status 1 if more images are rejects: a number, or a share as `1%`. What is good is
    published all the same. Default: end so only if no image at all became a row; `100%`: never."""


class RayConfig(JobConfig):
    """A job that computes on Ray."""

    address: Annotated[Address | None, option("Ray")] = None
    """Ray to use: `local` starts one in this process, `auto` or an address joins a running cluster.
    Default: the cluster in RAY_ADDRESS if set, else local."""
    actors: Annotated[Actors, option("Ray")] = ANY_NUMBER
    """Replicas of the backbone: `auto` (one per GPU, else one per CPU core), N, or MIN:MAX, where
    a cluster that grows may bring the number up to MAX."""
    wait_for: Annotated[Literal["none", "cpu", "gpu"], option("Ray")] = "none"
    """Wait until the cluster has started a node with a `cpu` or a `gpu`, for 20 minutes at most:
    for clusters without nodes while there is nothing to do."""
    log: Annotated[Literal["text", "json"], option("Command")] = "text"
    """Form of what is said while it runs: `json` writes one object per line, with the job, and has
    Ray's workers do so in their logs, with the unit, its images and its seconds."""
    batch_size: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=65536)], option("Ray")
    ] = "auto"
    """Images per forward pass: `auto` or N; halved where memory does not suffice. Affects speed,
    and features by rounding only."""
    compile: Annotated[Literal["auto", "on", "off"], option("Ray")] = "auto"
    """Compile the network in each replica, which takes up to a minute the first time on a machine:
    `auto` tries it if the run is long, and does so if it is faster. Affects features by rounding
    only."""


class EngineConfig(SnapshotConfig):
    """A fit on the features of a store that is done in memory or on shards."""

    layer: Annotated[str | None, option("Input")] = None
    """Layer to use, where the store has several."""
    engine: Annotated[Literal["auto", "sklearn", "ray"], option("Ray")] = "auto"
    """What fits: `sklearn`, with all features in memory, or `ray`, with shards of them in actors
    over the cluster. Both find the same optimum. `auto`: sklearn while the features fit."""
    address: Annotated[Address | None, option("Ray")] = None
    """Ray to use: `local`, `auto` or an address. Default: RAY_ADDRESS if set, else local."""
    actors: Annotated[Actors, option("Ray")] = ANY_NUMBER
    """Actors that hold shards with --engine ray: `auto` (one per GPU, else per core, at most 8 on a
    machine), N, or MIN:MAX."""
    actor_memory: Annotated[Size | None, option("Ray")] = None
    """Memory each of them may take, as 4GiB; what does not fit goes to a local file in TMPDIR.
    Default: its share of what is free."""
    resume: Annotated[bool, option("Ray")] = False
    """Go on from where the same fit was stopped."""


class PerceptronConfig(JobConfig):
    """Options of `--head mlp`."""

    hidden: Annotated[HiddenLayers, option("Perceptron")] = HiddenLayers.parse("256")
    """Units of each hidden layer, as `256` or `512x128`, or `none`."""
    dropout: Annotated[float, Field(ge=0, lt=1), option("Perceptron")] = 0.5
    """Share of a hidden layer's outputs (without one, of the features) left out in training."""
    optimizer: Annotated[Literal["adam", "adamw", "sgd", "rmsprop"], option("Perceptron")] = "adam"
    """Optimiser. `rmsprop` has the constants and the arithmetic of Keras 2."""
    momentum: Annotated[float, Field(ge=0, lt=1), option("Perceptron")] = 0.9
    """Momentum of --optimizer sgd."""
    loss: Annotated[Literal["softmax", "sigmoid"], option("Perceptron")] = "softmax"
    """Cross-entropy of a `softmax` over the classes, or binary cross-entropy of a `sigmoid` for
    each class (of two classes, for the second alone). Probabilities are the sigmoids divided by
    their sum."""
    learning_rate: Annotated[float, Field(gt=0), option("Perceptron")] = 0.001
    """Learning rate."""
    weight_decay: Annotated[float, Field(ge=0), option("Perceptron")] = 0.0
    """Weight decay."""
    minibatch: Annotated[int, Field(ge=1), option("Perceptron")] = 256
    """Rows of one step, over all workers."""
    epochs: Annotated[int, Field(ge=1), option("Perceptron")] = 50
    """Most passes over the training rows."""
    keep: Annotated[Literal["best", "last"], option("Perceptron")] = "best"
    """The epoch that is kept: the one with the lowest validation loss (`best`), or the `last`, in
    which case --patience stops nothing."""
    patience: Annotated[int, Field(ge=0), option("Perceptron")] = 10
    """Stop after so many epochs without a lower validation loss; 0 never stops."""
    validation_size: Annotated[float, Field(ge=0, lt=1), option("Perceptron")] = 0.15
    """Share of the training images that epochs and grid are validated on, where the store's split
    has no validation images. 0 takes the held-out images for it: what is chosen by them then looks
    better than it is."""
    workers: Annotated[int | None, Field(ge=0), option("Perceptron")] = None
    """Processes to train in, over the cluster, each with a GPU if it has some. Default, or 0: this
    process alone, on its GPU if it has one, which starts some ten seconds sooner."""


class BackboneConfig(JobConfig):
    """Which network, and where to cut it."""

    backbone: Annotated[str, option("Backbone", usual=True)] = "resnet50"
    """Pretrained network, as `resnet50`, `timm/NAME` or `file.py:callable`. In full: a name of
    torchvision, `timm/NAME`, `pypi/NAME`, `hf/ID` or `hf/FOLDER` of transformers,
    `open_clip/ARCHITECTURE`, `keras/NAME` of keras.applications, `package.module:callable` or
    `file.py:callable`."""
    weights: Annotated[str, option("Backbone", usual=True)] = "DEFAULT"
    """Weights of the network: published ones, or a file. `DEFAULT` or another published set by
    name, `random` (seeded), or a file (.safetensors, .pth, .pt, .pth.tar, .bin, .ckpt; .keras,
    .weights.h5 or .h5 for `keras/NAME`)."""
    weights_sha256: Annotated[str | None, option("Backbone")] = None
    """Refuse a weights file that has another checksum."""
    layer: Annotated[Names, option("Backbone", usual=True)] = ()
    """Layer whose output becomes the feature, as [COLUMN=]NODE[:POOL]; repeat it for several.
    `raypipe layers BACKBONE` lists them; `logits` is the network's own output. Default:
    `embedding`, what the network's library calls the image's feature."""
    pool: Annotated[Pool, option("Backbone")] = "avg"
    """How a (channels, height, width) or (tokens, channels) output becomes the feature, for layers
    that do not say: average, maximum, flat, as it is (`none`), as (height, width, channels)
    (`hwc`), flat in that order, which is Keras's (`flatten-hwc`), as (tokens, channels) (`tokens`),
    its class token (`cls`), the mean of its patches without class and register tokens (`patches`),
    or the number of its largest value (`argmax`)."""
    seed: Annotated[Seed, option("Backbone")] = 0
    """Seed of random weights and of augmentation."""
    size: Annotated[Sides | None, option("Preprocessing", usual=True)] = None
    """Pixels that enter the network: the side of a square, or HEIGHTxWIDTH, as `224` or `256x128`.
    Default: what the weights were trained with."""
    resize: Annotated[Literal["squash", "shorter", "border"] | None, option("Preprocessing")] = None
    """`squash` scales both sides to SIZE; `shorter` scales the shorter side to RESIZE_TO and takes
    the centre; `border` scales the longer side and fills up with the mean colour."""
    resize_to: Annotated[Sides | None, option("Preprocessing")] = None
    """Length of the shorter side (`shorter`), the longer (`border`) or both (`squash`) before the
    centre is taken. HEIGHTxWIDTH is what the image is to cover (`shorter`), to fit into (`border`)
    or to have (`squash`)."""
    crop: Annotated[int | None, Field(ge=8, le=65535), option("Preprocessing")] = None
    """Side of a centre square taken from the original image before it is resized."""
    crop_rounding: Annotated[CropRounding | None, option("Preprocessing")] = None
    """Where that square starts if half a pixel is left: rounded `down`, as slices of NumPy arrays
    are, or to the `even` one, as torchvision's CenterCrop does. Default: down."""
    orientation: Annotated[Orientation, option("Preprocessing")] = "exif"
    """Turn photographs upright as their `exif` says, as OpenCV's `imread` does, or `ignore` that,
    as Keras's `load_img`, torchvision and timm do. Changes the features of turned ones."""
    interpolation: Annotated[Interpolation | None, option("Preprocessing")] = None
    """How pixels are resampled."""
    antialias: Annotated[bool | None, option("Preprocessing")] = None
    """Filter before shrinking, as Pillow does; `--no-antialias` samples points, as OpenCV does."""
    resampler: Annotated[Resampler, option("Preprocessing")] = "torch"
    """What filters: `torch`, which is 2 to 7 times as fast and within 1 of 255 of Pillow, or
    `pillow`, for its own pixels, as torchvision's `Resize` of a PIL image has them."""
    scaled_decode: Annotated[bool, option("Preprocessing")] = False
    """Decode JPEGs at 1/2, 1/4 or 1/8 of their size where that is still twice what is needed: about
    twice as fast for photographs of several megapixels, pixels differ by a few of 255."""
    gpu_decode: Annotated[bool, option("Preprocessing")] = False
    """Decode and resize JPEGs on the GPUs, for where too few CPU cores feed them. It is done by
    nvJPEG, whose pixels differ, most where colours meet; other images are left to the CPU."""
    decoder: Annotated[Names, option("Preprocessing")] = ()
    """Function `module:function` that decodes images of further formats; repeat it for several. It
    is asked first, and has to be installed on all nodes. `raypipe.images.heif:decode_heif` reads
    HEIC."""
    channels: Annotated[Literal["rgb", "bgr"] | None, option("Preprocessing")] = None
    """Order of the colour channels."""
    normalize: Annotated[
        Literal["weights", "torch", "caffe", "tf", "unit", "none"], option("Preprocessing")
    ] = "weights"
    """`torch`: ImageNet mean and std; `caffe`: BGR minus ImageNet means; `tf`: x/127.5-1;
    `unit`: x/255; `none`: 0..255; `weights`: what the weights were trained with."""
    mean: Annotated[Colour | None, option("Preprocessing")] = None
    """Mean of the red, green and blue channel in 0..1, as 0.485,0.456,0.406; goes with --std."""
    std: Annotated[Colour | None, option("Preprocessing")] = None
    """Standard deviation of the three channels in 0..1, as 0.229,0.224,0.225; goes with --mean."""
    precision: Annotated[Precision, option("Backbone")] = "auto"
    """Arithmetic of the network; `auto` takes bf16 where the hardware has it, else fp32."""
