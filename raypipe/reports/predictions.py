"""The part of a page about predictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from raypipe import schema
from raypipe.predictions.evaluation import Evaluation
from raypipe.reports import charts
from raypipe.reports.album import Album
from raypipe.reports.features import rejected, runs_of, store_facts
from raypipe.reports.judged import Judged
from raypipe.reports.page import Part, Picture
from raypipe.reports.wording import Facts, spec_facts
from raypipe.store.reader import StoreReader

__all__ = ["Predictions", "predictions_part", "read_predictions"]

_SHOWN = 24
_OF_CLASS = 8
_CLASSES = 60


@dataclass(frozen=True)
class Predictions:
    """What was predicted, whatever it is kept in.

    Attributes:
        rows: with `id`, `uri`, `label` (known, or missing), `predicted` and `probability`.
        rejects: with `id`, `uri` (or not), `reason` and `message`.
        classes: the model's.
        facts: about model and source.
        spec: of the features, in words.
        runs: that have made the predictions, as `features.runs_of` gives them.
    """

    rows: pa.Table
    rejects: pa.Table
    classes: tuple[str, ...]
    facts: Facts
    spec: Facts = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)


def read_predictions(store: StoreReader) -> Predictions:
    """Read a store of predictions; its features, if it holds any, are left alone."""
    columns = [schema.ID, schema.URI, schema.LABEL, schema.PREDICTED, schema.PROBABILITY]
    if schema.STATUS in store.columns:
        columns.append(schema.STATUS)
    return Predictions(
        rows=store.to_arrow(columns),
        rejects=store.rejects(),
        classes=tuple(store.provenance["classes"]),
        facts=[("model", str(store.provenance["model"])), *store_facts(store)],
        spec=spec_facts(store.spec, store.provenance),
        runs=runs_of(store),
    )


def predictions_part(found: Predictions, album: Album) -> Part:
    """Return the part about predictions: how many of each class, how sure, and how good if known.

    Args:
        found: the predictions.
        album: gets the pictures.
    """
    decided = found.rows.filter(pc.is_valid(found.rows[schema.PREDICTED]))
    probability = decided[schema.PROBABILITY].to_numpy().astype(np.float64)
    order = np.argsort(probability, kind="stable")
    classes = _by_class(decided, probability)
    unsure = _pictures(decided, order[:_SHOWN])
    scores, data = _scores(found, decided, probability, album)
    named = [*unsure, *(picture for entry in classes for picture in entry["pictures"])]
    album.add([str(picture.uri) for picture in named if picture.uri], share=0.9)
    content = {
        "facts": found.facts,
        "spec": found.spec,
        "rows": len(found.rows),
        "status": _status(found.rows),
        "classes": classes,
        "histogram": Markup(charts.histogram(probability)),
        "unsure": unsure,
        "rejects": rejected(found.rejects, album),
        "scores": scores,
        "runs": found.runs,
    }
    return Part("predictions.html", "Predictions", content, data)


def _by_class(rows: pa.Table, probability: npt.NDArray[Any]) -> list[dict[str, Any]]:
    """Return the classes that were predicted, the most frequent first, with their surest images."""
    names = rows[schema.PREDICTED].to_numpy()
    found: list[dict[str, Any]] = []
    for name, count in zip(*np.unique(names.astype(str), return_counts=True), strict=True):
        own = np.flatnonzero(names == name)
        surest = own[np.argsort(-probability[own], kind="stable")[:_OF_CLASS]]
        found.append(
            {
                "name": str(name),
                "count": int(count),
                "probability": float(probability[own].mean()),
                "pictures": _pictures(rows, surest),
            }
        )
    found.sort(key=lambda entry: -entry["count"])
    for entry in found[_CLASSES:]:
        entry["pictures"] = []
    return found


def _pictures(rows: pa.Table, numbers: npt.NDArray[np.int64]) -> list[Picture]:
    return [
        Picture(
            row[schema.ID],
            row[schema.URI],
            f"{row[schema.PREDICTED]} {row[schema.PROBABILITY]:.2f}",
        )
        for row in rows.take(numbers).to_pylist()
    ]


def _scores(
    found: Predictions, decided: pa.Table, probability: npt.NDArray[Any], album: Album
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return how good the predictions are, where labels that the model knows are there."""
    known = pc.is_in(decided[schema.LABEL], pa.array(found.classes, pa.string()))
    if not pc.any(known).as_py():
        return None, {}
    labelled = decided.filter(known)
    evaluation = Evaluation(found.classes)
    evaluation.add(labelled)
    result = evaluation.result()
    judged = Judged(
        ids=labelled[schema.ID].to_numpy(),
        labels=labelled[schema.LABEL].to_numpy(),
        predicted=labelled[schema.PREDICTED].to_numpy(),
        probability=probability[known.to_numpy()],
        classes=found.classes,
    )

    def uris(names: Iterable[str]) -> dict[str, str]:
        chosen = labelled.filter(pc.is_in(labelled[schema.ID], pa.array(list(names), pa.string())))
        pairs = zip(chosen[schema.ID].to_pylist(), chosen[schema.URI].to_pylist(), strict=True)
        return {name: uri for name, uri in pairs if uri is not None}

    return judged.show(result["confusion"], result["report"], album, uris)


def _status(rows: pa.Table) -> list[tuple[str, int]]:
    if schema.STATUS not in rows.column_names:
        return []
    return [(e["values"], e["counts"]) for e in rows[schema.STATUS].value_counts().to_pylist()]
