"""Jobs that read images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raypipe.config.augmentation import AugmentConfig
from raypipe.config.shared import (
    BackboneConfig,
    IngestConfig,
    LabelConfig,
    RayConfig,
)
from raypipe.config.tables import CsvConfig
from raypipe.config.types import Filters, option


class ExtractConfig(IngestConfig, BackboneConfig, AugmentConfig, RayConfig):
    """Turn images into features.

    Reads every image of SOURCE, runs it through a pretrained network up to a layer of your choice
    and adds the features to a store. The same command again takes only what is new or changed.
    """

    out: Annotated[str, option("Store")]
    """Store to create or extend: a folder, or a prefix as s3://bucket/store or
    gs://bucket/store."""
    format: Annotated[Literal["parquet", "hdf5"], option("Store")] = "parquet"
    """File format of the store's partitions."""
    dtype: Annotated[Literal["float32", "float16"], option("Store")] = "float32"
    """Type the features are stored in."""
    dry_run: Annotated[bool, option("Estimate", usual=True)] = False
    """Say what there is to do and about how long it would take, and write nothing."""


class PredictConfig(IngestConfig, CsvConfig, RayConfig):
    """Apply a trained model to images, or to a store with the model's features.

    Decodes, embeds and classifies in one pass; features are not kept. With a folder as --out,
    predictions are written like features: the same command again takes only what is new.
    """

    model: Annotated[str, option("Input", position=1)]
    """Folder, or bucket and prefix, written by `train`."""
    source: Annotated[str, option("Input", position=2)]
    """Images, of any kind that `extract` takes, or a store with the model's features."""
    out: Annotated[str | None, option("Output", usual=True)] = None
    """Folder of a store of predictions to create or extend; or one file to write, sorted by id:
    .csv or .parquet. Default: a table on the screen."""
    top_k: Annotated[int, Field(ge=1), option("Output", usual=True)] = 1
    """How many classes to write per image, most probable first."""
    probabilities: Annotated[bool, option("Output")] = False
    """Write the probabilities of all classes as well (to a folder)."""
    threshold: Annotated[float | None, Field(gt=0, le=1), option("Output", usual=True)] = None
    """Give no label to images whose most probable class is less probable than this."""
    where: Annotated[Filters, option("Output")] = ()
    """Give a label only to images with COLUMN=LOW:HIGH (or COLUMN=VALUE), a column of the model's
    features with one number per image, as `imagenet_class=151:268`; repeat it for several."""
    evaluate: Annotated[bool, option("Evaluation", usual=True)] = False
    """Compare with the labels of the source: accuracy, report and confusion matrix."""
    report: Annotated[bool, option("Output", usual=True)] = False
    """Also write a page with pictures: report.html in the folder, or NAME.report.html beside the
    file; see `raypipe report`."""
    probability_of: Annotated[str | None, option("Output")] = None
    """Write the probability of this class as the label, and nothing else (in one table)."""
    order: Annotated[Literal["id", "natural"], option("Output")] = "id"
    """Order of the rows of one file by id: as text, or `natural` (2 before 10)."""
    short_ids: Annotated[bool, option("Output")] = False
    """Write ids without folders and extension: `12` for `test/12.jpg` (in one table)."""
    class_names: Annotated[Literal["none", "imagenet"], option("Output")] = "none"
    """Also write names: `imagenet` has those of its 1,000 classes, beside each column of --where
    that holds the network's own class, as `imagenet_class_name` (in one table)."""
    backbone: Annotated[str | None, option("Backbone")] = None
    """Where the model's backbone is now, if it has moved. Code of one's own (`file.py:callable`,
    `package.module:callable`) is run only if it is named here, and only if it is the same."""
    weights: Annotated[str | None, option("Backbone")] = None
    """Where the model's weights file is now, if it has moved."""


class PackConfig(LabelConfig, CsvConfig):
    """Pack images into WebDataset tar shards, which are read much faster than loose files."""

    out: Annotated[str, option("Output")]
    """Folder for the shards."""
    shards: Annotated[int | None, Field(ge=1), option("Output", usual=True)] = None
    """Number of shards. Default: as many as --shard-mb takes."""
    shard_mb: Annotated[int, Field(ge=1), option("Output")] = 256
    """Size of a shard, in MB."""
    prefix: Annotated[str, option("Output")] = "shard"
    """Shards are named PREFIX-000000.tar and so on."""


class DoctorConfig(ExtractConfig):
    """Measure what limits an extraction here, and at which rate.

    Takes the options of `extract`, so that `doctor` can stand in its place in a command. It
    extracts a sample of SOURCE for about half a minute, and writes nothing that stays.
    """

    source: Annotated[str | None, option("Input", position=1)] = None  # type: ignore[assignment]
    """Images, as for `extract`. Default: generated JPEGs of 500×375 pixels, about 110 kB each."""
    out: Annotated[str | None, option("Store")] = None  # type: ignore[assignment]
    """Where the store is to be; writing is measured there. Default: where temporary files go."""
    images: Annotated[int | None, Field(ge=1), option("Estimate", usual=True)] = None
    """Images to estimate time and cost for. Default: as many as SOURCE has, else 1,000,000."""
    price: Annotated[float | None, Field(ge=0), option("Estimate", usual=True)] = None
    """What one node costs for an hour, to estimate the cost."""
    seconds: Annotated[float, Field(gt=0), option("Estimate", usual=True)] = 20.0
    """How long to measure, from when the first images are done."""
    sample: Annotated[int | None, Field(ge=1), option("Estimate")] = None
    """Images to measure on at most. Default: as many as are done in that time."""
