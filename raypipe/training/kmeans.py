"""Fits of k-means, in memory and on shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.config import ClusterConfig
from raypipe.display import counted, say
from raypipe.fit.kmeans.choose import CRITERION, SAMPLE, choose_k
from raypipe.fit.kmeans.in_memory import Clusters, KMeansOptions, fit_kmeans, fit_scaling
from raypipe.fit.kmeans.seeding import sample_numbers
from raypipe.fit.shards.checkpoint import FOLDER, Checkpoint
from raypipe.heads import as_rows
from raypipe.rows.excluded import Excluded
from raypipe.spec import digest
from raypipe.storage import user_path
from raypipe.store.index import RowIndex
from raypipe.store.pick import check_finite
from raypipe.store.reader import StoreReader
from raypipe.training.labelled import actor_bytes, identity, row_maker

_SEEDINGS = ("auto", "k-means++", "k-means||")
_MANY_CLUSTERS = 256

#: One of the figures a number of clusters was chosen by: k, inertia and silhouette.
Figures = list[dict[str, float]]
#: Clusters, and the options with what was chosen, by these figures.
Fitted = tuple[Clusters, KMeansOptions, Figures]


def _fit_in_memory(
    config: ClusterConfig,
    store: StoreReader,
    column: str,
    options: KMeansOptions,
    own: npt.NDArray[np.bool_],
    order: npt.NDArray[np.int64] | None = None,
) -> Fitted:
    """Cluster own rows (N,) of all in the order (M,) given, by id without one; labels are by id."""
    data = store.to_numpy(column)
    if not own.all():
        data = data[own]
    data.check_finite()
    flat = as_rows(data.features, config.spatial, store.channels(column))
    flat = flat if order is None else flat[order]
    scaling = fit_scaling(flat, options.scale)
    rows = scaling.apply(flat)
    sample = rows[sample_numbers(len(rows), min(SAMPLE, len(rows)), config.seed)]
    options, choices = _chosen(config, options, sample, len(rows), of_many="k-means++")
    clusters = fit_kmeans(rows, options, scaling)
    if order is not None:
        back = np.argsort(order)
        clusters = replace(
            clusters, labels=clusters.labels[back], distances=clusters.distances[back]
        )
    return clusters, options, choices


def _fit_on_ray(
    config: ClusterConfig,
    store: StoreReader,
    column: str,
    options: KMeansOptions,
    own: npt.NDArray[np.bool_],
    index: RowIndex,
    checkpoint: Checkpoint,
) -> Fitted:
    from raypipe import runtime
    from raypipe.actors.shard_pool import RowsToFit, ShardPool
    from raypipe.fit.kmeans.on_shards import fit_on_shards, scaling_of
    from raypipe.fit.kmeans.seeding import sample_rows

    check_finite(store, column, index, np.flatnonzero(own))
    count = int(own.sum())
    groups = np.where(own, 0, -1).astype(np.int8)
    to_rows = row_maker(config.spatial, store.channels(column))
    rows = RowsToFit(store, column, index, groups, to_rows=to_rows)
    with (
        runtime.session(config.address),
        ShardPool(rows, actors=config.actors, memory=actor_bytes(config.actor_memory)) as shards,
    ):
        scaling = scaling_of(shards, options)
        sample: npt.NDArray[Any] = np.empty((0, 0))
        if len(config.k.numbers) > 1:
            sample = sample_rows(shards, scaling.rows, count, min(count, SAMPLE), config.seed)
        options, choices = _chosen(config, options, sample, count, of_many="k-means||")
        clusters, stored = fit_on_shards(shards, count, options, scaling, checkpoint)
    place = np.empty(len(index), np.int64)
    place[stored] = np.arange(count)
    order = place[index.order[own]]
    clusters = replace(clusters, labels=clusters.labels[order], distances=clusters.distances[order])
    return clusters, options, choices


def _chosen(
    config: ClusterConfig,
    options: KMeansOptions,
    sample: npt.NDArray[Any],
    count: int,
    *,
    of_many: str,
) -> tuple[KMeansOptions, Figures]:
    """Choose the number of clusters, and how so many are seeded, where there is a choice."""
    numbers, choices = config.k.numbers, Figures()
    if len(numbers) > 1:
        say(f"trying k from {numbers[0]} to {numbers[-1]} on {len(sample)} rows")
        k, choices = choose_k(sample, numbers, config.seed)
        options = replace(options, k=k)
    if config.init == "auto":
        options = replace(options, init=of_many if options.k > _MANY_CLUSTERS else "k-means++")
    say(f"k-means with k={options.k} on {counted(count, 'row')}")
    return options, choices


def _checkpoint(
    config: ClusterConfig, store: StoreReader, column: str, excluded: Excluded, out: Path | None
) -> Checkpoint:
    """Return what a killed fit goes on from: a fit of the same options on the same rows."""
    init = config.init
    if init not in _SEEDINGS:
        init = digest(user_path(init, "--init").read_bytes())
    options = ("distance", "seed", "n_init", "tol", "max_iter")
    k = config.k.text
    more = {"exclude": excluded.sha256} if excluded.file else {}
    fit = identity(store, column, config, options, choose=CRITERION, init=init, k=k, **more)
    return Checkpoint(None if out is None else out / FOLDER, fit, resume=config.resume)
