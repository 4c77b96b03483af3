"""Distributed transfer learning by feature extraction on Ray.

The functions here take the options of the command of the same name:

>>> import raypipe
>>> store = raypipe.extract("photos", out="features", backbone="resnet50")
>>> store.to_numpy().features.shape
(61, 2048)
"""

from __future__ import annotations

import inspect as _inspect
import os as _os
import sys as _sys
from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from raypipe import config as _config
from raypipe.cli.options import parameters as _parameters
from raypipe.cli.options import resolve as _resolve
from raypipe.config.version import __version__ as __version__

if TYPE_CHECKING:
    from raypipe.fit.kmeans.in_memory import Clusters
    from raypipe.heads.model import TrainedModel
    from raypipe.runtime.ray_dataset import Store

__all__ = [
    "cluster",
    "compact",
    "dedupe",
    "doctor",
    "export",
    "extract",
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


def open(store: str | _os.PathLike[str], snapshot: int | None = None) -> Store:
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

    return Store(_os.fspath(store), snapshot)


def load_model(folder: str | _os.PathLike[str]) -> TrainedModel:
    """Load a model written by `train`.

    Raises:
        UsageError: there is no model in the folder.

    Examples:
        >>> raypipe.load_model("model").classes
        ('daisy', 'rose', 'tulip')
    """
    from raypipe.heads.model import MODEL_FILES
    from raypipe.heads.model import load_model as load
    from raypipe.storage import local_copy

    place = _os.fspath(folder)
    with local_copy(place, MODEL_FILES, "MODEL") as found:
        return load(found, place)


def shutdown() -> None:
    """End what calls leave for those that follow: Ray, unless it is the program's own, replicas.

    All of it goes with the program, too.
    """
    _import_module("raypipe.flow.kept").clear()
    _import_module("raypipe.steps.apart").DECODERS.close()
    if "ray" in _sys.modules:
        _import_module("raypipe.runtime.connection").end()


def _job(function: Any) -> Any:
    """Give a function the signature and documentation of the job of its name."""
    model = _config.JOBS[function.__name__]
    text = _inspect.getdoc(function)
    described = "\n".join(
        f"    {name}: {' '.join((info.description or '').split())}"
        for name, info in model.model_fields.items()
    )
    function.__signature__ = _inspect.Signature(_parameters(model))
    function.__doc__ = f"{_inspect.getdoc(model)}\n\n{text}\n\nArgs:\n{described}"
    return function


def _run(name: str, options: dict[str, Any], **positional: Any) -> Any:
    model = _config.JOBS[name]
    given = positional | options
    given = {n: _os.fspath(v) if isinstance(v, _os.PathLike) else v for n, v in given.items()}
    unknown = [option for option in given if option not in model.model_fields]
    if unknown:
        raise TypeError(f"{name}() has no option {unknown[0]!r}")
    resolved = _resolve(model, given, environment={})
    _import_module("raypipe.runtime.keeping").KEEPING.wanted = True
    return _import_module(f"raypipe.jobs.{name}").run(resolved)


@_job
def extract(source: str, **options: Any) -> Store:
    """Return the opened store; with `dry_run`, what the command's --json says.

    Examples:
        >>> store = raypipe.extract("photos", out="features", backbone="resnet50")
        >>> len(store), store.reject_counts()
        (61, {'empty': 1})
    """
    outcome = _run("extract", options, source=source)
    if options.get("dry_run"):
        return outcome.value  # type: ignore[no-any-return]
    return open(outcome.summary["store"], outcome.summary["snapshot"])


@_job
def train(store: str, **options: Any) -> TrainedModel:
    """Return the model, with its `metrics`.

    Examples:
        >>> model = raypipe.train("features", out="model", grid="C=0.01,0.1")
        >>> model.metrics["head"], model.metrics["test_rows"]
        ('logistic', 16)
    """
    outcome = _run("train", options, store=store)
    return outcome.value  # type: ignore[no-any-return]


@_job
def cluster(store: str, **options: Any) -> Clusters:
    """Return the clusters; `labels[i]` belongs to the i-th image by id (augmented views aside).

    Examples:
        >>> groups = raypipe.cluster("features", out="groups", k=3)
        >>> groups.centers.shape, int(groups.sizes.sum())
        ((3, 2048), 61)
    """
    outcome = _run("cluster", options, store=store)
    return outcome.value  # type: ignore[no-any-return]


@_job
def predict(model: str, source: str, **options: Any) -> Any:
    """Return the predictions as a pyarrow Table, or the opened store if `out` is a folder.

    Examples:
        >>> table = raypipe.predict("model", "features", out="predictions.csv")
        >>> table.num_rows, table.column_names
        (61, ['id', 'label', 'probability'])
    """
    outcome = _run("predict", options, model=model, source=source)
    summary = outcome.summary
    return open(summary["out"], summary["snapshot"]) if "snapshot" in summary else outcome.value


@_job
def similar(store: str, image: str, **options: Any) -> list[dict[str, Any]]:
    """Return the images found, most similar first, each with `id`, `label` and `similarity`.

    Examples:
        >>> found = raypipe.similar("features", "daisy/0001.jpg", k=2)
        >>> found[0]["id"], found[0]["label"]
        ('tulip/again.jpg', 'tulip')
    """
    outcome = _run("similar", options, store=store, image=image)
    return outcome.summary["similar"]  # type: ignore[no-any-return]


@_job
def dedupe(store: str, **options: Any) -> list[list[str]]:
    """Return groups of ids of images that are the same picture.

    Examples:
        >>> raypipe.dedupe("features")
        [['daisy/0001.jpg', 'tulip/again.jpg']]
    """
    return _run("dedupe", options, store=store).value  # type: ignore[no-any-return]


@_job
def report(run: str, **options: Any) -> str:
    """Return the file that was written.

    Examples:
        >>> from pathlib import Path
        >>> Path(raypipe.report("features", out="report.html")).name
        'report.html'
    """
    return _run("report", options, run=run).value  # type: ignore[no-any-return]


@_job
def export(store: str, **options: Any) -> list[str]:
    """Return the files that were written.

    Examples:
        >>> from pathlib import Path
        >>> [Path(file).name for file in raypipe.export("features", to="csv", out="features.csv")]
        ['features.csv']
    """
    summary = _run("export", options, store=store).summary
    return summary["out"]  # type: ignore[no-any-return]


@_job
def compact(store: str, **options: Any) -> Store:
    """Return the store, opened at its newest snapshot."""
    _run("compact", options, store=store)
    return open(store)


@_job
def verify(store: str, **options: Any) -> dict[str, str]:
    """Return what is wrong, by the name of the file within the store; nothing if all is well.

    Examples:
        >>> raypipe.verify("features")
        {}
    """
    return _run("verify", options, store=store).summary["damaged"]  # type: ignore[no-any-return]


@_job
def repair(store: str, **options: Any) -> Store:
    """Return the store, opened at its newest snapshot."""
    _run("repair", options, store=store)
    return open(store)


@_job
def pack(source: str, **options: Any) -> list[str]:
    """Return the shards that were written.

    Examples:
        >>> from pathlib import Path
        >>> [Path(file).name for file in raypipe.pack("photos", out="shards", shards=2)]
        ['shard-000000.tar', 'shard-000001.tar']
    """
    from pathlib import Path

    summary = _run("pack", options, source=source).summary
    prefix = options.get("prefix", _config.PackConfig.model_fields["prefix"].default)
    return sorted(map(str, Path(summary["out"]).glob(f"{prefix}-*.tar")))


@_job
def run(recipe: str, **options: Any) -> dict[str, Any]:
    """Return what each step has to say, as the command's --json does."""
    return _run("run", options, recipe=recipe).summary  # type: ignore[no-any-return]


@_job
def doctor(source: str | None = None, **options: Any) -> dict[str, Any]:
    """Return what was measured and follows from it, as the command's --json does."""
    return _run("doctor", options, source=source).summary  # type: ignore[no-any-return]
