"""Fits of a classifier on features in memory."""

from __future__ import annotations

import contextlib

import numpy as np

from raypipe.config import TrainConfig
from raypipe.display import say
from raypipe.fit.engine import large_model
from raypipe.fit.evaluate.calibrate import calibrated, kind_for
from raypipe.fit.evaluate.holdout import Holdout
from raypipe.fit.fitted import Fitted
from raypipe.fit.grid import Grid
from raypipe.fit.in_memory.grid_search import Settings, fit_search
from raypipe.heads import Head
from raypipe.rows.features import Features
from raypipe.store.reader import StoreReader
from raypipe.training.finish import not_converged

#: Values to go through, over all fits, above which it pays to start Ray's processes for them: less
#: takes a few seconds on one core, which is what their start takes.
_WORTH_RAY = 3 * 10**7


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
        settings = Settings(
            head=config.head,  # the perceptron is fitted elsewhere
            scale=config.scale,
            max_iter=config.max_iter,
            tol=config.tol,
            class_weight=config.class_weight,
            seed=config.seed,
        )
        fitted = fit_search(x, labels, settings=settings, grid=grid, folds=parts.folds)
        if not fitted.converged:
            say(not_converged(fitted, config))
        kind = kind_for(config.head, config.calibrate)
        return fitted, calibrated(fitted, labels, kind)
