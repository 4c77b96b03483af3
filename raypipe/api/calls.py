"""Functions that take the options of the command of the same name."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from raypipe.api.arguments import Origin
from raypipe.api.job_functions import job_function

if TYPE_CHECKING:
    import pyarrow as pa

    from raypipe.api.image_classifier import ImageClassifier
    from raypipe.api.image_clusters import ImageClusters
    from raypipe.cli.command import Outcome
    from raypipe.runtime.ray_dataset import Store


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
        (61, ['features'])
    """
    from raypipe.runtime.ray_dataset import Store

    return Store(os.fspath(store), snapshot)


def load_model(
    folder: str | os.PathLike[str], *, backbone: str | None = None, weights: str | None = None
) -> ImageClassifier:
    """Load a model written by `train`.

    Args:
        folder: or bucket and prefix.
        backbone: where the model's backbone is now, if it has moved; code of one's own is run only
            if it is named here.
        weights: where its weights file is now, if it has moved.

    Raises:
        UsageError: there is no model in the folder.

    Examples:
        >>> raypipe.load_model("model").classes
        ('daisy', 'rose', 'tulip')
    """
    from raypipe.api.image_classifier import ImageClassifier
    from raypipe.heads.model import MODEL_FILES
    from raypipe.heads.model import load_model as load
    from raypipe.storage import local_copy

    place = os.fspath(folder)
    with local_copy(place, MODEL_FILES, "MODEL") as found:
        trained = load(found, place)
    origin = Origin.of(place, MODEL_FILES[0])
    return ImageClassifier(trained, origin, backbone=backbone, weights=weights)


def shutdown() -> None:
    """End what calls leave for those that follow: Ray, unless it is the program's own, replicas.

    All of it goes with the program, too.
    """
    import_module("raypipe.flow.kept").clear()
    import_module("raypipe.steps.apart").DECODERS.close()
    if "ray" in sys.modules:
        import_module("raypipe.runtime.connection").end()


@job_function
def extract(outcome: Outcome) -> Store:
    """Return the opened store; with `dry_run`, what the command's --json says.

    Examples:
        >>> store = raypipe.extract("photos", out="features", backbone="resnet50")
        >>> len(store), store.reject_counts()
        (61, {'empty': 1})
    """
    summary = outcome.summary
    if "snapshot" not in summary:  # a dry run
        return outcome.value  # type: ignore[no-any-return]
    return open(summary["store"], summary["snapshot"])


@job_function
def train(outcome: Outcome) -> ImageClassifier:
    """Return the model, with its `metrics`.

    Examples:
        >>> model = raypipe.train("features", out="model", grid="C=0.01,0.1")
        >>> model.metrics["head"], model.metrics["test_rows"]
        ('logistic', 16)
    """
    from raypipe.api.image_classifier import ImageClassifier
    from raypipe.heads.model import MODEL_FILES

    return ImageClassifier(outcome.value, Origin.of(outcome.summary["model"], MODEL_FILES[0]))


@job_function
def cluster(outcome: Outcome) -> ImageClusters:
    """Return the clusters; `labels[i]` belongs to the i-th image by id (augmented views aside).

    Examples:
        >>> groups = raypipe.cluster("features", out="groups", k=3)
        >>> groups.centers.shape, int(groups.sizes.sum())
        ((3, 2048), 61)
    """
    from raypipe.api.image_clusters import ImageClusters

    return ImageClusters(outcome.value, Origin.of(outcome.summary["out"], "metrics.json"))


@job_function
def predict(outcome: Outcome) -> pa.Table | Store:
    """Return the predictions as a pyarrow Table, or the opened store if `out` is a folder.

    Examples:
        >>> table = raypipe.predict("model", "features", out="predictions.csv")
        >>> table.num_rows, table.column_names
        (61, ['id', 'label', 'probability'])
    """
    summary = outcome.summary
    return open(summary["out"], summary["snapshot"]) if "snapshot" in summary else outcome.value


@job_function
def similar(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the images found, most similar first, each with `id`, `label` and `similarity`.

    Examples:
        >>> found = raypipe.similar("features", "daisy/0001.jpg", k=2)
        >>> found[0]["id"], found[0]["label"]
        ('tulip/again.jpg', 'tulip')
    """
    return outcome.summary["similar"]  # type: ignore[no-any-return]


@job_function
def dedupe(outcome: Outcome) -> list[list[str]]:
    """Return groups of ids of images that are the same picture.

    Examples:
        >>> raypipe.dedupe("features")
        [['daisy/0001.jpg', 'tulip/again.jpg']]
    """
    return outcome.value  # type: ignore[no-any-return]


@job_function
def report(outcome: Outcome) -> str:
    """Return the file that was written.

    Examples:
        >>> from pathlib import Path
        >>> Path(raypipe.report("features", out="report.html")).name
        'report.html'
    """
    return outcome.value  # type: ignore[no-any-return]


@job_function
def inspect(outcome: Outcome) -> dict[str, Any]:
    """Return what is in the store, as the command's --json does.

    Examples:
        >>> raypipe.inspect("features")["labels"]
        {'daisy': 20, 'rose': 20, 'tulip': 21}
    """
    return outcome.summary


@job_function
def layers(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the nodes, first to last, each with `name`, `shape`, `channels` and `usual`.

    Examples:
        >>> raypipe.layers("resnet50")[-1]["name"]
        'fc'
    """
    return outcome.value  # type: ignore[no-any-return]


@job_function
def export(outcome: Outcome) -> list[str]:
    """Return the files that were written.

    Examples:
        >>> from pathlib import Path
        >>> [Path(file).name for file in raypipe.export("features", to="csv", out="features.csv")]
        ['features.csv']
    """
    return outcome.summary["out"]  # type: ignore[no-any-return]


@job_function
def compact(outcome: Outcome) -> Store:
    """Return the store, opened at its newest snapshot."""
    return open(outcome.summary["store"])


@job_function
def verify(outcome: Outcome) -> dict[str, str]:
    """Return what is wrong, by the name of the file within the store; nothing if all is well.

    Examples:
        >>> raypipe.verify("features")
        {}
    """
    return outcome.summary["damaged"]  # type: ignore[no-any-return]


@job_function
def repair(outcome: Outcome) -> Store:
    """Return the store, opened at its newest snapshot."""
    return open(outcome.summary["store"])


@job_function
def pack(outcome: Outcome) -> list[str]:
    """Return the shards that were written.

    Examples:
        >>> from pathlib import Path
        >>> [Path(file).name for file in raypipe.pack("photos", out="shards", shards=2)]
        ['shard-000000.tar', 'shard-000001.tar']
    """
    return outcome.value  # type: ignore[no-any-return]


@job_function
def run(outcome: Outcome) -> dict[str, Any]:
    """Return what each step has to say, as the command's --json does."""
    return outcome.summary


@job_function
def doctor(outcome: Outcome) -> dict[str, Any]:
    """Return what was measured and follows from it, as the command's --json does."""
    return outcome.summary
