"""Fit a classifier on the features of a store, and say how good it is."""

from __future__ import annotations

import contextlib
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe import runtime
from raypipe.command import Outcome, run_job
from raypipe.config import TrainConfig
from raypipe.figures import confusion_picture
from raypipe.fit.fitted import Fitted
from raypipe.fit.holdout import hold_out
from raypipe.fit.logistic import fit_logistic, parse_grid, to_fitted
from raypipe.fit.metrics import evaluate, near_duplicates
from raypipe.fit.model import TrainedModel, save_model
from raypipe.progress import say
from raypipe.storage import output_folder
from raypipe.store.reader import Features, StoreReader

__all__ = ["check", "main", "run"]

_METRICS_FILE = "metrics.json"
_REPORT_FILE = "report.txt"
_CONFUSION_FILE = "confusion.png"
_HOLDOUT_FILE = "holdout.csv"

#: Values to go through, over all fits, above which it pays to start Ray's processes for them: less
#: takes a few seconds on one core, which is what their start takes.
_WORTH_RAY = 3 * 10**7


def run(config: TrainConfig) -> Outcome:
    """Train and evaluate; see `TrainConfig` for the options.

    Raises:
        UsageError: the store's labels cannot be split as asked.
    """
    started = time.monotonic()
    grid = parse_grid(config.grid)
    store = StoreReader(config.store, config.snapshot)
    column = store.column(config.layer)
    data, unlabelled = _labelled(store, column)
    out = output_folder(config.out)
    parts = hold_out(data, config.split, test_size=config.test_size, cv=config.cv, seed=config.seed)
    train, test = parts.train, parts.test
    if parts.left_out:
        say(f"{parts.left_out} images are in no split to train or test on and are left out")
    data.check_finite()
    x = data.features.reshape(len(data), -1).astype(np.float32, copy=False)
    fits = len(parts.folds) * int(np.prod([len(values) for values in grid.values()])) + 1
    say(f"{len(train)} rows to train on, {len(test)} held out, {fits} fits")
    with contextlib.ExitStack() as stack:
        if config.address or len(train) * x.shape[1] * fits > _WORTH_RAY:
            stack.enter_context(runtime.session(config.address))
            stack.enter_context(runtime.joblib_backend())
        search = fit_logistic(
            x[train],
            data.labels[train],
            grid=grid,
            folds=parts.folds,
            scale=config.scale,
            max_iter=config.max_iter,
        )
    fitted = to_fitted(search, config.scale, config.max_iter)
    head = fitted.head
    probabilities = head.predict_proba(x[test])
    predicted = np.array(head.classes, dtype=object)[probabilities.argmax(axis=1)]
    metrics = {
        **evaluate(data.labels[test], predicted, head.classes),
        **_without_duplicates(x, train, test, data.labels[test] == predicted),
        **_search_results(fitted),
        "classes": list(head.classes),
        "split": parts.how,
        "train_rows": len(train),
        "test_rows": len(test),
        "unlabelled_rows": unlabelled,
        "store": store.uri,
        "snapshot": store.snapshot.number,
        "seconds": round(time.monotonic() - started, 3),
    }
    model = TrainedModel(head, store.spec, column, store.provenance, metrics)
    _write(model, out, data, test, predicted, probabilities)
    if not metrics["converged"]:
        say(f"the fit stopped at --max-iter {config.max_iter}; raise it, or try a smaller C")
    return Outcome(_summary(metrics, out), _text(metrics, out), model)


def check(config: TrainConfig) -> None:
    """Check what can be checked without the store.

    Raises:
        UsageError: the grid is wrong.
    """
    parse_grid(config.grid)


def _labelled(store: StoreReader, column: str) -> tuple[Features, int]:
    data = store.to_numpy(column)
    known = np.array([label is not None for label in data.labels], dtype=bool)
    if unlabelled := int((~known).sum()):
        say(f"{unlabelled} rows have no label and are left out")
    return data[known], unlabelled


def _without_duplicates(
    x: npt.NDArray[Any], train: npt.NDArray[Any], test: npt.NDArray[Any], right: npt.NDArray[Any]
) -> dict[str, Any]:
    """Accuracy on those held-out rows whose picture is not also among the training rows."""
    copies = near_duplicates(x[test], x[train])
    rest = right[~copies]
    return {
        "near_duplicates": int(copies.sum()),
        "accuracy_without_duplicates": float(rest.mean()) if len(rest) else None,
    }


def _search_results(fitted: Fitted) -> dict[str, Any]:
    return {
        "best_params": fitted.best_params,
        "cv_accuracy": fitted.cv_accuracy,
        "grid": fitted.grid,
        "converged": fitted.converged,
        **fitted.details,
    }


def _write(
    model: TrainedModel,
    out: Path,
    data: Features,
    test: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.object_],
    probabilities: npt.NDArray[Any],
) -> None:
    metrics = model.metrics
    save_model(model, out)
    (out / _METRICS_FILE).write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")
    (out / _REPORT_FILE).write_text(metrics["report_text"])
    with (out / _HOLDOUT_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "predicted", "probability"])
        best = probabilities.max(axis=1)
        for row, name, probability in zip(test, predicted, best, strict=True):
            writer.writerow([data.ids[row], data.labels[row], name, f"{probability:.6f}"])
    title = f"held-out accuracy {metrics['accuracy']:.3f} on {len(test)} images"
    confusion_picture(metrics["confusion"], model.classes, title, out / _CONFUSION_FILE)


def _summary(metrics: dict[str, Any], out: Path) -> dict[str, Any]:
    left_out = ("report_text", "report", "confusion")
    rest = {name: value for name, value in metrics.items() if name not in left_out}
    return {"model": str(out), **rest}


def _text(metrics: dict[str, Any], out: Path) -> str:
    best = ", ".join(f"{name}={value:g}" for name, value in metrics["best_params"].items())
    lines = [
        metrics["report_text"],
        f"best of the grid: {best} (cross-validated accuracy {metrics['cv_accuracy']:.4f})",
        f"held-out accuracy: {metrics['accuracy']:.4f} on {metrics['test_rows']} images",
    ]
    if copies := metrics["near_duplicates"]:
        rest = metrics["accuracy_without_duplicates"]
        without = f"{rest:.4f}" if rest is not None else "none left"
        lines.append(f"  without {copies} that are near-duplicates of training images: {without}")
    lines.append(f"written: {out}/ (model, {_METRICS_FILE}, {_CONFUSION_FILE}, {_HOLDOUT_FILE})")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("train", TrainConfig)


if __name__ == "__main__":
    main()
