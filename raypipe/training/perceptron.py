"""`train --head mlp`: its features never lie in the driver's memory all at once."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.config import PerceptronConfig, TrainConfig
from raypipe.display import say
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit.evaluate.holdout import Holdout, validation_rows
from raypipe.fit.fitted import Fitted, OutOfFold
from raypipe.fit.grid import parse_grid
from raypipe.fit.mlp.settings import MlpSettings, combinations, shown
from raypipe.fit.shards.checkpoint import FOLDER, Checkpoint
from raypipe.heads import Head
from raypipe.spec import digest
from raypipe.storage import output_folder
from raypipe.training.in_process import Job, train_here
from raypipe.training.labelled import Labelled, actor_bytes, identity, row_maker
from raypipe.training.share import HELD_OUT, LEFT_OUT, TRAIN, VALIDATION, Table

Rows = npt.NDArray[np.int64]

#: Options of no other head.
OPTIONS = tuple(PerceptronConfig.model_fields)

#: Options of other heads.
_OTHERS = ("cv", "max_iter", "tol")


def check(config: TrainConfig) -> None:
    """Check what can be checked without the store.

    Raises:
        UsageError: the grid is wrong, or an option belongs to another head.
    """
    parse_grid("mlp", config.grid)
    for name in _OTHERS:
        if name in config.model_fields_set:
            raise UsageError(
                f"--{name.replace('_', '-')} does not go with --head mlp, which is validated on "
                "one part of the images (--validation-size) and trained for --epochs"
            )
    if "momentum" in config.model_fields_set and not _has_momentum(config):
        raise UsageError(
            f"--momentum goes with --optimizer sgd; got {config.optimizer}; leave it out"
        )
    if config.validation_size == 0 and config.calibrate not in ("auto", "none"):
        raise UsageError(
            f"--calibrate {config.calibrate} is fitted on validation images that are not tested "
            "on; got --validation-size 0; give a larger one"
        )
    if "actors" in config.model_fields_set:
        raise UsageError("--actors does not go with --head mlp, which trains in --workers")


def _has_momentum(config: TrainConfig) -> bool:
    return "sgd" in parse_grid("mlp", config.grid).get("optimizer", [config.optimizer])


def fit(data: Labelled, parts: Holdout, config: TrainConfig) -> Fitted:
    """Train a perceptron on most of the training rows, and validate it on the others.

    Raises:
        UsageError: the cluster has no room for the workers.
    """
    from raypipe.fit.mlp.network import to_scorer  # with torch, which checking options does without

    fitting, validated = validation_rows(data.rows, parts, config.validation_size, config.seed)
    purpose = np.full(len(data.rows), LEFT_OUT, np.int8)
    purpose[parts.test] = HELD_OUT
    purpose[fitting], purpose[validated] = TRAIN, VALIDATION
    classes = sorted(set(data.rows.labels[parts.train]))
    given = {option.name: getattr(config, option.name) for option in fields(MlpSettings)}
    settings = MlpSettings(**given | {"hidden": config.hidden.units})
    tried = combinations(settings, parse_grid("mlp", config.grid))
    table = _table(data, purpose, classes, config)
    same = identity(
        data.store,
        data.column,
        config,
        ("class_weight", "workers"),
        head="mlp",
        rows=digest(table.groups.tobytes() + table.codes.tobytes()),
        combinations=[asdict(settings) for settings in tried],
    )
    folder = output_folder(config.out) / FOLDER
    kept = Checkpoint(folder, same, resume=config.resume)
    say(
        f"{len(fitting)} rows to train on, {len(validated)} to validate on, {len(parts.test)} held "
        f"out; combinations to try: {len(tried)}"
    )
    weights = _class_weights(table, config.class_weight)
    job = Job(table, tuple(tried), config.scale, weights, actor_bytes(config.actor_memory))
    trained = _train(job, kept, folder, config)
    if trained.record.kept is None:
        raise RaypipeError(
            "the loss of every combination left the range of numbers in its first epoch; give a "
            "lower --learning-rate, or --scale standard"
        )
    head = Head(
        classes=tuple(classes),
        spatial=config.spatial,
        scaling=trained.scaling,
        scorer=to_scorer(trained.kept, config.loss),
        channels=data.channels,
    )
    fitted = _fitted(head, trained.record, tried, data, parts, validated)
    return replace(fitted, curves=trained.record.curves, forget=kept.remove)


def _train(job: Any, kept: Checkpoint, folder: Path, config: TrainConfig) -> Any:
    """Train in this process, or in as many others as are asked for."""
    from raypipe.training.ray_train import scaling_config, train_in_workers

    if not config.workers:
        if config.address:
            say("--address is for --workers, which were not asked for")
        return train_here(job, kept)
    from raypipe import runtime

    with runtime.session(config.address):
        place = scaling_config(config.workers)
        return train_in_workers(job, place, folder)


def _table(
    data: Labelled, purpose: npt.NDArray[np.int8], classes: list[str], config: TrainConfig
) -> Table:
    # Classes that are not trained on have no number: their rows are left out.
    codes = np.searchsorted(np.array(classes, object), data.rows.labels).astype(np.int32)
    return Table(
        store=data.store.uri,
        snapshot=data.store.snapshot.number,
        column=data.column,
        lengths=data.index.lengths,
        groups=data.stored(purpose, LEFT_OUT),
        codes=data.stored(codes, 0),
        classes=len(classes),
        width=data.width,
        to_rows=row_maker(config.spatial, data.channels),
    )


def _class_weights(table: Table, how: str) -> npt.NDArray[np.float64]:
    """Return (K,) weights whose mean over the training rows is one."""
    counts = np.bincount(table.codes[table.groups == TRAIN], minlength=table.classes)
    if how != "balanced":
        return np.ones(table.classes)
    return np.asarray(counts.sum() / (table.classes * counts))


def _fitted(
    head: Head,
    record: Any,
    tried: list[MlpSettings],
    data: Labelled,
    parts: Holdout,
    validated: Rows,
) -> Fitted:
    best = record.finished[record.kept]
    own = [e for e in record.curves if e["combination"] == best["combination"]]
    last = own[-1]["epoch"]
    finite = [e for e in own if np.isfinite(e["validation_loss"])]
    lowest = min(finite, key=lambda e: e["validation_loss"])["epoch"]

    def out_of_fold() -> OutOfFold:
        place = np.empty(len(data.rows), np.int64)
        place[parts.train] = np.arange(len(parts.train))
        scores = data.made(validated, head.scores, len(head.classes))
        return OutOfFold(place[validated], scores)

    return Fitted(
        head=head,
        best_params=shown(tried[record.kept]),
        cv_accuracy=None,
        grid=[
            {
                "params": shown(settings),
                "mean": entry and entry["validation_accuracy"],
                "std": None,
                "loss": entry and entry["validation_loss"],
                "best_epoch": entry and entry["epoch"],
            }
            for settings, entry in zip(tried, record.finished, strict=True)
        ],
        converged=lowest < last,
        engine="ray",
        details={
            "keep": tried[record.kept].keep,
            "best_epoch": best["epoch"],
            "epochs": last,
            "validation_rows": len(validated),
            "validation_accuracy": best["validation_accuracy"],
            "validation_loss": best["validation_loss"],
        },
        out_of_fold=out_of_fold,
    )
