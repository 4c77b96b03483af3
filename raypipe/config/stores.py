"""Jobs on a store as a whole."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raypipe.config.shared import JobConfig, SnapshotConfig, StoreConfig
from raypipe.config.tables import CsvConfig, ExcludeConfig
from raypipe.config.types import Seed, option
from raypipe.config.values import Shares


class InspectConfig(StoreConfig):
    """Show what is in a store."""

    snapshot: Annotated[int | None, Field(ge=1), option("Input", usual=True)] = None
    """Snapshot to show. Default: the newest."""


class ExportConfig(SnapshotConfig, ExcludeConfig, CsvConfig):
    """Write the features of a store as one file: HDF5, npy (with ids and labels beside), or CSV."""

    layer: Annotated[str | None, option("Input")] = None
    """Layer to write, where the store has several."""
    out: Annotated[str, option("Output")]
    """File to write. With --split, one file per split, its name in front of the extension."""
    to: Annotated[Literal["hdf5", "npy", "csv"], option("Output")]
    """Format of the file."""
    order: Annotated[Literal["id", "natural", "shuffle"], option("Output", usual=True)] = "id"
    """Order of the rows by id: as text, `natural` (2 before 10), or a seeded `shuffle`."""
    dtype: Annotated[Literal["stored", "float32", "float64"], option("Output")] = "stored"
    """Type of the features in the file. Default: as the store has them."""
    split: Annotated[
        Literal["none", "store", "stratified", "hash"], option("Output", usual=True)
    ] = "none"
    """Write a file for each split: the `store`'s own, `stratified` by label, or by `hash` of the
    id."""
    split_sizes: Annotated[Shares, option("Output", usual=True)] = Shares.parse("0.8,0.1,0.1")
    """Shares of train, validation and test; two numbers: train and test."""
    min_per_class: Annotated[int, Field(ge=1), option("Output")] = 1
    """Leave out classes with fewer images than this; their names and counts are told. 1: none."""
    seed: Annotated[Seed, option("Output")] = 42
    """Seed of the shuffle and of the split."""


class CompactConfig(StoreConfig):
    """Merge small partitions of a store into larger files, as a new snapshot."""

    target_mb: Annotated[int, Field(ge=1), option("Store", usual=True)] = 256
    """Size of the files to make, in MB. Partitions of at least half of it are left as they are."""


class ExpireConfig(StoreConfig):
    """Remove old snapshots of a store, and the files that nothing else lists.

    The files go in a later call, a day after their snapshot, so that no run that is going on loses
    them: call it every night. Pinned snapshots stay.
    """

    keep: Annotated[int, Field(ge=1), option("Store")]
    """Keep the newest so many snapshots."""
    older_than: Annotated[float, Field(ge=0), option("Store", usual=True)] = 0
    """Remove only snapshots older than so many days."""
    grace: Annotated[float, Field(ge=0), option("Store")] = 1
    """Days between the removal of a snapshot and that of its files: more than any run takes."""
    dry_run: Annotated[bool, option("Store", usual=True)] = False
    """Say what would be removed, and remove nothing."""


class VerifyConfig(SnapshotConfig):
    """Read all files of a store, and compare them with their checksums and fingerprints.

    Exit status 1 if one differs. `repair` makes a snapshot without it.
    """

    every: Annotated[bool, option("Input", usual=True)] = False
    """Read the files of all snapshots, not only of one."""


class RepairConfig(StoreConfig):
    """Take damaged files out of a store, so that the next `extract` makes their items again.

    Publishes a snapshot without them; what is good stays as it is.
    """


class PinConfig(StoreConfig):
    """Keep a snapshot from `expire`, for as long as someone needs it."""

    name: Annotated[str, option("Input", position=2)]
    """Why it is kept, as `model-7`: letters, digits, `.`, `_` and `-`."""
    snapshot: Annotated[int | None, Field(ge=1), option("Input", usual=True)] = None
    """Snapshot to keep. Default: the newest."""
    remove: Annotated[bool, option("Store", usual=True)] = False
    """Forget the pin instead."""


class ReportConfig(JobConfig):
    """Make a page of what was done: one HTML file with pictures, which needs no other."""

    run: Annotated[str, option("Input", position=1)]
    """Store, or folder written by train, cluster or predict; or a folder with several of these,
    as `run` and `demo` write."""
    out: Annotated[str, option("Output", usual=True)] = "report.html"
    """File to write."""
    title: Annotated[str | None, option("Output", usual=True)] = None
    """Title of the page. Default: what it is about, and how good that is."""
    picture_mb: Annotated[int, Field(ge=0, le=50), option("Output")] = 8
    """Most megabytes of pictures in the page; 0 for none."""


class SimilarConfig(SnapshotConfig, ExcludeConfig):
    """Find the images of a store that are most like another one.

    Compares all of them, by cosine of standardised features.
    """

    image: Annotated[str, option("Input", position=2)]
    """The id of an image in the store, or any image: a path or a URI."""
    k: Annotated[int, Field(ge=1), option("Output", usual=True)] = 10
    """How many images to find."""
    layer: Annotated[str | None, option("Input")] = None
    """Layer to compare, where the store has several."""
    out: Annotated[str | None, option("Output", usual=True)] = None
    """Picture of them to write, as .png."""
    backbone: Annotated[str | None, option("Backbone")] = None
    """Where the store's backbone is now, if it has moved. Code of one's own (`file.py:callable`,
    `package.module:callable`) is run only if it is named here, and only if it is the same."""
    weights: Annotated[str | None, option("Backbone")] = None
    """Where the store's weights file is now, if it has moved."""


class DedupeConfig(SnapshotConfig, ExcludeConfig, CsvConfig):
    """Find images of a store that are the same picture: copied, resized, re-encoded or mirrored.

    Features say which pairs could be (--least); then their pixels are compared. Copies whose
    features differ more are not found. Nothing is removed.
    """

    least: Annotated[float, Field(ge=0, le=1), option("Model", usual=True)] = 0.85
    """Least cosine of standardised features of pairs whose pixels are compared. Lower values find
    more copies, as mirrored ones in a small store, and take longer."""
    layer: Annotated[str | None, option("Input")] = None
    """Layer to compare, where the store has several."""
    out: Annotated[str | None, option("Output", usual=True)] = None
    """File to write: .csv with a line per image (group, id, keep, similarity, width, height,
    bytes), or .png with the images of each group."""
