"""Fit a classifier on the features of a store, and say how good it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from raypipe.cli.command import Outcome, run_job
from raypipe.config import TrainConfig
from raypipe.display import say
from raypipe.errors import UsageError
from raypipe.fit.engine import Engine, check_engine_options, choose_engine
from raypipe.fit.evaluate.calibrate import kind_for
from raypipe.fit.evaluate.holdout import Holdout, hold_out
from raypipe.fit.fitted import Fitted
from raypipe.fit.grid import parse_grid
from raypipe.fit.shards.checkpoint import FOLDER, is_checkpoint
from raypipe.storage import local_path
from raypipe.store.reader import StoreReader
from raypipe.training import perceptron
from raypipe.training.deliver import deliver
from raypipe.training.labelled import Labelled, read_labelled

#: Heads that can weigh classes; another one is not to take --class-weight without heed.
_WEIGH_CLASSES = ("logistic", "svm", "forest", "mlp")


def run(config: TrainConfig) -> Outcome:
    """Train and evaluate; see `TrainConfig` for the options.

    Raises:
        UsageError: the store's labels cannot be split as asked, or its features do not fit in
            memory.
    """
    check(config)
    return deliver(config, _run, kind="model")


def _run(config: TrainConfig, out: Path) -> Outcome:
    started = time.monotonic()
    data = read_labelled(config)
    from raypipe.training.finish import finish, not_converged  # takes a second

    folds = 0 if config.head == "mlp" else config.cv
    parts = hold_out(
        data.rows, config.split, test_size=config.test_size, cv=folds, seed=config.seed
    )
    fit = _way(config)
    data.check_finite(np.concatenate([parts.train, parts.test]))
    fitted = fit(data, parts, config)
    if not fitted.converged:
        say(not_converged(fitted, config))
    return finish(config, data, parts, fitted, out, started)


def _way(config: TrainConfig) -> Callable[[Labelled, Holdout, TrainConfig], Fitted]:
    """Return how the head is fitted.

    Raises:
        UsageError: it needs all features in memory, and they do not fit there.
    """
    if config.head == "mlp":
        return perceptron.fit
    if config.head == "logistic" and _engine(config) == "ray":
        from raypipe.training import logistic_on_shards  # takes torch

        return logistic_on_shards.fit
    from raypipe.training import in_memory  # takes scikit-learn

    in_memory.check(config)
    return in_memory.fit


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
    if config.class_weight == "balanced" and config.head not in _WEIGH_CLASSES:
        raise UsageError(
            f"--class-weight balanced: --head {config.head} cannot weigh classes; give none"
        )
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
    return choose_engine(
        config.engine,
        rows=len(store),
        width=width,
        only_ray="the checkpoint to go on from" if resumed else None,
    )


def main() -> None:
    """Run from the command line."""
    run_job("train", TrainConfig)


if __name__ == "__main__":
    main()
