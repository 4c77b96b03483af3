"""`train --engine ray`: logistic regression on shards in actors over the cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe import memory
from raypipe.config import TrainConfig
from raypipe.display import counted, say
from raypipe.errors import UsageError
from raypipe.fit.evaluate.calibrate import kind_for
from raypipe.fit.evaluate.holdout import Holdout
from raypipe.fit.fitted import Fitted, OutOfFold
from raypipe.fit.grid import parse_grid
from raypipe.fit.logistic.path import LogisticPath, PathResult
from raypipe.fit.shards.checkpoint import FOLDER, Checkpoint
from raypipe.fit.shards.groups import RowGroups, group_rows
from raypipe.heads import Head, Linear
from raypipe.spec import digest
from raypipe.storage import output_folder
from raypipe.training.labelled import Labelled, actor_bytes, identity, row_maker

_TOL = 1e-4  # scikit-learn's


def fit(data: Labelled, parts: Holdout, config: TrainConfig) -> Fitted:
    """Fit a logistic regression on shards of the training rows.

    Raises:
        UsageError: the cluster has no room for the actors, or the driver none for the scores.
    """
    penalties = [float(c) for c in parse_grid("logistic", config.grid)["C"]]
    classes = tuple(sorted(set(data.rows.labels[parts.train])))
    _check_scores_fit(config, len(parts.train), len(classes))
    codes = np.searchsorted(np.array(classes, object), data.rows.labels).astype(np.int32)
    groups = group_rows(parts, codes, len(classes))
    options = ("grid", "class_weight", "tol", "max_iter")
    rows = digest(groups.of_row.tobytes() + codes.tobytes())
    same = identity(data.store, data.column, config, options, head="logistic", rows=rows)
    kept = Checkpoint(output_folder(config.out) / FOLDER, same, resume=config.resume)
    fits = len(penalties) * groups.folds + 1
    fitted_on = counted(len(parts.train), "row")
    say(f"{fitted_on} to train on, {len(parts.test)} held out, {counted(fits, 'fit')}")
    found, scores = _fit(config, data, parts, groups, codes, penalties, kept)
    fitted = _fitted(config, data, classes, penalties, found, scores)
    return replace(fitted, forget=kept.remove)


def _fit(
    config: TrainConfig,
    data: Labelled,
    parts: Holdout,
    groups: RowGroups,
    codes: npt.NDArray[np.int32],
    penalties: list[float],
    kept: Checkpoint,
) -> tuple[PathResult, OutOfFold | None]:
    """Return what the shards found, and the scores out of fold if a calibration needs them."""
    from raypipe import runtime
    from raypipe.actors.shard_pool import RowsToFit, ShardPool

    rows = RowsToFit(
        data.store,
        data.column,
        data.index,
        data.of_index(groups.of_row, -1),
        len(groups),
        data.of_index(codes, 0),
        row_maker(config.spatial, data.channels),
    )
    with (
        runtime.session(config.address),
        ShardPool(rows, actors=config.actors, memory=actor_bytes(config.actor_memory)) as shards,
    ):
        if kept.resumed:
            say("going on from the checkpoint")
        path = LogisticPath(
            shards,
            groups,
            penalties=penalties,
            scale=config.scale,
            balanced=config.class_weight == "balanced",
            tol=config.tol or _TOL,
            max_iter=config.max_iter,
            checkpoint=kept,
        )
        found = path.fit()
        wanted = kind_for(config.head, config.calibrate)
        return found, _out_of_fold(shards, data, parts, path, found) if wanted else None


def _check_scores_fit(config: TrainConfig, rows: int, classes: int) -> None:
    """Make sure that a calibration's scores fit in the driver's memory."""
    needed, there = 4 * 8 * rows * classes, memory.available()
    if kind_for(config.head, config.calibrate) and needed > there:
        raise UsageError(
            f"--calibrate: the scores of {rows} rows for {classes} classes need about "
            f"{memory.readable(needed)} in the driver; {memory.readable(there)} are available; "
            "give none"
        )


def _out_of_fold(
    shards: Any, data: Labelled, parts: Holdout, path: LogisticPath, found: PathResult
) -> OutOfFold:
    """Return scores of the folds' images by the models that were not fitted on them."""
    groups = path.groups
    members = [np.empty(0, int) for _ in range(len(groups))]
    for fold in range(groups.folds):
        members[groups.scored(fold)] = np.array([fold])
    parts_found = shards.each("scores", path.scaling, found.fold_models, members)
    positions = np.concatenate(
        [shards.stored[number][places] for number, (places, _) in enumerate(parts_found)]
    )
    z = np.concatenate([scores for _, scores in parts_found])
    scores = np.hstack([-z / 2, z / 2]) if z.shape[1] == 1 else z
    place = np.full(len(data.index), -1, np.int64)
    place[data.index.order[data.known[parts.train]]] = np.arange(len(parts.train))
    return OutOfFold(place[positions], scores)


def _fitted(
    config: TrainConfig,
    data: Labelled,
    classes: tuple[str, ...],
    penalties: list[float],
    found: PathResult,
    scores: OutOfFold | None,
) -> Fitted:
    means = found.accuracies.mean(axis=1)
    return Fitted(
        head=Head(
            classes=classes,
            spatial=config.spatial,
            scaling=found.scaling,
            scorer=Linear("logistic", found.model.coef[0], found.model.intercept[0]),
            channels=data.channels,
        ),
        best_params={"C": found.best},
        cv_accuracy=float(means.max()),
        grid=[
            {"params": {"C": c}, "mean": float(row.mean()), "std": float(row.std())}
            for c, row in zip(penalties, found.accuracies, strict=True)
        ],
        converged=found.converged,
        engine="ray",
        ended_early=not found.converged and found.iterations < config.max_iter,
        details={
            "iterations": found.iterations,
            "gradient_norm": found.gradient,
            "loss": found.loss,
        },
        out_of_fold=None if scores is None else (lambda: scores),
    )
