"""Results of `train`: files in the model's folder, and lines for people."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.config import TrainConfig
from raypipe.display import counted
from raypipe.fit.evaluate.duplicates import BY_FEATURES, DUPLICATE_COSINE, Copies
from raypipe.fit.evaluate.holdout import Holdout
from raypipe.fit.fitted import Fitted
from raypipe.heads.model import CURVES_FILE, DUPLICATES_FILE, HOLDOUT_FILE, TrainedModel, save_model
from raypipe.heads.trained_on import TrainedOn
from raypipe.reports.figures import confusion_picture, curves_picture
from raypipe.rows.features import Rows
from raypipe.rows.rare import described
from raypipe.rows.spreadsheets import write_rows
from raypipe.training.labelled import Labelled

_METRICS_FILE = "metrics.json"
_REPORT_FILE = "report.txt"
_CONFUSION_FILE = "confusion.png"
_RELIABILITY_FILE = "reliability.csv"
_CURVES_PICTURE = "curves.png"
#: Expected calibration error from which on a remedy is told.
_UNRELIABLE = 0.1


def about(
    config: TrainConfig, fitted: Fitted, parts: Holdout, data: Labelled, started: float
) -> dict[str, Any]:
    """Return what metrics.json says of a fit besides its scores."""
    return {
        "head": config.head,
        "engine": fitted.engine,
        "best_params": fitted.best_params,
        "cv_accuracy": fitted.cv_accuracy,
        "grid": fitted.grid,
        "converged": fitted.converged,
        **fitted.details,
        "classes": list(fitted.head.classes),
        "split": parts.how,
        "train_rows": len(parts.train),
        "test_rows": len(parts.test),
        "unlabelled_rows": data.unlabelled,
        "rare_classes": data.rare,
        "csv_safe": config.csv_safe,
        "excluded": data.excluded.summary,
        **data.store.state,
        "seconds": round(time.monotonic() - started, 3),
    }


@dataclass(frozen=True)
class HeldOut:
    """How a model did on the held-out rows.

    Attributes:
        ids: (N,) of the rows.
        labels: (N,) theirs.
        probabilities: (N, K) that the model gave them.
        copies: near-duplicates of training rows, as rows of a table.
    """

    ids: npt.NDArray[np.object_]
    labels: npt.NDArray[np.object_]
    probabilities: npt.NDArray[Any]
    copies: list[dict[str, Any]]

    @classmethod
    def of(
        cls, rows: Rows, parts: Holdout, probabilities: npt.NDArray[Any], copies: Copies | None
    ) -> HeldOut:
        """Pick out held-out rows and what they are copies of; (N, K) probabilities are of these."""
        found = [] if copies is None else _pairs(rows, parts, copies)
        return cls(rows.ids[parts.test], rows.labels[parts.test], probabilities, found)


def _pairs(rows: Rows, parts: Holdout, copies: Copies) -> list[dict[str, Any]]:
    """Return a line per held-out row that is a near-duplicate of a training row."""
    found = []
    for number in np.flatnonzero(copies.mask):
        own, other = parts.test[number], parts.train[copies.of[number]]
        found.append(
            {
                "id": rows.ids[own],
                "label": rows.labels[own],
                "training_id": rows.ids[other],
                "training_label": rows.labels[other],
                "cosine": f"{copies.cosine[number]:.4f}",
            }
        )
    return found


def write(model: TrainedModel, out: Path, held: HeldOut, trained_on: TrainedOn) -> None:
    """Write the model, with its metrics, and how it did on the held-out rows."""
    metrics = model.metrics
    save_model(model, out, trained_on.save(out))
    (out / _METRICS_FILE).write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")
    (out / _REPORT_FILE).write_text(metrics["report_text"])
    predicted = np.array(model.classes, dtype=object)[held.probabilities.argmax(axis=1)]
    best = [f"{value:.6f}" for value in held.probabilities.max(axis=1)]
    rows = zip(held.ids, held.labels, predicted, best, strict=True)
    heading = ("id", "label", "predicted", "probability")
    safe = metrics["csv_safe"]
    write_rows(out / HOLDOUT_FILE, [heading, *rows], safe=safe)
    (out / DUPLICATES_FILE).unlink(missing_ok=True)
    if held.copies:
        _write_table(held.copies, out / DUPLICATES_FILE, safe=safe)
    _write_table(metrics["reliability"]["bins"], out / _RELIABILITY_FILE)
    title = f"held-out accuracy {headline(metrics, 3)}".replace("; ", "\n")
    confusion_picture(metrics["confusion"], model.classes, title, out / _CONFUSION_FILE)


def write_curves(fitted: Fitted, out: Path) -> None:
    """Write a line for each epoch that was trained, and draw those of the best combination."""
    best = next(n for n, p in enumerate(fitted.grid, 1) if p["params"] == fitted.best_params)
    _write_table(fitted.curves, out / CURVES_FILE)
    own = [epoch for epoch in fitted.curves if epoch["combination"] == best]
    curves_picture(own, fitted.details["best_epoch"], _title(fitted), out / _CURVES_PICTURE)


def _title(fitted: Fitted) -> str:
    pairs = fitted.best_params.items()
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in pairs}
    return ", ".join(f"{name} {value}" for name, value in shown.items()).replace("_", " ")


def _write_table(rows: list[dict[str, Any]], path: Path, *, safe: bool = False) -> None:
    write_rows(path, [tuple(rows[0]), *(tuple(row.values()) for row in rows)], safe=safe)


def summary(metrics: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return the metrics without the long ones, for --json."""
    left_out = ("report_text", "report", "confusion")
    rest = {name: value for name, value in metrics.items() if name not in left_out}
    return {"model": str(out), **rest}


def text(metrics: dict[str, Any], out: Path) -> str:
    """Return what is printed."""
    lines = [
        f"held-out accuracy: {headline(metrics)}",
        *_duplicates_line(metrics),
        metrics["report_text"],
        *_search_line(metrics),
        *([described(metrics["rare_classes"])] if metrics["rare_classes"] else []),
        _reliability_line(metrics["reliability"]),
    ]
    files = [_METRICS_FILE, _CONFUSION_FILE, HOLDOUT_FILE, _RELIABILITY_FILE]
    if "best_epoch" in metrics:
        files += [CURVES_FILE, _CURVES_PICTURE]
    lines.append(f"written: {out}/ (model, {', '.join(files)})")
    return "\n".join(lines)


def _search_line(metrics: dict[str, Any]) -> list[str]:
    best = ", ".join(f"{name}={_short(value)}" for name, value in metrics["best_params"].items())
    if "best_epoch" in metrics:
        return [
            f"{metrics['keep']} epoch: {metrics['best_epoch']} of {metrics['epochs']} (validation "
            f"loss {metrics['validation_loss']:.4f}, accuracy {metrics['validation_accuracy']:.4f} "
            f"on {metrics['validation_rows']} images) with {best}"
        ]
    if metrics["cv_accuracy"] is None:
        return []
    accuracy = f"cross-validated accuracy {metrics['cv_accuracy']:.4f}"
    return [f"best of the grid: {best or 'its only point'} ({accuracy})"]


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value).lower()


def headline(metrics: dict[str, Any], digits: int = 4) -> str:
    """Return the accuracy without near-duplicates of training images, and with them beside it."""
    rows, copies = metrics["test_rows"], metrics["near_duplicates"]
    every = f"{metrics['accuracy_with_duplicates']:.{digits}f}"
    if not copies:
        unseen = "" if copies == 0 else ", near-duplicates not looked for"
        return f"{every} on {counted(rows, 'image')}{unseen}"
    beside = f"{every} with {counted(copies, 'near-duplicate')} of training images"
    if copies == rows:
        return f"unknown, as no other image is held out; {beside}"
    return f"{metrics['accuracy']:.{digits}f} on {counted(rows - copies, 'image')}; {beside}"


def _duplicates_line(metrics: dict[str, Any]) -> list[str]:
    copies = metrics["near_duplicates"]
    if copies is None:
        return ["  near-duplicates of training images were not looked for: too many pairs of rows"]
    same = f"practically the same features as a training image (cosine above {DUPLICATE_COSINE})"
    which = f"; pairs: {DUPLICATES_FILE}" if copies else ""
    return [f"  {same}: {copies} of {metrics['test_rows']}{which}", f"  {BY_FEATURES}"]


def _reliability_line(reliability: dict[str, Any]) -> str:
    line = f"probabilities: {_errors(reliability)}"
    if before := reliability["before"]:
        line += f"; before {reliability['calibration']} calibration: {_errors(before)}"
    elif reliability["expected_calibration_error"] > _UNRELIABLE:
        line += (
            "; they are far from how often they are right: --calibrate temperature corrects them"
        )
    return line


def _errors(found: dict[str, Any]) -> str:
    error, loss = found["expected_calibration_error"], found["log_loss"]
    return f"expected calibration error {error:.4f}, log loss {loss:.4f}"
