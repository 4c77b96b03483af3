"""`train --head mlp`: its features never lie in the driver's memory all at once."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.cli.command import Outcome
from raypipe.config import PerceptronConfig, TrainConfig
from raypipe.display import say
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit.checkpoint import FOLDER, Checkpoint
from raypipe.fit.fitted import Fitted, OutOfFold
from raypipe.fit.grid import parse_grid
from raypipe.fit.holdout import Holdout, hold_out
from raypipe.fit.mlp_settings import MlpSettings, combinations, shown
from raypipe.fit.validation import validation_rows
from raypipe.heads import Head
from raypipe.jobs.conclude import conclude
from raypipe.jobs.labelled import Labelled, actor_bytes, identity, read_labelled, row_maker
from raypipe.jobs.trained import write_curves
from raypipe.spec import digest
from raypipe.storage import output_folder

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
    if "actors" in config.model_fields_set:
        raise UsageError("--actors does not go with --head mlp, which trains in --workers")


def run(config: TrainConfig) -> Outcome:
    """Train and evaluate; see `TrainConfig` for the options.

    Raises:
        UsageError: the labels cannot be split as asked, features are not finite, or the cluster
            has no room for the workers.
    """
    started = time.monotonic()
    data = read_labelled(config)
    out = output_folder(config.out)
    parts = hold_out(data.rows, config.split, test_size=config.test_size, cv=0, seed=config.seed)
    if parts.left_out:
        say(f"{parts.left_out} images are in no split to train or test on and are left out")
    data.check_finite(np.concatenate([parts.train, parts.test]))
    fitted, curves, kept = _fit(data, parts, out, config)
    if not fitted.converged:
        say("the validation loss was lowest in the last epoch; raise --epochs")
    outcome = conclude(config, data, parts, fitted, out, started)
    best = next(n for n, p in enumerate(fitted.grid, 1) if p["params"] == fitted.best_params)
    write_curves(curves, best, _title(fitted), out)
    kept.remove()
    return outcome


def _fit(
    data: Labelled, parts: Holdout, out: Path, config: TrainConfig
) -> tuple[Fitted, list[dict[str, Any]], Checkpoint]:
    """Return the uncalibrated head, the curves of all combinations, and what can be removed."""
    from raypipe import trainer
    from raypipe.fit.mlp import to_scorer  # with torch, which checking options does without

    fit, validated = validation_rows(data.rows, parts, config.validation_size, config.seed)
    purpose = np.full(len(data.rows), trainer.LEFT_OUT, np.int8)
    purpose[parts.test] = trainer.HELD_OUT
    purpose[fit], purpose[validated] = trainer.TRAIN, trainer.VALIDATION
    classes = sorted(set(data.rows.labels[parts.train]))
    tried = combinations(_settings(config), parse_grid("mlp", config.grid))
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
    kept = Checkpoint(out / FOLDER, same, resume=config.resume)
    say(
        f"{len(fit)} rows to train on, {len(validated)} to validate on, {len(parts.test)} held "
        f"out; combinations to try: {len(tried)}"
    )
    weights = _class_weights(table, config.class_weight)
    size = actor_bytes(config.actor_memory)
    job = trainer.Job(table, tuple(tried), config.scale, weights, size)
    trained = _train(job, kept, out / FOLDER, config)
    if trained.record.kept is None:
        raise RaypipeError(
            "the loss of every combination left the range of numbers in its first epoch; give a "
            "lower --learning-rate, or --scale standard"
        )
    head = Head(
        classes=tuple(classes),
        spatial=config.spatial,
        scaling=trained.scaling,
        scorer=to_scorer(trained.kept),
        channels=data.channels,
    )
    fitted = _fitted(head, trained.record, tried, data, parts, validated)
    return fitted, trained.record.curves, kept


def _train(job: Any, kept: Checkpoint, folder: Path, config: TrainConfig) -> Any:
    """Train in this process, or in as many others as are asked for."""
    from raypipe import trainer

    if not config.workers:
        if config.address:
            say("--address is for --workers, which were not asked for")
        return trainer.train_here(job, kept)
    from raypipe import runtime

    with runtime.session(config.address):
        place = trainer.scaling_config(config.workers)
        return trainer.train_in_workers(job, place, folder)


def _settings(config: TrainConfig) -> MlpSettings:
    return MlpSettings(
        hidden=config.hidden.units,
        dropout=config.dropout,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        minibatch=config.minibatch,
        epochs=config.epochs,
        patience=config.patience,
        seed=config.seed,
    )


def _table(
    data: Labelled, purpose: npt.NDArray[np.int8], classes: list[str], config: TrainConfig
) -> Any:
    from raypipe.trainer import LEFT_OUT, Table

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


def _class_weights(table: Any, how: str) -> npt.NDArray[np.float64]:
    """Return (K,) weights whose mean over the training rows is one."""
    from raypipe.trainer import TRAIN

    counts = np.bincount(table.codes[table.groups == TRAIN], minlength=table.classes)
    even = np.ones(table.classes)
    return counts.sum() / (table.classes * counts) if how == "balanced" else even


def _fitted(
    head: Head,
    record: Any,
    tried: list[MlpSettings],
    data: Labelled,
    parts: Holdout,
    validated: Rows,
) -> Fitted:
    best = record.finished[record.kept]
    last = max(e["epoch"] for e in record.curves if e["combination"] == best["combination"])

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
        converged=best["epoch"] < last,
        details={
            "best_epoch": best["epoch"],
            "epochs": last,
            "validation_rows": len(validated),
            "validation_accuracy": best["validation_accuracy"],
            "validation_loss": best["validation_loss"],
        },
        out_of_fold=out_of_fold,
    )


def _title(fitted: Fitted) -> str:
    settings = ", ".join(f"{name} {_short(value)}" for name, value in fitted.best_params.items())
    return settings.replace("_", " ")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
