"""The part of a page about a trained classifier."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
from markupsafe import Markup

from raypipe.display import counted
from raypipe.errors import UsageError
from raypipe.fit.evaluate.duplicates import BY_FEATURES, DUPLICATE_COSINE
from raypipe.heads.model import CURVES_FILE, DUPLICATES_FILE, HOLDOUT_FILE, TrainedModel, load_model
from raypipe.reports import charts
from raypipe.reports.album import Album
from raypipe.reports.judged import Judged, Uris, wilson
from raypipe.reports.page import PagePart, Picture
from raypipe.reports.thumbnails import find_uris
from raypipe.reports.wording import Facts, left_out, many, spec_facts
from raypipe.rows.rare import described
from raypipe.rows.spreadsheets import with_formulas
from raypipe.store.reader import StoreReader, reopen

_PAIRS = 12
_NEEDED = (
    "confusion",
    "report",
    "reliability",
    "near_duplicates",
    "store",
    "grid",
    "accuracy_with_duplicates",
)


def classifier_part(folder: Path, album: Album) -> PagePart:
    """Return the part about a model and its held-out images.

    Args:
        folder: written by `train`.
        album: gets the pictures.

    Raises:
        UsageError: the folder lacks what `train` writes.
    """
    model = load_model(folder)
    metrics = model.metrics
    if missing := [name for name in _NEEDED if name not in metrics]:
        raise UsageError(
            f"RUN: {folder} was written by an older version, without {missing[0]}; "
            "run `train` again"
        )
    held = _table(folder / HOLDOUT_FILE, metrics)
    judged = Judged(
        ids=held["id"].to_numpy(),
        labels=held["label"].to_numpy(),
        predicted=held["predicted"].to_numpy(),
        probability=held["probability"].to_numpy(),
        classes=model.classes,
    )
    store = _store(metrics)
    uris: Uris = partial(find_uris, store) if store else lambda _: {}
    copies = _copies(folder, metrics)
    places = uris([name for pair in copies[:_PAIRS] for name in (pair["id"], pair["training_id"])])
    content, data = judged.show(metrics["confusion"], metrics["report"], album, uris)
    album.add(places.values())
    content |= {
        **_headline(metrics),
        "facts": _facts(model, metrics),
        "spec": spec_facts(model.spec, model.provenance),
        "charts": [Markup(chart) for chart in _charts(folder, metrics)],
        "grid": _grid(metrics),
        "copies": [_couple(pair, places) for pair in copies[:_PAIRS]],
        "copy_pairs": len(copies),
        "near_duplicates": metrics["near_duplicates"],
        "duplicate_cosine": DUPLICATE_COSINE,
        "by_features": f"{BY_FEATURES}.",
        "reliability": metrics["reliability"],
        "readable": store is not None,
    }
    accuracy = content["accuracy"]
    good = "no new image to score" if accuracy is None else f"{100 * accuracy:.1f}\u00a0% right"
    headline = f"Classifier of {many(len(model.classes), 'class', 'classes')}: {good}"
    return PagePart("classifier.html", "Classifier", headline, content, data)


def _headline(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the accuracy on images that are new to the model, and what is said beside it."""
    copies, accuracy = metrics["near_duplicates"] or 0, metrics["accuracy"]
    rows = metrics["test_rows"] - copies
    every = f"{100 * metrics['accuracy_with_duplicates']:.1f} % with "
    beside = every + counted(copies, "near-duplicate") + " of training images"
    return {
        "accuracy": accuracy,
        "interval": wilson(round((accuracy or 0) * rows), rows),
        "rows": rows,
        "kind": ("held-out image",),
        "beside": beside if copies else "",
    }


def _table(path: Path, metrics: dict[str, Any]) -> pa.Table:
    """Read a CSV whose columns, but for probabilities, are text."""
    texts = ("id", "label", "predicted", "training_id", "training_label", "cosine")
    types = dict.fromkeys(texts, pa.string()) | {"probability": pa.float64()}
    options = pa.csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    parsing = pa.csv.ParseOptions(newlines_in_values=True)
    try:
        table = pa.csv.read_csv(path, convert_options=options, parse_options=parsing)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise UsageError(f"RUN: {path} is not what `train` writes: {error}") from None
    return with_formulas(table) if metrics.get("csv_safe") else table


def _store(metrics: dict[str, Any]) -> StoreReader | None:
    """Return the store the model was trained on, if that is still there."""
    try:
        return reopen(metrics)
    except UsageError:
        return None


def _facts(model: TrainedModel, metrics: dict[str, Any]) -> Facts:
    best = ", ".join(f"{name} = {value}" for name, value in metrics["best_params"].items())
    facts = [
        ("features", f"{metrics['store']}, snapshot {metrics['snapshot']}, {model.column}"),
        ("head", f"{metrics['head']} ({best or 'no parameters'}), {len(model.classes)} classes"),
        ("held out", f"{metrics['test_rows']} images ({metrics['split']} split)"),
        ("trained on", f"{metrics['train_rows']} rows"),
    ]
    if metrics["cv_accuracy"] is not None:
        facts.append(("cross-validation", f"accuracy {metrics['cv_accuracy']:.4f}"))
    if metrics["unlabelled_rows"]:
        facts.append(("without a label", f"{metrics['unlabelled_rows']} rows, left out"))
    if rare := metrics.get("rare_classes"):
        facts.append(("rare classes", described(rare)))
    facts += left_out(metrics)
    if not metrics["converged"]:
        facts.append(("warning", "the fit was stopped before it had converged"))
    return [*facts, ("time", f"{metrics['seconds']:.1f} s")]


def _charts(folder: Path, metrics: dict[str, Any]) -> list[str]:
    found = [charts.reliability(metrics["reliability"]["bins"])]
    tried = [entry for entry in metrics["grid"] if entry["mean"] is not None]
    names = {name for entry in tried for name in entry["params"]}
    varied = [n for n in names if len({str(entry["params"].get(n)) for entry in tried}) > 1]
    if len(varied) == 1:
        found.append(charts.grid(varied[0], tried, metrics["best_params"][varied[0]]))
    curves = folder / CURVES_FILE
    if curves.is_file():
        epochs = pa.csv.read_csv(curves).to_pylist()
        best = min(epochs, key=lambda epoch: float(epoch["validation_loss"]))["combination"]
        own = [epoch for epoch in epochs if epoch["combination"] == best]
        found += [charts.curves(own, metrics["best_epoch"], what) for what in ("loss", "accuracy")]
    return found


def _grid(metrics: dict[str, Any]) -> list[tuple[str, float | None, float | None]]:
    """Return what was tried, and its accuracy and deviation."""
    return [
        (
            ", ".join(f"{name} = {value}" for name, value in entry["params"].items()),
            entry["mean"],
            entry["std"],
        )
        for entry in metrics["grid"]
    ]


def _copies(folder: Path, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    path = folder / DUPLICATES_FILE
    return _table(path, metrics).to_pylist() if path.is_file() else []


def _couple(pair: dict[str, Any], places: dict[str, str]) -> tuple[Picture, Picture, str]:
    """Return a held-out image, the training image it is a copy of, and their cosine."""
    held, trained = (
        Picture(pair[f"{prefix}id"], places.get(pair[f"{prefix}id"]), pair[f"{prefix}label"])
        for prefix in ("", "training_")
    )
    return held, trained, pair["cosine"]
