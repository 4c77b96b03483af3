"""One frozen model per job: the single definition behind Python, CLI, YAML and environment.

Each field's docstring is its help text; `json_schema_extra` holds the heading it is listed under
and whether it may be given by position. `options.resolve` merges the places a value can come from.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raypipe.config.groups import (
    AugmentConfig,
    BackboneConfig,
    EngineConfig,
    IngestConfig,
    JobConfig,
    LabelConfig,
    PerceptronConfig,
    RayConfig,
    SourceConfig,
)
from raypipe.config.types import Clusters, Grid, Names, Seed, Settings, Shares, option

__all__ = [
    "AugmentConfig",
    "BackboneConfig",
    "ClusterConfig",
    "CompactConfig",
    "DemoConfig",
    "DoctorConfig",
    "EngineConfig",
    "ExpireConfig",
    "ExportConfig",
    "ExtractConfig",
    "IngestConfig",
    "InspectConfig",
    "JobConfig",
    "LabelConfig",
    "LayersConfig",
    "PackConfig",
    "PerceptronConfig",
    "PinConfig",
    "PredictConfig",
    "RayConfig",
    "RunConfig",
    "SourceConfig",
    "TrainConfig",
]


class ExtractConfig(IngestConfig, BackboneConfig, AugmentConfig, RayConfig):
    """Turn images into features.

    Reads every image of SOURCE, runs it through a pretrained network up to a layer of your choice
    and adds the features to a store. The same command again takes only what is new or changed.
    """

    out: Annotated[str, option("Store")]
    """Store to create or extend: a folder, or a prefix as s3://bucket/store or gs://bucket/store."""
    format: Annotated[Literal["parquet", "hdf5"], option("Store")] = "parquet"
    """File format of the store's partitions."""
    dtype: Annotated[Literal["float32", "float16"], option("Store")] = "float32"
    """Type the features are stored in."""


class TrainConfig(PerceptronConfig, EngineConfig):
    """Fit a classifier on the features of a store.

    Holds out a stratified part, finds the best parameters by grid search with cross-validation on
    the rest, and writes the model, its scores and a confusion matrix.
    """

    store: Annotated[str, option("Input", position=1)]
    """Store written by `extract`."""
    layer: Annotated[str | None, option("Input")] = None
    """Layer to use, where the store has several."""
    out: Annotated[str, option("Output")]
    """Folder for the model and its scores."""
    head: Annotated[Literal["logistic", "svm", "forest", "knn", "mlp"], option("Model")] = (
        "logistic"
    )
    """The model fitted on the features: logistic regression, linear support vector machine, random
    forest, k nearest neighbours, or multi-layer perceptron."""
    grid: Annotated[Grid, option("Model")] = ()
    """Values to try of one of the head's parameters, as `C=0.1,1,10`; repeat it for several. The
    parameters are C (logistic, svm); n_estimators, max_depth, min_samples_leaf, max_features
    (forest); n_neighbors, weights (knn); hidden, dropout, learning_rate, weight_decay, optimizer
    (mlp). Default: a grid that suits the head."""
    spatial: Annotated[Literal["flatten", "average"], option("Model")] = "flatten"
    """How features of several axes (a layer kept as it is) become a row: all of their values, or
    the average over positions."""
    scale: Annotated[Literal["none", "standard", "l2"], option("Model")] = "standard"
    """Scaling of the features: zero mean and unit variance, unit length, or none."""
    max_iter: Annotated[int, Field(ge=1), option("Model")] = 1000
    """Most iterations of one fit."""
    tol: Annotated[float | None, Field(gt=0), option("Model")] = None
    """Tolerance at which a fit stops (logistic, svm). Default: 0.0001."""
    class_weight: Annotated[Literal["none", "balanced"], option("Model")] = "none"
    """`balanced` gives rows of rare classes more weight, so that all classes have the same."""
    calibrate: Annotated[
        Literal["auto", "none", "temperature", "sigmoid", "isotonic"], option("Model")
    ] = "auto"
    """How scores become probabilities, fitted on the folds of the cross-validation. `auto`: sigmoid
    for svm, none for the others."""
    split: Annotated[Literal["auto", "store", "stratified", "hash"], option("Evaluation")] = "auto"
    """What is held out: the `store`'s own split, a `stratified` random part, or a part by `hash` of
    the id. `auto`: the store's if it has one, else stratified."""
    cv: Annotated[int, Field(ge=2), option("Evaluation")] = 3
    """Folds of the cross-validation."""
    test_size: Annotated[float, Field(gt=0, lt=1), option("Evaluation")] = 0.25
    """Share of each class that is held out."""
    seed: Annotated[Seed, option("Evaluation")] = 42
    """Seed of the splits, and of what is random in a fit."""
    snapshot: Annotated[int | None, Field(ge=1), option("Input")] = None
    """Snapshot of the store to read. Default: the newest."""


class ClusterConfig(EngineConfig):
    """Group the features of a store with k-means."""

    store: Annotated[str, option("Input", position=1)]
    """Store written by `extract`."""
    layer: Annotated[str | None, option("Input")] = None
    """Layer to use, where the store has several."""
    out: Annotated[str, option("Output")]
    """Folder for the assignments and figures."""
    k: Annotated[Clusters, option("Model")]
    """Number of clusters, or a range as 5:50 (5:50:5 in steps of 5) to choose from."""
    choose: Annotated[Literal["silhouette", "elbow"], option("Model")] = "silhouette"
    """How k is chosen from a range, on a sample: largest mean silhouette, or where the inertia
    stops falling fast."""
    distance: Annotated[Literal["euclidean", "cosine"], option("Model")] = "euclidean"
    """`cosine`: spherical k-means, on features of unit length."""
    seed: Annotated[Seed, option("Model")] = 42
    """Seed of the starting centres."""
    scale: Annotated[Literal["none", "standard", "l2"], option("Model")] = "none"
    """Scaling of the features: none, zero mean and unit variance, or unit length."""
    spatial: Annotated[Literal["flatten", "average"], option("Model")] = "flatten"
    """How features of several axes (a layer kept as it is) become a row: all of their values, or
    the average over positions."""
    init: Annotated[str, option("Model")] = "auto"
    """Where the centres start: `k-means++` (with --engine ray on a sample), `k-means||`, or an .npy
    file of k centres. `auto`: k-means++, or k-means|| for more than 256 clusters on shards."""
    n_init: Annotated[int, Field(ge=1), option("Model")] = 1
    """Starts to try; the end with the smallest inertia is kept."""
    minibatch: Annotated[int | None, Field(ge=1), option("Model")] = None
    """Move the centres by random batches of so many rows: faster, and not exact."""
    max_iter: Annotated[int, Field(ge=1), option("Model")] = 300
    """Most iterations, or passes of mini-batches over the rows."""
    tol: Annotated[float, Field(ge=0), option("Model")] = 0.0001
    """Stop once the centres' squared shift is at most this share of the features' variance."""
    join: Annotated[str | None, option("Output")] = None
    """CSV of images, to be written anew with their cluster as a further column. Its ids are in the
    column `id`, else in the first; they may lack the extension."""
    snapshot: Annotated[int | None, Field(ge=1), option("Input")] = None
    """Snapshot of the store to read. Default: the newest."""


class PredictConfig(IngestConfig, RayConfig):
    """Apply a trained model to images, or to a store with the model's features.

    Decodes, embeds and classifies in one pass; features are not kept. With a folder as --out,
    predictions are written like features: the same command again takes only what is new.
    """

    model: Annotated[str, option("Input", position=1)]
    """Folder written by `train`."""
    source: Annotated[str, option("Input", position=2)]
    """Images, of any kind that `extract` takes, or a store with the model's features."""
    out: Annotated[str, option("Output")]
    """Folder of a store of predictions to create or extend; or one file to write, sorted by id:
    .csv or .parquet."""
    top_k: Annotated[int, Field(ge=1), option("Output")] = 1
    """How many classes to write per image, most probable first."""
    probabilities: Annotated[bool, option("Output")] = False
    """Write the probabilities of all classes as well (not to one file)."""
    threshold: Annotated[float | None, Field(gt=0, le=1), option("Output")] = None
    """Give no label to images whose most probable class is less probable than this."""
    where: Annotated[Names, option("Output")] = ()
    """Give a label only to images with COLUMN=LOW:HIGH (or COLUMN=VALUE), a column of the model's
    features with one number per image, as `imagenet_class=151:268`; repeat it for several."""
    evaluate: Annotated[bool, option("Evaluation")] = False
    """Compare with the labels of the source: accuracy, report and confusion matrix."""
    probability_of: Annotated[str | None, option("Output")] = None
    """Write the probability of this class as the label, and nothing else (to one file)."""
    order: Annotated[Literal["id", "natural"], option("Output")] = "id"
    """Order of the rows of one file by id: as text, or `natural` (2 before 10)."""
    short_ids: Annotated[bool, option("Output")] = False
    """Write ids without folders and extension: `12` for `test/12.jpg` (to one file)."""
    backbone: Annotated[str | None, option("Backbone")] = None
    """Where the model's backbone is now, if it has moved."""
    weights: Annotated[str | None, option("Backbone")] = None
    """Where the model's weights file is now, if it has moved."""


class InspectConfig(JobConfig):
    """Show what is in a store."""

    store: Annotated[str, option("Input", position=1)]
    """Store written by `extract`."""
    snapshot: Annotated[int | None, Field(ge=1), option("Input")] = None
    """Snapshot to show. Default: the newest."""


class ExportConfig(JobConfig):
    """Write the features of a store as one file: HDF5, npy (with ids and labels beside), or CSV."""

    store: Annotated[str, option("Input", position=1)]
    """Store written by `extract`."""
    layer: Annotated[str | None, option("Input")] = None
    """Layer to write, where the store has several."""
    snapshot: Annotated[int | None, Field(ge=1), option("Input")] = None
    """Snapshot of the store to read. Default: the newest."""
    out: Annotated[str, option("Output")]
    """File to write. With --split, one file per split, its name in front of the extension."""
    to: Annotated[Literal["hdf5", "npy", "csv"], option("Output")]
    """Format of the file."""
    order: Annotated[Literal["id", "natural", "shuffle"], option("Output")] = "id"
    """Order of the rows by id: as text, `natural` (2 before 10), or a seeded `shuffle`."""
    split: Annotated[Literal["none", "store", "stratified", "hash"], option("Output")] = "none"
    """Write a file for each split: the `store`'s own, `stratified` by label, or by `hash` of the
    id."""
    split_sizes: Annotated[Shares, option("Output")] = "0.8,0.1,0.1"
    """Shares of train, validation and test; two numbers: train and test."""
    seed: Annotated[Seed, option("Output")] = 42
    """Seed of the shuffle and of the split."""


class CompactConfig(JobConfig):
    """Merge small partitions of a store into larger files, as a new snapshot."""

    store: Annotated[str, option("Input", position=1)]
    """Store written by `extract`."""
    target_mb: Annotated[int, Field(ge=1), option("Store")] = 256
    """Size of the files to make, in MB. Partitions of at least half of it are left as they are."""


class ExpireConfig(JobConfig):
    """Remove old snapshots of a store, and the files that nothing else lists.

    The files go in a later call, a day after their snapshot, so that no run that is going on loses
    them: call it every night. Pinned snapshots stay.
    """

    store: Annotated[str, option("Input", position=1)]
    """Store written by `extract`."""
    keep: Annotated[int, Field(ge=1), option("Store")]
    """Keep the newest so many snapshots."""
    older_than: Annotated[float, Field(ge=0), option("Store")] = 0
    """Remove only snapshots older than so many days."""
    grace: Annotated[float, Field(ge=0), option("Store")] = 1
    """Days between the removal of a snapshot and that of its files: more than any run takes."""
    dry_run: Annotated[bool, option("Store")] = False
    """Say what would be removed, and remove nothing."""


class PinConfig(JobConfig):
    """Keep a snapshot from `expire`, for as long as someone needs it."""

    store: Annotated[str, option("Input", position=1)]
    """Store written by `extract`."""
    name: Annotated[str, option("Input", position=2)]
    """Why it is kept, as `model-7`: letters, digits, `.`, `_` and `-`."""
    snapshot: Annotated[int | None, Field(ge=1), option("Input")] = None
    """Snapshot to keep. Default: the newest."""
    remove: Annotated[bool, option("Store")] = False
    """Forget the pin instead."""


class PackConfig(LabelConfig):
    """Pack images into WebDataset tar shards, which are read much faster than loose files."""

    out: Annotated[str, option("Output")]
    """Folder for the shards."""
    shards: Annotated[int | None, Field(ge=1), option("Output")] = None
    """Number of shards. Default: as many as --shard-mb takes."""
    shard_mb: Annotated[int, Field(ge=1), option("Output")] = 256
    """Size of a shard, in MB."""
    prefix: Annotated[str, option("Output")] = "shard"
    """Shards are named PREFIX-000000.tar and so on."""


class RunConfig(JobConfig):
    """Run a recipe: a YAML file with the options of several jobs, one after another."""

    recipe: Annotated[str, option("Input", position=1)]
    """YAML file."""
    source: Annotated[str | None, option("Input")] = None
    """Images to extract from, instead of the recipe's."""
    out: Annotated[str | None, option("Output")] = None
    """Folder for everything that is written. Default: the recipe's, else its name."""
    set: Annotated[Settings, option("Input")] = ()
    """Change one option of a step, as STEP.OPTION=VALUE (`extract.weights=random`); repeat it for
    several."""


class LayersConfig(JobConfig):
    """List the nodes a backbone can be cut at, with their output shapes."""

    backbone: Annotated[str, option("Input", position=1)]
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


class DoctorConfig(ExtractConfig):
    """Measure what limits an extraction here, and name the settings that fit.

    Takes the options of `extract`, so that `doctor` can stand in its place in a command. It runs
    the same steps on a sample of SOURCE for about a minute, and writes nothing that stays.
    """

    source: Annotated[str | None, option("Input", position=1)] = None  # type: ignore[assignment]
    """Images, as for `extract`. Default: generated JPEGs of 500×375 pixels, about 110 kB each."""
    out: Annotated[str | None, option("Store")] = None  # type: ignore[assignment]
    """Where the store is to be; writing is measured there. Default: where temporary files go."""
    images: Annotated[int | None, Field(ge=1), option("Estimate")] = None
    """Images to estimate time and cost for. Default: as many as SOURCE has, else 1,000,000."""
    price: Annotated[float | None, Field(ge=0), option("Estimate")] = None
    """What one node costs for an hour, to estimate the cost."""
    sample: Annotated[int, Field(ge=1), option("Estimate")] = 256
    """Images to measure on."""
