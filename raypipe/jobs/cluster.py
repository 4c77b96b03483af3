"""Group the features of a store with k-means."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.command import Outcome, run_job
from raypipe.config import ClusterConfig
from raypipe.errors import UsageError
from raypipe.fit.checkpoint import Checkpoint
from raypipe.fit.choose import SAMPLE, choose_k, parse_clusters
from raypipe.fit.engine import choose_engine
from raypipe.fit.join import join_clusters, read_ids
from raypipe.fit.kmeans import Clusters, KMeansOptions, fit_kmeans, scale_rows
from raypipe.fit.seeding import read_centers
from raypipe.heads import as_rows, channel_axis
from raypipe.jobs.clustered import agreement, picture, text, write_assignments
from raypipe.jobs.labelled import actor_bytes, row_maker
from raypipe.progress import say
from raypipe.storage import output_folder, user_path
from raypipe.store.index import RowIndex, read_index
from raypipe.store.reader import StoreReader

__all__ = ["check", "main", "run"]

_JOINED_FILE = "joined.csv"
_CHECKPOINT_FOLDER = "checkpoint"
_SEEDINGS = ("auto", "k-means++", "k-means||")
_MANY_CLUSTERS = 256

#: One of the figures a number of clusters was chosen by: k, inertia and silhouette.
Figures = list[dict[str, float]]


def run(config: ClusterConfig) -> Outcome:
    """Cluster; see `ClusterConfig` for the options.

    Raises:
        UsageError: more clusters than rows, or features that are no numbers.
    """
    started = time.monotonic()
    check(config)
    store = StoreReader(config.store, config.snapshot)
    images = len(store) // store.spec.views
    if (most := max(parse_clusters(config.k))) > images:
        raise UsageError(f"--k: at most the number of images, {images}; got {most}")
    column = store.column(config.layer)
    wanted = read_ids(config.join) if config.join else None
    width = _width(config, store, column)
    options = _options(config, width)
    out = output_folder(config.out)
    engine, why = choose_engine(config.engine, rows=images, width=width, only_ray=_only_ray(config))
    say(why)
    index = read_index(store)
    fit = _fit_on_ray if engine == "ray" else _fit_in_memory
    clusters, chosen, choices = fit(config, store, column, index, options, out)
    own = index.views == 0  # an augmented view is no further image
    ids, labels = index.ids[own], index.labels[own]
    write_assignments(ids, clusters, out)
    assigned = dict(zip(ids, clusters.labels.tolist(), strict=True)) if wanted else {}
    summary: dict[str, Any] = {
        "out": str(out),
        "k": chosen.k,
        "rows": len(ids),
        "inertia": clusters.inertia,
        "sizes": clusters.sizes.tolist(),
        "joined": join_clusters(wanted, assigned, out / _JOINED_FILE) if wanted else None,
        "ari": agreement(labels, clusters),
        "iterations": clusters.iterations,
        "converged": clusters.converged,
        "choices": choices,
        "choose": config.choose if choices else None,
        "distance": config.distance,
        "scale": chosen.scale,
        "seed": config.seed,
        "engine": engine,
        "store": store.uri,
        "snapshot": store.snapshot.number,
        "fingerprint": store.spec.fingerprint,
        "seconds": round(time.monotonic() - started, 3),
    }
    if not clusters.converged:
        say(f"warning: stopped at --max-iter {config.max_iter} with centres that still move")
    (out / "metrics.json").write_text(json.dumps(summary, indent=1) + "\n")
    np.save(out / "centers.npy", clusters.centers)
    pictured = picture(store, ids, clusters, out / "clusters.png")
    return Outcome(summary, text(summary, pictured=pictured, joined_file=_JOINED_FILE), clusters)


def check(config: ClusterConfig) -> None:
    """Check what can be checked without the store.

    Raises:
        UsageError: options that do not go together.
    """
    numbers = parse_clusters(config.k)
    from_file = config.init not in _SEEDINGS
    if config.distance == "cosine" and config.scale == "standard":
        raise UsageError("--distance cosine compares features of unit length: --scale none or l2")
    if from_file and (len(numbers) > 1 or config.n_init > 1):
        raise UsageError("--init: centres from a file go with one --k and --n-init 1")
    if from_file and not user_path(config.init, "--init").is_file():
        raise UsageError(f"--init: {', '.join(_SEEDINGS)} or an .npy file; got {config.init!r}")
    if config.minibatch and config.resume:
        raise UsageError("--resume: mini-batches keep no checkpoint; leave one of the two out")


def _only_ray(config: ClusterConfig) -> str | None:
    if config.distance == "cosine":
        return "--distance cosine"
    return "--init k-means||" if config.init == "k-means||" else None


def _width(config: ClusterConfig, store: StoreReader, column: str) -> int:
    shape = store.shapes.get(column, ())
    if config.spatial == "flatten":
        return prod(shape)
    rows = as_rows(np.empty((0, *shape), np.float32), "average", _channels(store, column))
    return int(rows.shape[1])


def _channels(store: StoreReader, column: str) -> Any:
    pool = next(output.pool for output in store.spec.outputs if output.column == column)
    return channel_axis(pool, store.shapes.get(column, ()))


def _options(config: ClusterConfig, width: int) -> KMeansOptions:
    k = max(parse_clusters(config.k))
    init: Any = config.init
    if init not in _SEEDINGS:
        init = read_centers(user_path(config.init, "--init"), k, width)
    return KMeansOptions(
        k=k,
        seed=config.seed,
        scale="l2" if config.distance == "cosine" else config.scale,
        init=init,
        n_init=config.n_init,
        tol=config.tol,
        max_iter=config.max_iter,
        minibatch=config.minibatch,
        spherical=config.distance == "cosine",
    )


def _fit_in_memory(
    config: ClusterConfig,
    store: StoreReader,
    column: str,
    index: RowIndex,
    options: KMeansOptions,
    out: Path,
) -> tuple[Clusters, KMeansOptions, Figures]:
    del index, out  # what the other engine needs
    data = store.to_numpy(column)
    if store.spec.views > 1:
        data = data[data.views == 0]
    data.check_finite()
    flat = as_rows(data.features, config.spatial, _channels(store, column))
    rows = scale_rows(flat, options.scale)
    random = np.random.default_rng(options.seed)
    sample = rows[np.sort(random.choice(len(rows), min(SAMPLE, len(rows)), replace=False))]
    options, choices = _chosen(config, options, sample)
    if options.init == "auto":
        options = replace(options, init="k-means++")
    say(f"k-means with k={options.k} on {len(rows)} rows")
    return fit_kmeans(rows, options), options, choices


def _fit_on_ray(
    config: ClusterConfig,
    store: StoreReader,
    column: str,
    index: RowIndex,
    options: KMeansOptions,
    out: Path,
) -> tuple[Clusters, KMeansOptions, Figures]:
    from raypipe import runtime
    from raypipe.fit.shardedkmeans import fit_on_shards, scaled_sample
    from raypipe.shards import RowsToFit, ShardPool

    kept = _checkpoint(config, store, column, out)
    own = index.views == 0
    count = int(own.sum())
    groups = np.where(own, 0, -1).astype(np.int8)
    to_rows = row_maker(config.spatial, _channels(store, column))
    rows = RowsToFit(store, column, index, groups, to_rows=to_rows)
    with (
        runtime.session(config.address),
        ShardPool(rows, actors=config.actors, memory=actor_bytes(config.actor_memory)) as shards,
    ):
        sample: npt.NDArray[Any] = np.empty((0, 0))
        if len(parse_clusters(config.k)) > 1:
            sample = scaled_sample(shards, count, SAMPLE, options)
        options, choices = _chosen(config, options, sample)
        if options.init == "auto":
            many = options.k > _MANY_CLUSTERS
            options = replace(options, init="k-means||" if many else "k-means++")
        say(f"k-means with k={options.k} on {count} rows")
        clusters, stored = fit_on_shards(shards, count, options, kept)
    kept.remove()
    place = np.empty(len(index), np.int64)
    place[stored] = np.arange(count)
    order = place[index.order[own]]
    clusters = replace(clusters, labels=clusters.labels[order], distances=clusters.distances[order])
    return clusters, options, choices


def _chosen(
    config: ClusterConfig, options: KMeansOptions, sample: npt.NDArray[Any]
) -> tuple[KMeansOptions, Figures]:
    """Choose the number of clusters, if there is a choice."""
    numbers = parse_clusters(config.k)
    if len(numbers) == 1:
        return options, []
    say(f"trying k from {numbers[0]} to {numbers[-1]} on {len(sample)} rows")
    k, choices = choose_k(sample, numbers, config.choose, config.seed)
    return replace(options, k=k), choices


def _checkpoint(config: ClusterConfig, store: StoreReader, column: str, out: Path) -> Checkpoint:
    """Return what a killed fit goes on from: a fit of the same options on the same rows."""
    names = ("k", "choose", "distance", "seed", "scale", "spatial", "init", "n_init", "tol")
    problem = {
        "fingerprint": store.spec.fingerprint,
        "snapshot": store.snapshot.number,
        "column": column,
        **{name: getattr(config, name) for name in (*names, "max_iter")},
    }
    folder = None if config.minibatch else out / _CHECKPOINT_FOLDER
    return Checkpoint(folder, problem, resume=config.resume)


def main() -> None:
    """Run from the command line."""
    run_job("cluster", ClusterConfig)


if __name__ == "__main__":
    main()
