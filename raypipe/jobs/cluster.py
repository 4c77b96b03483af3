"""Group the features of a store with k-means."""

from __future__ import annotations

import json
import time
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from raypipe.cli.command import Outcome, run_job
from raypipe.config import ClusterConfig
from raypipe.display import say
from raypipe.errors import UsageError
from raypipe.fit.engine import Engine, check_engine_options, choose_engine
from raypipe.fit.kmeans.choose import CRITERION, SAMPLE
from raypipe.fit.kmeans.in_memory import Clusters, KMeansOptions
from raypipe.fit.kmeans.seeding import read_centers
from raypipe.fit.shards.checkpoint import FOLDER, is_checkpoint
from raypipe.heads import row_width
from raypipe.heads.scaling import Kind
from raypipe.rows.excluded import read_excluded
from raypipe.storage import output_folder, user_path
from raypipe.store.index import read_index
from raypipe.store.reader import StoreReader
from raypipe.training.cluster_files import agreement, picture, text, write_assignments
from raypipe.training.deliver import deliver
from raypipe.training.join import check_some_are_there, join_clusters, order_of, read_ids
from raypipe.training.kmeans import _SEEDINGS, Figures, _checkpoint, _fit_in_memory, _fit_on_ray

_JOINED_FILE = "joined.csv"


def run(config: ClusterConfig) -> Outcome:
    """Cluster; see `ClusterConfig` for the options.

    Raises:
        UsageError: more clusters than rows, or features that are no numbers.
    """
    check(config)
    settled = config.model_copy(update={"scale": _scale(config)})  # what results are known by
    return deliver(settled, _run, kind="clusters")


def _scale(config: ClusterConfig) -> Kind:
    """Return what features are scaled by, which `auto` leaves to the distance."""
    if config.distance == "cosine":
        return "l2"
    return "standard-l2" if config.scale == "auto" else config.scale


def _run(config: ClusterConfig, new: Path) -> Outcome:
    started = time.monotonic()
    store = StoreReader(config.store, config.snapshot)
    column = store.column(config.layer)
    wanted = read_ids(config.join, config.join_id, config.join_column) if config.join else None
    index = read_index(store)
    excluded = read_excluded(config.exclude, [index.ids])
    own = (index.views == 0) & excluded.stays(index.ids)  # a view is no further image
    _check_numbers(config, int(own.sum()))
    shape = store.shapes.get(column, ())
    options = _options(config, row_width(shape, config.spatial, store.channels(column)))
    out = output_folder(config.out)
    engine = _engine(config, len(store), prod(shape), out)
    kept = _checkpoint(config, store, column, excluded, out if engine == "ray" else None)
    images = index.rows(own)
    ids = images.ids
    if wanted:
        check_some_are_there(wanted, ids.tolist())
    order = order_of(wanted, list(ids)) if wanted and config.order == "csv" else None
    given = (config, store, column, options, own)
    clusters, chosen, choices = (
        _fit_on_ray(*given, index, kept) if engine == "ray" else _fit_in_memory(*given, order)
    )
    write_assignments(ids, clusters, new, csv_safe=config.csv_safe)
    assigned = dict(zip(ids, clusters.labels.tolist(), strict=True)) if wanted else {}
    summary: dict[str, Any] = {
        "out": str(out),
        **_figures(clusters, chosen, choices),
        "rows": len(ids),
        "joined": join_clusters(wanted, assigned, new / _JOINED_FILE, csv_safe=config.csv_safe)
        if wanted
        else None,
        "ari": agreement(images.labels, clusters),
        "choose": CRITERION if choices else None,
        **_about(config, store, column, engine),
        "excluded": excluded.summary,
        "seconds": round(time.monotonic() - started, 3),
    }
    if not clusters.converged:
        say(f"warning: stopped at --max-iter {config.max_iter} with centres that still move")
    if alone := int((clusters.sizes == 1).sum()):
        hold = "holds" if alone == 1 else "hold"
        say(
            f"{alone} of {len(clusters.sizes)} clusters {hold} one image, far from the others, "
            "or no start found better; --n-init 10 tries more"
        )
    (new / "metrics.json").write_text(json.dumps(summary, indent=1) + "\n")
    np.save(new / "centers.npy", clusters.centers)
    np.save(new / "scaling.npy", np.stack([clusters.scaling.mean, clusters.scaling.std]))
    pictured = picture(store, ids, clusters, new / "clusters.png")
    return Outcome(summary, text(summary, pictured=pictured, joined_file=_JOINED_FILE), clusters)


def _engine(config: ClusterConfig, rows: int, width: int, out: Path) -> Engine:
    """Choose what fits; features have `width` values before positions are averaged."""
    only_ray = _only_ray(config, out)
    engine = choose_engine(config.engine, rows=rows, width=width, only_ray=only_ray)
    if config.order == "csv" and engine == "ray":
        raise UsageError(
            "--order csv needs all features in memory, with --engine sklearn; got --engine ray, "
            "whose shards have an order of their own; give --order id"
        )
    return engine


def _about(config: ClusterConfig, store: StoreReader, column: str, engine: str) -> dict[str, Any]:
    return {
        "distance": config.distance,
        "seed": config.seed,
        "engine": engine,
        **store.state,
        "column": column,
        "channels": store.channels(column),
        "spatial": config.spatial,
    }


def _figures(clusters: Clusters, options: KMeansOptions, choices: Figures) -> dict[str, Any]:
    return {
        "k": options.k,
        "scale": options.scale,
        "sizes": clusters.sizes.tolist(),
        "inertia": clusters.inertia,
        "iterations": clusters.iterations,
        "converged": clusters.converged,
        "choices": choices,
    }


def check(config: ClusterConfig) -> None:
    """Check what can be checked without the store.

    Raises:
        UsageError: options that do not go together.
    """
    numbers = config.k.numbers
    from_file = config.init not in _SEEDINGS
    if config.distance == "cosine" and config.scale.startswith("standard"):
        raise UsageError("--distance cosine compares features of unit length: --scale none or l2")
    if from_file and (len(numbers) > 1 or config.n_init > 1):
        raise UsageError("--init: centres from a file go with one --k and --n-init 1")
    if from_file and not user_path(config.init, "--init").is_file():
        raise UsageError(f"--init: {', '.join(_SEEDINGS)} or an .npy file; got {config.init!r}")
    if from_file and config.scale == "auto" and config.distance != "cosine":
        raise UsageError(
            "--init: centres from a file are those of scaled features; say how with --scale none, "
            "standard, l2 or standard-l2; got --scale auto"
        )
    given = {"join_id": "--join-id", "join_column": "--join-column"}
    named = [name for field, name in given.items() if getattr(config, field) is not None]
    if not config.join and (named or config.order == "csv"):
        raise UsageError(f"{[*named, '--order csv'][0]} goes with --join; give --join FILE")
    check_engine_options(config)


def _check_numbers(config: ClusterConfig, images: int) -> None:
    numbers = config.k.numbers
    if (most := numbers[-1]) > images:
        raise UsageError(f"--k: at most the number of images, {images}; got {most}")
    if len(numbers) > 1 and most >= (sampled := min(images, SAMPLE)):
        raise UsageError(
            f"--k: a range may go up to {sampled - 1}, one less than the {sampled} images it is "
            f"chosen on; got {most}"
        )


def _only_ray(config: ClusterConfig, out: Path) -> str | None:
    """Return what only shards can do, if that is asked for."""
    if config.distance == "cosine":
        return "--distance cosine"
    if config.init == "k-means||":
        return "--init k-means||"
    resumed = config.resume and is_checkpoint(out / FOLDER)
    return "the checkpoint to go on from" if resumed else None


def _options(config: ClusterConfig, width: int) -> KMeansOptions:
    k = config.k.numbers[-1]
    init: Any = config.init
    if init not in _SEEDINGS:
        init = read_centers(user_path(config.init, "--init"), k, width)
    return KMeansOptions(
        k=k,
        seed=config.seed,
        scale=_scale(config),
        init=init,
        n_init=config.n_init,
        tol=config.tol,
        max_iter=config.max_iter,
        spherical=config.distance == "cosine",
    )


def main() -> None:
    """Run from the command line."""
    run_job("cluster", ClusterConfig)


if __name__ == "__main__":
    main()
