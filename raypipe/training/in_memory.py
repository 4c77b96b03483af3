"""Fits of a classifier on features in memory."""

from __future__ import annotations

import contextlib

import numpy as np

from raypipe.config import TrainConfig
from raypipe.display import counted, say
from raypipe.fit.engine import check_memory, large_model
from raypipe.fit.evaluate.holdout import Holdout
from raypipe.fit.fitted import Fitted
from raypipe.fit.grid import parse_grid
from raypipe.fit.in_memory.grid_search import Settings, fit_search
from raypipe.store.reader import StoreReader
from raypipe.training.labelled import Labelled

#: Values to go through, over all fits, above which it pays to start Ray's processes for them: less
#: takes a few seconds on one core, which is what their start takes.
_WORTH_RAY = 3 * 10**7


def check(config: TrainConfig) -> None:
    """Make sure, before anything is read or written, that the features fit in memory.

    Raises:
        UsageError: they do not.
    """
    store = StoreReader(config.store, config.snapshot)
    column = store.column(config.layer)
    shape = store.shapes.get(column, ())
    check_memory(config.head, len(store), shape, config.spatial, store.channels(column))


def fit(data: Labelled, parts: Holdout, config: TrainConfig) -> Fitted:
    """Fit a head on the training rows by scikit-learn, on Ray where that pays."""
    grid = parse_grid(config.head, config.grid)
    x, labels = data.features[parts.train], data.rows.labels[parts.train]
    fits = len(parts.folds) * int(np.prod([len(values) for values in grid.values()])) + 1
    if warning := large_model(config.head, *x.shape):
        say(warning)
    fitted_on = counted(len(parts.train), "row")
    say(f"{fitted_on} to train on, {len(parts.test)} held out, {counted(fits, 'fit')}")
    with contextlib.ExitStack() as stack:
        if config.address or x.size * fits > _WORTH_RAY:
            from raypipe import runtime  # with Ray, whose import takes a second

            stack.enter_context(runtime.session(config.address))
            stack.enter_context(runtime.joblib_backend())
        settings = Settings(
            head=config.head,  # the perceptron is fitted elsewhere
            scale=config.scale,
            max_iter=config.max_iter,
            tol=config.tol,
            class_weight=config.class_weight,
            seed=config.seed,
        )
        return fit_search(x, labels, settings=settings, grid=grid, folds=parts.folds)
