"""Fit a classifier on the features of a store, and say how good it is."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from raypipe.cli.command import Outcome, run_job
from raypipe.config import TrainConfig
from raypipe.display import say
from raypipe.errors import UsageError
from raypipe.fit.calibrate import calibrated, kind_for
from raypipe.fit.checkpoint import FOLDER, is_checkpoint
from raypipe.fit.duplicates import near_duplicates
from raypipe.fit.engine import Engine, check_engine_options, choose_engine
from raypipe.fit.evaluation import evaluate
from raypipe.fit.fitted import Fitted
from raypipe.fit.grid import Grid, parse_grid
from raypipe.fit.holdout import Holdout, hold_out
from raypipe.fit.needs import check_memory, large_model
from raypipe.fit.search import Settings, fit_search
from raypipe.heads import Head, as_rows
from raypipe.heads.model import MODEL_FILES, TrainedModel
from raypipe.jobs import perceptron, sharded
from raypipe.jobs.deliver import deliver
from raypipe.jobs.trained import HeldOut, about, summary, text, write
from raypipe.rows.features import Features
from raypipe.storage import local_path, output_folder
from raypipe.store.reader import StoreReader

#: Values to go through, over all fits, above which it pays to start Ray's processes for them: less
#: takes a few seconds on one core, which is what their start takes.
_WORTH_RAY = 3 * 10**7


def run(config: TrainConfig) -> Outcome:
    """Train and evaluate; see `TrainConfig` for the options.

    Raises:
        UsageError: the store's labels cannot be split as asked, or its features do not fit in
            memory.
    """
    check(config)
    return deliver(config, _run, last=MODEL_FILES[0])


def _run(config: TrainConfig) -> Outcome:
    if config.head == "mlp":
        return perceptron.run(config)
    if config.head == "logistic" and _engine(config) == "ray":
        return sharded.run(config)
    started = time.monotonic()
    grid = parse_grid(config.head, config.grid)
    store = StoreReader(config.store, config.snapshot)
    column = store.column(config.layer)
    shape = store.shapes.get(column, ())
    channels = store.channels(column)
    check_memory(config.head, len(store), shape, config.spatial, channels)
    data, unlabelled = _labelled(store, column)
    out = output_folder(config.out)
    parts = hold_out(data, config.split, test_size=config.test_size, cv=config.cv, seed=config.seed)
    if parts.left_out:
        say(f"{parts.left_out} images are in no split to train or test on and are left out")
    data.check_finite()
    data = replace(data, features=as_rows(data.features, config.spatial, channels))
    fitted, head = _fit(data, parts, grid, config)
    head = replace(head, spatial=config.spatial, channels=channels)
    test = data.features[parts.test]
    copies = near_duplicates(test, data.features[parts.train])
    metrics, probabilities = evaluate(head, head.scores(test), data.labels[parts.test], copies)
    metrics |= about(config, fitted, parts, store, unlabelled, started, engine="sklearn")
    model = TrainedModel(head, store.spec, column, store.provenance, metrics)
    write(model, out, HeldOut.of(data, parts, probabilities, copies))
    return Outcome(summary(metrics, out), text(metrics, out), model)


def check(config: TrainConfig) -> None:
    """Check what can be checked without the store.

    Raises:
        UsageError: the grid is wrong, or an option does not go with the head.
    """
    parse_grid(config.head, config.grid)
    kind_for(config.head, config.calibrate)
    if config.head == "mlp":
        perceptron.check(config)
    elif given := [name for name in perceptron.OPTIONS if name in config.model_fields_set]:
        name = given[0].replace("_", "-")
        raise UsageError(f"--{name} goes with --head mlp; got --head {config.head}")
    check_engine_options(config)
    _check_shards(config)
    if config.head != "logistic" and config.engine != "auto":
        raise UsageError(
            f"--engine is for --head logistic; {config.head} is fitted "
            + ("by PyTorch" if config.head == "mlp" else "by scikit-learn")
        )
    if config.class_weight == "balanced" and config.head == "knn":
        raise UsageError("--class-weight balanced: --head knn cannot weigh classes; give none")
    if config.tol is not None and config.head not in ("logistic", "svm"):
        raise UsageError(f"--tol goes with --head logistic and svm; got --head {config.head}")


def _check_shards(config: TrainConfig) -> None:
    """Make sure that options for shards come with a head that can be fitted on them."""
    for name in ("actors", "actor_memory", "resume"):
        if config.head not in ("logistic", "mlp") and name in config.model_fields_set:
            raise UsageError(
                f"--{name.replace('_', '-')} goes with --head logistic and mlp; {config.head} is "
                "fitted in memory, in one go"
            )


def _engine(config: TrainConfig) -> Engine:
    store = StoreReader(config.store, config.snapshot)
    width = prod(store.shapes.get(store.column(config.layer), ()))
    resumed = config.resume and is_checkpoint(local_path(config.out, "--out") / FOLDER)
    engine, why = choose_engine(
        config.engine,
        rows=len(store),
        width=width,
        only_ray="the checkpoint to go on from" if resumed else None,
    )
    say(why)
    return engine


def _labelled(store: StoreReader, column: str) -> tuple[Features, int]:
    data = store.to_numpy(column)
    known = np.array([label is not None for label in data.labels], dtype=bool)
    if unlabelled := int((~known).sum()):
        say(f"{unlabelled} rows have no label and are left out")
        data = data[known]
    return data, unlabelled


def _fit(data: Features, parts: Holdout, grid: Grid, config: TrainConfig) -> tuple[Fitted, Head]:
    """Fit and calibrate the head on the training rows, on Ray where that pays."""
    x, labels = data.features[parts.train], data.labels[parts.train]
    fits = len(parts.folds) * int(np.prod([len(values) for values in grid.values()])) + 1
    if warning := large_model(config.head, *x.shape):
        say(warning)
    say(f"{len(parts.train)} rows to train on, {len(parts.test)} held out, {fits} fits")
    with contextlib.ExitStack() as stack:
        if config.address or x.size * fits > _WORTH_RAY:
            from raypipe import runtime  # with Ray, whose import takes a second

            stack.enter_context(runtime.session(config.address))
            stack.enter_context(runtime.joblib_backend())
        fitted = _fit_head(x, labels, parts, grid, config)
        if not fitted.converged:
            say(_not_converged(fitted, config))
        kind = kind_for(config.head, config.calibrate)
        return fitted, calibrated(fitted, labels, kind)


def _fit_head(x: Any, labels: Any, parts: Holdout, grid: Grid, config: TrainConfig) -> Fitted:
    """Search the grid of the chosen head; one function per way of fitting, each of which returns
    an uncalibrated head on rows.
    """
    settings = Settings(
        head=config.head,  # type: ignore[arg-type]  # the perceptron is fitted elsewhere
        scale=config.scale,
        max_iter=config.max_iter,
        tol=config.tol,
        class_weight=config.class_weight,
        seed=config.seed,
    )
    return fit_search(x, labels, settings=settings, grid=grid, folds=parts.folds)


def _not_converged(fitted: Fitted, config: TrainConfig) -> str:
    norm = fitted.details.get("gradient_norm")
    reached = f" with a gradient norm of {norm:.3g}" if norm is not None else ""
    scaled = "" if config.scale == "standard" else ", give --scale standard"
    return (
        f"warning: the fit stopped at --max-iter {config.max_iter}; raise it{scaled}, or try a "
        f"smaller C (it has not converged{reached})"
    )


def main() -> None:
    """Run from the command line."""
    run_job("train", TrainConfig)


if __name__ == "__main__":
    main()
