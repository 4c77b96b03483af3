"""The end of a fit: evaluate it and write everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import memory, schema
from raypipe.cli.command import Outcome
from raypipe.config import TrainConfig
from raypipe.fit.evaluate.calibrate import calibrated, kind_for
from raypipe.fit.evaluate.duplicates import (
    MOST_DUPLICATES_WORK,
    Copies,
    near_duplicates,
    near_duplicates_in_pieces,
)
from raypipe.fit.evaluate.holdout import Holdout
from raypipe.fit.evaluate.scores import evaluate
from raypipe.fit.fitted import Fitted
from raypipe.heads.model import TrainedModel
from raypipe.heads.trained_on import TrainedOn
from raypipe.training.labelled import Labelled
from raypipe.training.model_files import HeldOut, about, summary, text, write, write_curves


def finish(
    config: TrainConfig, data: Labelled, parts: Holdout, fitted: Fitted, out: Path, started: float
) -> Outcome:
    """Calibrate the head, score it on the held-out rows, and write everything.

    Args:
        config: of the job.
        data: its rows.
        parts: what was trained on and what is held out.
        fitted: the uncalibrated head.
        out: folder for the model.
        started: when the job started, of `time.monotonic`.
    """
    labels = data.rows.labels
    head = calibrated(fitted, labels[parts.train], kind_for(config.head, config.calibrate))
    head = replace(head, spatial=data.spatial, channels=data.channels)
    if fitted.engine == "sklearn":
        scores = head.scores(data.features[parts.test])
        copies = near_duplicates(data.features[parts.test], data.features[parts.train])
    else:
        scores = data.made(parts.test, head.scores, len(head.classes))
        copies = _copies(data, parts)
    metrics, probabilities = evaluate(head, scores, labels[parts.test], copies, config.digits)
    metrics |= about(config, fitted, parts, data, started)
    model = TrainedModel(head, data.store.spec, data.column, data.store.provenance, metrics)
    held = HeldOut.of(data.rows, parts, probabilities, copies)
    write(model, out, held, _trained_on(data, parts))
    if fitted.curves:
        write_curves(fitted, out)
    fitted.forget()
    return Outcome(summary(metrics, out), text(metrics, out), model)


def _trained_on(data: Labelled, parts: Holdout) -> TrainedOn:
    """Return what recognises the images a head was fitted on."""
    ids = pa.array(np.unique(data.rows.ids[parts.train].astype(str)), pa.string())
    columns = [schema.ID, schema.URI, schema.ETAG]
    own = [
        batch.filter(pc.is_in(batch[schema.ID], ids)) for batch in data.store.iter_batches(columns)
    ]
    return TrainedOn.of(pa.concat_tables(own))


def not_converged(fitted: Fitted, config: TrainConfig) -> str:
    """Return a warning about a fit that has not reached its optimum."""
    if fitted.curves:
        return "the validation loss was lowest in the last epoch; raise --epochs"
    norm = fitted.details.get("gradient_norm")
    reached = f" with a gradient norm of {norm:.3g}" if norm is not None else ""
    where = "by rounding" if fitted.ended_early else f"at --max-iter {config.max_iter}"
    advice = ["raise it"] * (not fitted.ended_early)
    advice += ["give --scale standard"] * (config.scale != "standard") + ["try a smaller C"]
    said = ", ".join(advice[:-1]) + ", or " * (len(advice) > 1) + advice[-1]
    return f"warning: the fit stopped {where}; {said} (it has not converged{reached})"


def _copies(data: Labelled, parts: Holdout) -> Copies | None:
    """Return what held-out rows are most like among the training rows; None if there are too many
    pairs to look at, or too many held-out rows to have in memory.
    """
    size = len(parts.test) * data.width
    if size * len(parts.train) > MOST_DUPLICATES_WORK or 4 * 4 * size > memory.available():
        return None
    test: npt.NDArray[Any] = data.made(parts.test, data.to_rows, data.width)
    return near_duplicates_in_pieces(test, lambda: data.pieces(parts.train), len(parts.train))
